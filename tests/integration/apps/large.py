# SPDX-License-Identifier: BSD-3-Clause
"""Streams as many bytes as the query string says."""

PIECE = bytes(32 * 1024)


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    left = int(scope["query_string"])
    headers = [(b"content-length", scope["query_string"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while left:
        piece = PIECE[:left]
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
