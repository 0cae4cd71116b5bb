# SPDX-License-Identifier: BSD-3-Clause
"""A server that answers the load generator of bench/ almost correctly: lying_server.py LIE ... -p PORT ...

LIE is a method of Echo, or "accept" (a wrong Sec-WebSocket-Accept), "body" (now and then another body), "die" (exits
when MANY WebSockets are open). Takes the place of the real server's binary, so it ignores other arguments."""

import asyncio
import base64
import hashlib
import os
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BODY = b'{"ok": true, "answer": 42}'
EVERY = 5  # of so many messages one is a lie
MANY = 50


def text(payload):
    size = len(payload)
    return (bytes([0x81, size]) if size < 126 else struct.pack("!BBH", 0x81, 126, size)) + payload


class Echo:
    """What one connection answers: next() takes a message and returns those that go out."""

    def __init__(self, lie):
        self.lie = getattr(self, lie)
        self.count = 0
        self.kept = None

    def next(self, message):
        self.count += 1
        return self.lie(message)

    def none(self, message):
        return [message]

    def drop(self, message):
        return [] if self.count % EVERY == 0 else [message]

    def alter(self, message):
        return [message[:-1] + b"?"] if self.count % EVERY == 0 else [message]

    def repeat(self, message):
        return [message, message] if self.count % EVERY == 0 else [message]

    def old(self, message):
        """The message before, once more, in place of this one."""
        answer = self.kept if self.count % EVERY == 0 else message
        self.kept = message
        return [answer]

    def swap(self, message):
        """The first two come the other way round."""
        if self.count == 1:
            self.kept = message
            return []
        return [message, self.kept] if self.count == 2 else [message]

    def leave(self, message):
        if self.count == EVERY:
            raise ConnectionAbortedError
        return [message]

    accept = body = die = none


async def read_frame(reader):
    head = await reader.readexactly(2)
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return head[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Liar:
    """All connections of one server. What is sent on the path /publish goes to everybody else, else it is an echo."""

    def __init__(self, lie):
        self.lie = lie
        self.opened = 0
        self.members = {}  # writer -> Echo

    async def websocket(self, path, key, reader, writer):
        self.opened += 1
        if self.opened == MANY and self.lie == "die":
            os._exit(70)
        accept = base64.b64encode(hashlib.sha1((b"" if self.lie == "accept" else key) + GUID).digest())
        writer.write(b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        publishes = path == b"/publish"
        if not publishes:
            self.members[writer] = Echo(self.lie)
        try:
            while True:
                opcode, payload = await read_frame(reader)
                if opcode == 8:
                    writer.write(b"\x88\x02" + payload[:2])
                    return
                for receiver in list(self.members) if publishes else [writer]:
                    for answer in self.members[receiver].next(payload):
                        receiver.write(text(answer))
        finally:
            self.members.pop(writer, None)

    async def serve(self, reader, writer):
        answered = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                if b"Upgrade" in fields:
                    return await self.websocket(head.split()[1], fields[b"Sec-WebSocket-Key"], reader, writer)
                answered += 1
                body = BODY.replace(b"42", b"43") if self.lie == "body" and answered % EVERY == 0 else BODY
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main():
    lie, port = sys.argv[1], int(sys.argv[sys.argv.index("-p") + 1])
    server = await asyncio.start_server(Liar(lie).serve, "127.0.0.1", port)
    print(f"Listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
