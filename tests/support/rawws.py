# SPDX-License-Identifier: BSD-3-Clause
"""A WebSocket client on a plain socket, for tests that need hundreds of them or that break rules."""

import os
import socket
import struct
import time
from pathlib import Path

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def request(path="/"):
    """The bytes of a handshake."""
    return HANDSHAKE % path.encode()


def frame(opcode, payload=b"", fin=True):
    """The bytes of a masked frame."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += struct.pack("!BH", 0x80 | 126, size)
    else:
        head += struct.pack("!BQ", 0x80 | 127, size)
    mask = os.urandom(4)
    key = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class RawWebSocket:
    """`receive_buffer` is set before the connection is made: a small one makes a slow reader slow at once."""

    def __init__(self, server, path="/", timeout=10, receive_buffer=None, handshake=True):
        self.socket = server.keep(socket.socket())
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", server.port))
        self.data = b""
        self.status = None
        self.socket.sendall(request(path))
        if handshake:
            self.finish_handshake()

    def finish_handshake(self):
        """Reads the answer to the handshake; raises ConnectionError if it is not 101."""
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        if self.status != 101:
            raise ConnectionError(f"handshake answered {self.status}")

    def _more(self):
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionError("end of stream")
        self.data += chunk

    def send(self, opcode, payload=b""):
        self.socket.sendall(frame(opcode, payload))

    def receive(self):
        """The next frame: (opcode, payload)."""
        while len(self.data) < 2:
            self._more()
        size, start = self.data[1] & 0x7F, 2
        if size >= 126:
            start, form = (4, "!H") if size == 126 else (10, "!Q")
            while len(self.data) < start:
                self._more()
            size = struct.unpack(form, self.data[2:start])[0]
        while len(self.data) < start + size:
            self._more()
        opcode, payload = self.data[0] & 0x0F, self.data[start : start + size]
        self.data = self.data[start + size :]
        return opcode, payload

    def echo(self, text):
        """Sends and waits for the same; other frames are skipped."""
        self.send(TEXT, text)
        while True:
            opcode, payload = self.receive()
            if opcode == TEXT:
                assert payload == text
                return

    def wait_close(self, answer=True):
        """Skips what comes before the close frame and returns its code; answers it unless told not to."""
        while True:
            opcode, payload = self.receive()
            if opcode == CLOSE:
                break
        if answer:
            self.send(CLOSE, payload[:2])
        return struct.unpack("!H", payload[:2])[0] if payload else 1005

    def reset(self):
        """Ends the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


def cpu_seconds(pid):
    """Processor time that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def file_count(pid):
    """Descriptors that the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_until(condition, seconds=5, what="condition"):
    """For states of the operating system that nobody announces (descriptors, processes): asks until it is so."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.01)
    return value
