# SPDX-License-Identifier: BSD-3-Clause
"""Applications that differ in what they do with ASGI's lifespan."""

import asyncio
import os
import sys


def say(text):
    print(text, file=sys.stderr, flush=True)


async def answer(scope, receive, send, text):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode()})


async def application(scope, receive, send):
    """Supports all of it; each request adds to its copy of the state and to what the copies share."""
    if scope["type"] != "lifespan":
        state = scope["state"]
        state["own"] = state.get("own", 0) + 1
        state["shared"].append(scope["path"])
        text = f"own={state['own']} shared={len(state['shared'])} keys={','.join(sorted(state))} pid={os.getpid()}"
        await answer(scope, receive, send, text)
        return
    say(f"lifespan scope {sorted(scope)} {scope['asgi']}")
    assert await receive() == {"type": "lifespan.startup"}
    scope["state"]["shared"] = []
    await asyncio.sleep(0.05)
    say("lifespan startup")
    await send({"type": "lifespan.startup.complete"})
    assert await receive() == {"type": "lifespan.shutdown"}
    await asyncio.sleep(0.05)
    say(f"lifespan shutdown after {len(scope['state']['shared'])}")
    await send({"type": "lifespan.shutdown.complete"})
    say("lifespan end")


async def fails(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is on holiday"})


async def fails_without_words(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed"})


async def raises_at_once(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await answer(scope, receive, send, f"state={'state' in scope}")


async def asserts_http(scope, receive, send):
    assert scope["type"] in ("http", "websocket")
    await answer(scope, receive, send, "fine")


async def returns_at_once(scope, receive, send):
    if scope["type"] != "lifespan":
        await answer(scope, receive, send, f"state={'state' in scope}")


async def raises_later(scope, receive, send):
    """Complete, then it breaks while the server serves."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise RuntimeError("lifespan broke later")
    await answer(scope, receive, send, "fine")


async def fails_at_shutdown(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "could not say goodbye"})
    else:
        await answer(scope, receive, send, "fine")


async def exits(scope, receive, send):
    if scope["type"] == "lifespan":
        raise SystemExit("no more")
