# SPDX-License-Identifier: BSD-3-Clause
"""An application that does what the query string of a request tells it: a Python literal, a tuple of steps.

    {...}             send() this event
    ("try", {...})    likewise, and remember what it raised as "ValueError: text", or None
    ("times", 9, {})  send() this event 9 times
    "receive"         remember an event
    "drain"           remember every event of the body
    "report"          answer with the repr() of what was remembered
    ("note", "text")  write NOTE text and the repr() of what was remembered to stderr
    ("wait", "name")  until somebody asks for /open/name
    ("raise", "text") raise RuntimeError(text)

/scope answers with the repr() of the scope, every other path with the method, the target and the body.
"""

import ast
import asyncio
import collections
import sys
import urllib.parse

gates = collections.defaultdict(asyncio.Event)


async def answer(send, body, *headers):
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive):
    events = [await receive()]
    while events[-1].get("more_body"):
        events.append(await receive())
    return events


def note(text, *values):
    print("NOTE", text, *map(repr, values), file=sys.stderr, flush=True)


async def attempt(send, event):
    try:
        await send(event)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


async def run(steps, receive, send):
    seen = []
    for step in steps:
        if isinstance(step, dict):
            await send(step)
        elif step == "receive":
            seen.append(await receive())
        elif step == "drain":
            seen += await read_body(receive)
        elif step == "report":
            await answer(send, repr(seen).encode())
        elif step[0] == "try":
            seen.append(await attempt(send, step[1]))
        elif step[0] == "times":
            for _ in range(step[1]):
                await send(step[2])
        elif step[0] == "note":
            note(step[1], seen)
        elif step[0] == "wait":
            await gates[step[1]].wait()
        elif step[0] == "raise":
            raise RuntimeError(step[1])
        else:
            raise NotImplementedError(step)


async def run_noted(steps, receive, send):
    """run(), telling when it was cancelled or could not send."""
    try:
        await run(steps, receive, send)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    except OSError:
        note("gone")
        raise


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path, query = scope["path"], scope["query_string"].decode()
    if path == "/scope":
        if query == "spoil":
            scope["state"]["spoilt"] = True
        await answer(send, repr(scope).encode())
    elif path == "/run":
        await run_noted(ast.literal_eval(urllib.parse.unquote(query)), receive, send)
    elif path.startswith("/open/"):
        gates[path[6:]].set()
        await answer(send, b"open")
    else:
        events = await read_body(receive)
        body = b"".join(event["body"] for event in events)
        await answer(send, f"{scope['method']} {path}?{query} ".encode() + body)


async def scope_only(scope, receive, send):
    """Answers every path as /scope."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await answer(send, repr(scope).encode())


async def with_state(scope, receive, send):
    """application with a lifespan that fills the state."""
    if scope["type"] != "lifespan":
        await application(scope, receive, send)
        return
    await receive()
    scope["state"]["started"] = True
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Asgi2:
    """An application of ASGI 2."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await application(self.scope, receive, send)


def asgi2(scope):
    return Asgi2(scope)
