# SPDX-License-Identifier: BSD-3-Clause
"""Keeps a trace of all that a server says to an application. The path of a WebSocket tells how it answers; GET /trace
answers with the trace of the connection named `id` in its query once `count` entries of it are there; other requests
read their body and answer."""

import asyncio
import json
from urllib.parse import parse_qs

traces = {}


def plain(value):
    """JSON that keeps types apart: bytes as "b:...", tuples and lists both as lists, which ASGI does not tell apart."""
    if isinstance(value, bytes):
        return "b:" + value.decode("latin-1")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, bool)) else repr(value)


async def show(query, send):
    while len(traces.get(query["id"], ())) < int(query["count"]):
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(traces[query["id"]]).encode()})


async def request(scope, receive, send, note):
    note({"scope": plain({key: value for key, value in scope.items() if key not in ("state",)})})
    body = b""
    more = True
    while more:
        event = await receive()
        assert event["type"] == "http.request"
        body += event["body"]
        more = event["more_body"]
    note({"body": plain(body)})  # in how many events it comes is the server's choice
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"%d" % len(body)})
    note({"event": plain(await receive())})
    try:
        await send({"type": "http.response.body", "body": b"late"})
        note({"late": "nothing"})
    except Exception as error:
        note({"late": "OSError" if isinstance(error, OSError) else type(error).__name__})


async def websocket(scope, receive, send, note):
    note({"scope": plain({key: value for key, value in scope.items() if key not in ("state",)})})
    note({"event": plain(await receive())})
    way = scope["path"]
    if way == "/refuse":
        await send({"type": "websocket.close"})
    elif way != "/silent":
        await send({"type": "websocket.accept"})
    if way == "/close":
        await send({"type": "websocket.close", "code": 4100, "reason": "why"})
    while True:
        event = await receive()
        note({"event": plain(event)})
        if event["type"] == "websocket.disconnect":
            break
        if way == "/echo":
            await send({**event, "type": "websocket.send"})
    try:
        await send({"type": "websocket.send", "text": "late"})
        note({"late": "nothing"})
    except Exception as error:
        note({"late": "OSError" if isinstance(error, OSError) else type(error).__name__})


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    if scope["path"] == "/trace":
        await show(query, send)
        return
    trace = traces.setdefault(query["id"], [])
    await (websocket if scope["type"] == "websocket" else request)(scope, receive, send, trace.append)
