# SPDX-License-Identifier: BSD-3-Clause
"""An application that logs, prints and sleeps: what the options of logs and timeouts show on."""

import asyncio
import json
import logging

logger = logging.getLogger("project.views")


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            logger.warning("cancelled")
            raise
    if scope["path"] == "/log":
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)("this is %s", level)
    elif scope["path"] == "/sleep":
        await asyncio.sleep(60)
    elif scope["path"] == "/asyncio-debug":
        body = str(asyncio.get_running_loop().get_debug()).encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})
        return
    shown = {key: scope[key] for key in ("client", "root_path", "scheme", "path")}
    shown["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(shown).encode()})
