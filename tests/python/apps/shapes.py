# SPDX-License-Identifier: BSD-3-Clause
"""Things that a path can name: applications of other kinds, and none."""

import asyncio
import functools
import sys


def only_scope(scope):
    return None


class Consumer:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


def wsgi(environ, start_response):
    return []


number = 5


async def single(scope, receive, send):
    raise ValueError


def plain(scope, receive, send):
    """ASGI 3 without `async`: it returns an awaitable."""
    return single(scope, receive, send)


class Instance:
    async def __call__(self, scope, receive, send):
        raise ValueError


instance = Instance()
partial = functools.partial(single)


class Holder:
    application = instance


marked = functools.partial(only_scope)
marked._asgi_single_callable = True


async def lifespan_complete(scope, receive, send):
    if scope["type"] == "lifespan":
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        event = await receive()
        print("lifespan", event)
        scope["state"]["answer"] = [42]
        await send({"type": "lifespan.startup.complete"})
        print("lifespan", await receive(), flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    state = scope["state"]
    state["mine"] = len(state)
    body = repr(state).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def lifespan_failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})


async def lifespan_exit(scope, receive, send):
    sys.exit("no")


async def lifespan_returns(scope, receive, send):
    if scope["type"] != "lifespan":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": str("state" in scope).encode()})


async def lifespan_bad_event(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200})


async def lifespan_shutdown_failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "could not flush"})


async def lifespan_hangs(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await asyncio.Event().wait()


async def lifespan_raises_later(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise RuntimeError("in the background")
