# SPDX-License-Identifier: BSD-3-Clause
"""An application that goes wrong on demand: the path says how. Files of the test are in the folder $FAULTS_DIR."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("FAULTS_DIR", "."))
BIG = 256 * 1024
gates = {}

if (FOLDER / "broken-import").exists():
    raise RuntimeError("the application is broken")
if (FOLDER / "exit-import").exists():
    os._exit(7)
if (FOLDER / "slow-import").exists():
    print("importing", flush=True)
    while (FOLDER / "slow-import").exists():
        time.sleep(0.01)


def link_sockets():
    """Descriptors of this process's links to the edge loops, as its command line names them."""
    words = Path("/proc/self/cmdline").read_text(encoding="utf-8").split("\0")
    return [int(fd) for fd in words[words.index("--links") + 1].split(",")]


def fault(name, argument):
    """Harms this process."""
    if name == "exit":
        os._exit(int(argument or 1))
    elif name == "sysexit":
        sys.exit(3)
    elif name == "segfault":
        ctypes.string_at(0)
    elif name == "kill":
        os.kill(os.getpid(), int(argument or signal.SIGKILL))
    elif name == "hang":
        print("hanging", flush=True)
        time.sleep(3600)
    elif name == "stop":
        print("hanging", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif name == "close-output":
        os.close(1)
        os.close(2)
    elif name == "close-links":
        for fd in link_sockets():
            os.close(fd)
    elif name == "close-link":
        os.close(link_sockets()[-1])
    elif name == "garbage":
        for fd in link_sockets():
            os.write(fd, bytes.fromhex(argument))
    elif name == "child":
        subprocess.Popen(["sleep", argument or "30"], start_new_session=True)
    else:
        return False
    return True


async def answer(send, body, status=200):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def http(scope, receive, send):
    _, name, argument = (scope["path"] + "//").split("/")[:3]
    if fault(name, argument):
        await answer(send, b"survived")
    elif name == "wait":
        # Announces itself, then answers when the file of that name is there.
        print(f"waiting {argument}", flush=True)
        while not (FOLDER / argument).exists():
            await asyncio.sleep(0.01)
        await answer(send, b"waited")
    elif name == "begin":
        # The first half of a response, and never the second.
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        print(f"begun {argument}", flush=True)
        await asyncio.sleep(3600)
    elif name == "headers":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")] * int(argument)})
        await send({"type": "http.response.body", "body": b"many"})
    elif name == "big":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(argument)):
            await send({"type": "http.response.body", "body": b"x" * BIG, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif name == "print":
        for number in range(int(argument)):
            print(f"line {number} of the worker's output ", end="")
            print("." * 60, flush=True)
        await answer(send, b"printed")
    elif name == "split":
        sys.stdout.write("first half, ")
        sys.stdout.flush()
        sys.stderr.write("first half, ")
        sys.stderr.flush()
        await answer(send, b"split")
    elif name == "join":
        sys.stdout.write("second half\n")
        sys.stdout.flush()
        sys.stderr.write("second half\n")
        sys.stderr.flush()
        await answer(send, b"join")
    else:
        await answer(send, b"%d" % os.getpid())


async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/never":
        await asyncio.sleep(3600)
    subprotocol = scope["subprotocols"][0] if scope["path"] == "/subprotocol" else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    if scope["path"] == "/stream":
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 16384})
    while (event := await receive())["type"] == "websocket.receive":
        text = event.get("text") or ""
        if text.startswith("!") and fault(*(text[1:] + "/").split("/")[:2]):
            continue
        if text == "pid":
            await send({"type": "websocket.send", "text": str(os.getpid())})
        else:
            await send({**event, "type": "websocket.send"})


async def lifespan(receive, send):
    if (FOLDER / "exit-startup").exists():
        os._exit(9)
    await receive()
    await send({"type": "lifespan.startup.complete"})
    # Timers run when the links have sent what they had, READY being that.
    if "FAULTS_DIR" in os.environ:
        asyncio.get_running_loop().call_later(0.05, (FOLDER / f"ready-{os.getpid()}").touch)
    await receive()
    print("lifespan shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def application(scope, receive, send):
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await lifespan(receive, send)
