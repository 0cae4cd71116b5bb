# SPDX-License-Identifier: BSD-3-Clause
"""The edge's side of docs/link-protocol.md, for tests: starts a worker as the supervisor does and talks to it by
blocking sockets. Every wait is for an event and ends with a failure after TIMEOUT seconds."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgpack

TIMEOUT = 10
PACKAGE = Path(__file__).resolve().parents[2] / "python"
APPS = Path(__file__).resolve().parent / "apps"

HELLO, HTTP, BODY, WEBSOCKET, RECEIVE, PART, DISCONNECT, CREDIT, BEAT, SHUTDOWN = range(10)
READY, START, W_BODY, ACCEPT, SEND, W_PART, CLOSE, W_CREDIT, W_BEAT, END, SEND_MANY = range(11)

START_WORKER = f"import sys; sys.path.append({str(PACKAGE)!r}); from channelsd.worker import main; sys.exit(main())"

NOT_INHERITED = ("ASGI_THREADS", "PYTHONASYNCIODEBUG", "PYTHONPATH")


class Lines:
    """Lines of a pipe, read by a thread so that the other side never blocks."""

    def __init__(self, pipe):
        self._pipe = pipe
        self._text = ""
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with self._pipe:
            for line in self._pipe:
                with self._changed:
                    self._text += line
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text, start=0):
        """Returns all the text so far, from offset `start`, once it holds `text`."""
        with self._changed:
            found = self._changed.wait_for(lambda: text in self._text[start:] or self._ended, TIMEOUT)
            assert found, f"not seen within {TIMEOUT} s: {text}\n{self._text}"
            assert text in self._text[start:], f"never seen: {text}\n{self._text}"
            return self._text[start:]

    def all(self):
        """The text to the end."""
        self._thread.join(TIMEOUT)
        assert self._ended
        return self._text

    def so_far(self):
        with self._changed:
            return self._text


class Link:
    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(TIMEOUT)
        self._unpacker = msgpack.Unpacker(raw=False, use_list=True, max_buffer_size=1 << 28)

    def put(self, *records):
        self.socket.sendall(b"".join(msgpack.packb(record) for record in records))

    def get(self):
        """The next record; None at the end of file."""
        while True:
            for record in self._unpacker:
                return record
            data = self.socket.recv(1 << 18)
            if not data:
                return None
            self._unpacker.feed(data)


class Edge:
    """A worker with its links. `with Edge("probe:application") as edge:` waits for READY."""

    def __init__(self, application, *options, links=1, cwd=APPS, env=None, ready=True, layer=None):
        """`layer`: the worker's end of its socket to a node, which is closed here."""
        pairs = [socket.socketpair() for _ in range(links)]
        fds = [theirs.fileno() for _, theirs in pairs]
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        environment.update(env or {})
        self.process = subprocess.Popen(
            [sys.executable, "-c", START_WORKER]
            + ["--links", ",".join(map(str, fds)), "--application", application, *options]
            + (["--layer", str(layer.fileno())] if layer else []),
            pass_fds=fds + ([layer.fileno()] if layer else []),
            cwd=str(cwd),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _, theirs in pairs:
            theirs.close()
        if layer:
            layer.close()
        self.stdout = Lines(self.process.stdout)
        self.stderr = Lines(self.process.stderr)
        self.links = [Link(ours) for ours, _ in pairs]
        self.link = self.links[0]
        self._next_id = 0
        if ready:
            for number, link in enumerate(self.links):
                assert link.get() == [READY, 1, self.process.pid], self.stderr.so_far()
                link.put([HELLO, 1, number])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for link in self.links:
            link.socket.close()
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def new_id(self):
        self._next_id += 1
        return self._next_id

    def http(self, path, body=b"", more=False, link=None, **items):
        """Sends an HTTP record and returns its id."""
        id = self.new_id()
        values = {
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode() if isinstance(path, str) else path,
            "query": b"",
            "root_path": "",
            "headers": [],
            "client": ["127.0.0.1", 50000],
            "server": ["127.0.0.1", 8000],
        }
        values.update(items)
        (link or self.link).put([HTTP, id, *values.values(), body, more])
        return id

    def websocket(self, path, link=None, **items):
        """Sends a WEBSOCKET record and returns its id."""
        id = self.new_id()
        values = {
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode() if isinstance(path, str) else path,
            "query": b"",
            "root_path": "",
            "headers": [],
            "client": ["127.0.0.1", 50000],
            "server": ["127.0.0.1", 8000],
            "subprotocols": [],
        }
        values.update(items)
        (link or self.link).put([WEBSOCKET, id, *values.values()])
        return id

    def accepted(self, path, **items):
        """A WebSocket that the application accepted."""
        id = self.websocket(path, **items)
        assert self.link.get()[:2] == [ACCEPT, id]
        return id

    def put(self, *records):
        self.link.put(*records)

    def get(self):
        return self.link.get()

    def response(self, id):
        """(status, headers, body) of a response, giving credit as it comes."""
        op, got, status, headers, piece, more = self.get()
        assert (op, got) == (START, id)
        return status, headers, self.rest(id, piece, more)

    def rest(self, id, piece, more):
        """The body of a response whose newest record brought `piece`, for which no credit was given yet."""
        body = piece
        while more:
            if piece:
                self.put([CREDIT, id, len(piece)])
            op, got, piece, more = self.get()
            assert (op, got) == (W_BODY, id)
            body += piece
        return body

    def text(self, path, *args, **items):
        """The body of a response as text."""
        return self.response(self.http(path, *args, **items))[2].decode()

    def barrier(self):
        """Returns when the worker has answered a beat; fails if anything else came before."""
        number = self.new_id()
        self.put([BEAT, number])
        assert self.get() == [W_BEAT, number]

    def shutdown(self):
        """SHUTDOWN on all links; returns the exit code."""
        for link in self.links:
            link.put([SHUTDOWN, 60_000])
        return self.process.wait(TIMEOUT)
