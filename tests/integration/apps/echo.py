# SPDX-License-Identifier: BSD-3-Clause
"""The smallest application that shows whether requests and messages pass."""


async def application(scope, receive, send):
    if scope["type"] == "http":
        body = f"{scope['method']} {scope['path']} {scope['query_string'].decode()}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
    else:
        raise NotImplementedError(scope["type"])
