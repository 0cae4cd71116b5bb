# SPDX-License-Identifier: BSD-3-Clause
"""A WebSocket client whose every byte is made by hand (RFC 6455): what a good client never sends can be sent too."""

import base64
import hashlib
import json
import os
import socket
import struct
import urllib.request

from server import read_response

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 §1.3
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIELDS = {
    "Host": "example.org",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def frame(opcode, payload=b"", fin=True, rsv=0, mask=b"\x37\xfa\x21\x3d", length=None, form=None):
    """One frame as a client sends it. mask None: unmasked; length: what the header says instead of the truth;
    form: 7, 16 or 64, the width of the length instead of the shortest one."""
    size = len(payload) if length is None else length
    bit = 0x80 if mask is not None else 0
    if form is None:
        form = 7 if size < 126 else 16 if size < 65536 else 64
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 7:
        head += bytes([bit | size])
    elif form == 16:
        head += struct.pack(">BH", bit | 126, size)
    else:
        head += struct.pack(">BQ", bit | 127, size)
    if mask is None:
        return head + payload
    return head + mask + xor(payload, mask)


def xor(data, mask):
    """Masks or unmasks."""
    pad = mask * (len(data) // 4 + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad[: len(data)], "big")).to_bytes(len(data), "big")


def close_payload(code, reason=b""):
    return struct.pack(">H", code) + reason


def handshake(path="/", fields=None, method="GET", version="HTTP/1.1", extra=()):
    """The bytes of an opening handshake. fields: changes of FIELDS, None leaves one out; extra: further lines."""
    lines = {**FIELDS, **(fields or {})}
    head = [f"{method} {path} {version}", *(f"{k}: {v}" for k, v in lines.items() if v is not None), *extra]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


class Closed(Exception):
    """The connection ended (cleanly or by a reset) while a frame was awaited."""


class RawWebSocket:
    """One connection to `target`, (host, port) or the path of a unix socket. Opened unless open=False; `headers` are
    those of the 101."""

    def __init__(self, target, path="/", fields=None, extra=(), early=b"", open=True, timeout=10, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.sock = socket.socket(family)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.data = b""
        self.status = None
        self.headers = {}
        try:
            self.sock.connect(target)
            if open:
                self.open(path, fields, extra, early)
        except BaseException:
            self.sock.close()
            raise

    def open(self, path="/", fields=None, extra=(), early=b""):
        self.sock.sendall(handshake(path, fields, extra=extra) + early)
        self.read_opened()

    def read_opened(self):
        """Awaits the 101. Raises AssertionError for another answer."""
        self.status, self.headers, body, self.data = read_response(self.sock)
        assert self.status == 101, (self.status, body)
        want = base64.b64encode(hashlib.sha1((KEY + GUID).encode()).digest()).decode()
        assert self.headers["sec-websocket-accept"] == want

    def send(self, opcode, payload=b"", **keywords):
        self.sock.sendall(frame(opcode, payload, **keywords))

    def text(self, text):
        self.send(TEXT, text.encode("utf-8"))

    def close(self, code=1000, reason=b""):
        self.send(CLOSE, close_payload(code, reason))

    def _need(self, count):
        while len(self.data) < count:
            try:
                chunk = self.sock.recv(65536)
            except ConnectionResetError as error:
                raise Closed("reset") from error
            if not chunk:
                raise Closed("end of stream")
            self.data += chunk

    def frame(self):
        """The next frame of the server: (fin, opcode, payload). Raises Closed."""
        self._need(2)
        first, second = self.data[:2]
        assert not first & 0x70, f"reserved bits in {first:#x}"
        assert not second & 0x80, "a server must not mask"
        size, offset = second & 0x7F, 2
        if size == 126:
            self._need(4)
            size, offset = struct.unpack(">H", self.data[2:4])[0], 4
            assert size > 125
        elif size == 127:
            self._need(10)
            size, offset = struct.unpack(">Q", self.data[2:10])[0], 10
            assert size > 65535
        self._need(offset + size)
        payload, self.data = self.data[offset : offset + size], self.data[offset + size :]
        return bool(first & 0x80), first & 0xF, payload

    def message(self):
        """The next message, str or bytes, joined. Pings between are answered, pongs skipped."""
        parts = []
        kind = None
        while True:
            fin, opcode, payload = self.frame()
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode != PONG:
                assert opcode in (CONTINUATION, TEXT, BINARY), (opcode, payload[:200])
                assert (opcode == CONTINUATION) == (kind is not None)
                kind = opcode or kind
                parts.append(payload)
                if fin:
                    whole = b"".join(parts)
                    return whole.decode("utf-8") if kind == TEXT else whole

    def closing(self):
        """Skips to the close frame: (code, reason), code None when the frame has none."""
        while True:
            _, opcode, payload = self.frame()
            if opcode == CLOSE:
                return (struct.unpack(">H", payload[:2])[0], payload[2:].decode("utf-8")) if payload else (None, "")

    def ended(self):
        """Reads to the end of the stream; True if it was clean, False if it was a reset."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            return False
        return True

    def drop(self):
        """Ends TCP without a word, by a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def rss_bytes(pid):
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def get(server, target, timeout=10):
    """Body of a plain GET answered with 200."""
    with urllib.request.urlopen(server.url + target, timeout=timeout) as response:
        return response.read()


def events(server, id, count, timeout=10):
    """What apps/ws_probe.py recorded under `id`, as soon as it is `count` entries long."""
    return json.loads(get(server, f"/wait?id={id}&count={count}", timeout))
