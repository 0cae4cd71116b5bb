# SPDX-License-Identifier: BSD-3-Clause
"""An application that is replaced while it serves. It tells what happens to it on stdout; files in the folder
$ROLLING_DIR hold it up or break it."""

import asyncio
import os
import time
from pathlib import Path

FOLDER = Path(os.environ["ROLLING_DIR"])
PID = os.getpid()
kept = []


def say(text):
    print(f"{text} {PID}", flush=True)


def hold_import():
    if (FOLDER / "broken-import").exists():
        raise RuntimeError("the new version is broken")
    if (FOLDER / "hold-import").exists():
        say("importing")
        while (FOLDER / "hold-import").exists():
            time.sleep(0.01)


async def answer(send, body):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def http(scope, receive, send):
    _, name, argument = (scope["path"] + "//").split("/")[:3]
    if name == "wait":
        say(f"waiting {argument}")
        while not (FOLDER / argument).exists():
            await asyncio.sleep(0.01)
    elif name == "grow":
        kept.append(b"x" * (int(argument) << 20))
    elif name == "hang":
        say("hanging")
        time.sleep(3600)
    await answer(send, b"%d" % PID)


async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/late":
        say("deciding")
        while not (FOLDER / "accept").exists():
            await asyncio.sleep(0.01)
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "pid":
            await send({"type": "websocket.send", "text": str(PID)})
        else:
            await send({**event, "type": "websocket.send"})
    say(f"left {event['code']}")


async def lifespan(receive, send):
    await receive()
    if (FOLDER / "hold-startup").exists():
        say("starting")
        while (FOLDER / "hold-startup").exists():
            await asyncio.sleep(0.01)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("lifespan shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def application(scope, receive, send):
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await lifespan(receive, send)


hold_import()
