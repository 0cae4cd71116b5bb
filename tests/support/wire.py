# SPDX-License-Identifier: BSD-3-Clause
"""HTTP/1 seen as bytes: a socket, what a test writes into it, and the responses that come back, each of them checked for
being framed as RFC 9112 wants it."""

import socket
import urllib.parse

SECONDS = 5


class Response:
    """One response. `headers` are the pairs as they stand on the wire."""

    def __init__(self, version, status, phrase, headers):
        self.version = version
        self.status = status
        self.phrase = phrase
        self.headers = headers
        self.body = b""
        self.is_chunked = False

    def all(self, name):
        """The values of every field of that name, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name):
        """The value of the only field of that name, None without it."""
        values = self.all(name)
        assert len(values) < 2, f"{name} {len(values)} times in {self.headers}"
        return values[0] if values else None

    def closes(self):
        return (self.get(b"connection") or b"").lower() == b"close"

    def __repr__(self):
        return f"<{self.version} {self.status} {self.phrase} {self.headers} {self.body[:200]!r}>"


class Wire:
    """A connection. Reads keep what came too much for the next one."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, data, method="GET"):
        """Sends one request and returns its response."""
        self.send(data)
        return self.response(method)

    def response(self, method="GET"):
        """Reads one response to a request of that method. Raises ConnectionError when the stream ends in it."""
        head = self._until(b"\r\n\r\n", "a head")
        lines = head.split(b"\r\n")
        version, status, phrase = lines[0].split(b" ", 2)
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            assert colon and name == name.strip() and value[:1] in (b" ", b""), f"header line {line!r}"
            headers.append((name, value[1:]))
        response = Response(version.decode(), int(status), phrase.decode(), headers)
        length, coding = response.get(b"content-length"), response.get(b"transfer-encoding")
        assert length is None or coding is None, response
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return response
        if coding is not None:
            assert coding == b"chunked" and response.version == "HTTP/1.1", response
            response.is_chunked = True
            response.body = self._chunks()
        elif length is not None:
            response.body = self._exactly(int(length))
        else:
            response.body = self.until_end()
        return response

    def until_end(self):
        """Everything until the server's end of the stream. Raises TimeoutError while it stays open."""
        while self._more():
            pass
        data, self.data = self.data, b""
        return data

    def is_idle(self):
        """Nothing to read and not ended: a request on it is answered. Only behind an answered request."""
        return self.ask(b"GET /idle HTTP/1.1\r\nHost: t\r\n\r\n").status == 200

    def _more(self):
        """Reads once; False at the end. A reset is an end, too."""
        try:
            chunk = self.sock.recv(65536)
        except ConnectionResetError:
            return False
        self.data += chunk
        return bool(chunk)

    def _until(self, mark, what):
        while mark not in self.data:
            if not self._more():
                raise ConnectionError(f"ended in {what}: {self.data!r}")
        part, self.data = self.data.split(mark, 1)
        return part

    def _exactly(self, count):
        while len(self.data) < count:
            if not self._more():
                raise ConnectionError(f"ended after {len(self.data)} of {count} bytes")
        part, self.data = self.data[:count], self.data[count:]
        return part

    def _chunks(self):
        body = []
        while True:
            size = int(self._until(b"\r\n", "a chunk size"), 16)
            body.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n"
            if size == 0:
                return b"".join(body)


def dial(server, seconds=SECONDS):
    """A Wire to a server that listens on TCP at 127.0.0.1. What it sends leaves at once."""
    sock = server.connect(seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Wire(sock)


def dial_unix(path, seconds=SECONDS):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(seconds)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return Wire(sock)


def request(method="GET", target="/", *lines, body=b"", version="1.1", host="t"):
    """The bytes of a request. `lines` are header lines without their end; a body brings its Content-Length."""
    head = [f"{method} {target} HTTP/{version}".encode()]
    if host:
        head.append(f"Host: {host}".encode())
    head += [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*pieces):
    """A chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def script(*steps, path="/run"):
    """The target that makes apps/scripted.py take these steps."""
    return f"{path}?{urllib.parse.quote(repr(steps))}"


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content=b"", more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}
