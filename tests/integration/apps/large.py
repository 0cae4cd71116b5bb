# SPDX-License-Identifier: BSD-3-Clause
"""Streams as many bytes as the query string says; /wait says when its client has left."""

PIECE = bytes(32 * 1024)


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/wait":
        await receive()
        print("waiting", flush=True)
        print((await receive())["type"], flush=True)
        return
    left = int(scope["query_string"])
    headers = [(b"content-length", scope["query_string"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while left:
        piece = PIECE[:left]
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
