# SPDX-License-Identifier: BSD-3-Clause
"""Large bodies, at the pace of a test.

POST /upload      takes the body while /allow lets it; answers with the number of bytes
GET /allow?BYTES  lets it take so many bytes more and answers, when it has, with the sum of all taken
GET /download?N   sends N bytes, PIECE after PIECE, as fast as send() lets it
GET /overlong?N   sends N bytes under a Content-Length of 5
GET /moved        bytes that were received, or given to send(), so far
"""

import asyncio

PIECE = bytes(range(256)) * 256


class Moved:
    """`bytes` that went, of those `allowed`."""

    def __init__(self):
        self.bytes = 0
        self.allowed = 0
        self.changed = asyncio.Condition()

    async def allow(self, count):
        async with self.changed:
            self.allowed += count
            self.changed.notify_all()
            await self.changed.wait_for(lambda: self.bytes >= self.allowed)

    async def may_go_on(self):
        async with self.changed:
            self.changed.notify_all()
            await self.changed.wait_for(lambda: self.bytes < self.allowed)


async def upload(receive, moved):
    total = 0
    more = True
    while more:
        await moved.may_go_on()
        event = await receive()
        total += len(event["body"])
        moved.bytes += len(event["body"])
        more = event["more_body"]
    async with moved.changed:
        moved.allowed = moved.bytes
        moved.changed.notify_all()
    return total


async def download(send, count, moved):
    headers = [(b"content-length", b"%d" % count)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while count:
        piece = PIECE[:count]
        count -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": count > 0})
        moved.bytes += len(piece)


async def overlong(send, count):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"short", "more_body": True})
    for _ in range(count // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def answer(path, query, receive, moved):
    if path == "/upload":
        return await upload(receive, moved)
    if path == "/allow":
        await moved.allow(int(query))
    return moved.bytes


async def serve(scope, receive, send, moved):
    path, query = scope["path"], scope["query_string"]
    if path == "/download":
        await download(send, int(query), moved)
        return
    if path == "/overlong":
        await overlong(send, int(query))
        return
    body = b"%d" % await answer(path, query, receive, moved)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


kept = []


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if not kept:
        kept.append(Moved())  # Python 3.9 wants the loop to run
    await serve(scope, receive, send, kept[0])
