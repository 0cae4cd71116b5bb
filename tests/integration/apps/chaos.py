# SPDX-License-Identifier: BSD-3-Clause
"""An application with every bad habit: the path's last part says which. How many of it run in a process stands in the
file $CHAOS_DIR/<process id>."""

import asyncio
import os
import random
import time
from pathlib import Path

# Operations of docs/link-protocol.md, worker to edge. The tests import this file, and have no package channelsd.
START, BODY, ACCEPT, SEND, PART, CLOSE, CREDIT, END = 1, 2, 3, 4, 5, 6, 7, 9
PIECE = b"0123456789abcdef" * 4096


class Wilful(Exception):
    """Raised on purpose."""


async def start(send, status=200, *headers):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send, content=b"", more=False):
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def read_all(receive):
    total = 0
    while True:
        event = await receive()
        total += len(event.get("body", b""))
        if not event.get("more_body"):
            return total


def a_record(rng, id):
    """Any record about a client, good in itself."""
    flag = rng.random() < 0.6
    content = PIECE[: rng.choice([0, 5, 65_536])]
    headers = rng.choice([[], [(b"content-length", b"5")], [(b"content-length", b"x")], [(b"bad name", b"")]])
    return rng.choice(
        [
            (START, id, rng.choice([0, 101, 200, 204, 304, 401, 70_000]), headers, content, flag),
            (BODY, id, content, flag),
            (ACCEPT, id, rng.choice([None, "never offered"]), headers),
            (SEND, id, rng.choice([content, "text"])),
            (PART, id, content, rng.random() < 0.5, flag),
            (CLOSE, id, rng.choice([0, 1000, 1005, 4999, 70_000]), "r" * rng.choice([0, 200])),
            (CREDIT, id, rng.choice([0, 5, 1 << 60]), rng.choice([0, 1 << 60])),
            (END, id, flag),
        ]
    )


async def be_a_rogue(session):
    """Sends records that no worker of ours would send so."""
    rng = random.Random(session.path)
    for _ in range(rng.randint(1, 8)):
        session.link.put(a_record(rng, session.id))
        if rng.random() < 0.3:
            await asyncio.sleep(0.005)


async def http_rogue(receive, send):
    await be_a_rogue(receive.__self__)


async def http_echo(receive, send):
    total = await read_all(receive)
    await start(send)
    await body(send, b"%d" % total)


async def http_unread(receive, send):
    await start(send, 200, (b"content-length", b"2"))
    await body(send, b"ok")


async def http_raise(receive, send):
    raise Wilful


async def http_raise_late(receive, send):
    await start(send)
    await body(send, b"half", True)
    raise Wilful


async def http_return(receive, send):
    await receive()


async def http_return_late(receive, send):
    await start(send)
    await body(send, b"half", True)


async def http_slow(receive, send):
    await start(send)
    for _ in range(5):
        await asyncio.sleep(0.02)
        await body(send, b"drop by drop", True)
    await body(send)


async def http_hang(receive, send):
    await asyncio.sleep(0.4)
    await start(send)
    await body(send, b"at last")


async def http_never(receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass


async def http_block(receive, send):
    time.sleep(0.02)
    await start(send)
    await body(send, b"blocked")


async def http_stream(receive, send):
    await start(send)
    for _ in range(32):
        await body(send, PIECE, True)
    await body(send)


async def http_overlong(receive, send):
    await start(send, 200, (b"content-length", b"5"))
    for _ in range(8):
        await body(send, PIECE, True)
    await body(send)


async def http_short(receive, send):
    await start(send, 200, (b"content-length", b"50"))
    await body(send, b"short")


async def http_empty(receive, send):
    await start(send, 204)
    for _ in range(4):
        await body(send, PIECE, True)
    await body(send)


async def http_late(receive, send):
    await start(send)
    await body(send, b"done")
    await send({"type": "http.response.body", "body": b"after"})
    await receive()
    raise Wilful


async def http_bad_event(receive, send):
    await start(send, 200, (b"content-length", b"five"))
    await body(send, b"five")


async def ws_rogue(receive, send):
    await be_a_rogue(receive.__self__)


async def ws_echo(receive, send):
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def ws_refuse(receive, send):
    await send({"type": "websocket.close"})


async def ws_deny(receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    for _ in range(4):
        await send({"type": "websocket.http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"no"})


async def ws_deny_half(receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    raise Wilful


async def ws_raise(receive, send):
    raise Wilful


async def ws_raise_late(receive, send):
    await send({"type": "websocket.accept"})
    await receive()
    raise Wilful


async def ws_return(receive, send):
    await send({"type": "websocket.accept"})


async def ws_hang(receive, send):
    await asyncio.sleep(0.4)
    await send({"type": "websocket.accept"})


async def ws_close(receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": PIECE * 3})
    await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def ws_flood(receive, send):
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "bytes": PIECE})
        await send({"type": "websocket.send", "text": ""})


async def ws_deaf(receive, send):
    await send({"type": "websocket.accept"})
    await asyncio.sleep(0.5)
    while (await receive())["type"] != "websocket.disconnect":
        pass


HTTP = {name[5:]: habit for name, habit in globals().items() if name.startswith("http_")}
WEBSOCKET = {name[3:]: habit for name, habit in globals().items() if name.startswith("ws_")}
running = 0


def count(change):
    global running
    running += change
    (Path(os.environ["CHAOS_DIR"]) / str(os.getpid())).write_text(str(running))


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    name = scope["path"].rpartition("/")[2]
    count(1)
    try:
        if scope["type"] == "websocket":
            await receive()
            await WEBSOCKET.get(name, ws_echo)(receive, send)
        else:
            await HTTP.get(name, http_echo)(receive, send)
    finally:
        count(-1)
