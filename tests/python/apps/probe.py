# SPDX-License-Identifier: BSD-3-Clause
"""An application of many small ones, chosen by the path. What they see is answered as Python source (repr)."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading

PATHS = {}

# What happened to applications whose client cannot be told any more; read and emptied by /notes.
notes = []


def note(text):
    notes.append(text)


def at(path):
    def register(function):
        PATHS[path] = function
        return function

    return register


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await PATHS[scope["path"]](scope, receive, send)


async def answer(send, body, status=200, headers=()):
    if isinstance(body, str):
        body = body.encode()
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


# HTTP


@at("/scope")
async def show_scope(scope, receive, send):
    await answer(send, repr(scope))


@at("/caf\u00e9")
@at("/bad\ufffd")
async def show_path(scope, receive, send):
    await answer(send, repr((scope["path"], scope["raw_path"])))


@at("/notes")
async def show_notes(scope, receive, send):
    await answer(send, repr(notes))
    notes.clear()


@at("/events")
async def show_events(scope, receive, send):
    events = []
    while not events or events[-1].get("more_body"):
        events.append(await receive())
    await answer(send, repr(events))


@at("/after")
async def after_response(scope, receive, send):
    await answer(send, b"done")
    first = await receive()
    second = await receive()
    await send({"type": "http.response.body", "body": b"ignored"})
    await send({"type": "nonsense"})
    note((first, second))


@at("/gone")
async def wait_gone(scope, receive, send):
    events = [await receive(), await receive(), await receive(), await receive()]
    try:
        await answer(send, b"late")
    except OSError as error:
        note((events, type(error).__name__))


@at("/gone-escapes")
async def gone_escapes(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass
    note("left")
    await answer(send, b"late")


@at("/gone-raises")
async def gone_raises(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass
    raise RuntimeError("after the client")


@at("/discard")
async def discard(scope, receive, send):
    """Reads one piece for each that the test announces on the query, then waits."""
    total = 0
    while True:
        event = await receive()
        total += len(event["body"])
        if not event["more_body"]:
            break
    await answer(send, str(total))


@at("/read-when-told")
async def read_when_told(scope, receive, send):
    go.clear()
    await go.wait()
    await discard(scope, receive, send)


@at("/stream")
async def stream(scope, receive, send):
    """Sends pieces of the sizes in the query."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]})
    for size in scope["query_string"].split(b","):
        await send({"type": "http.response.body", "body": b"x" * int(size), "more_body": True})
        note(int(size))
    await send({"type": "http.response.body"})


@at("/types")
async def body_types(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": memoryview(b"view"), "more_body": True})
    await send({"type": "http.response.body", "body": bytearray(b"array"), "more_body": True})
    await send({"type": "http.response.body", "body": memoryview(b"abcdef")[::2], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await send({"type": "http.response.body", "body": memoryview(b"z" * 70000)})


@at("/framing")
async def framing(scope, receive, send):
    await answer(send, b"ok", 201, [(b"Transfer-Encoding", b"chunked"), (b"X-B", b"\xe9\t"), [b"x-a", b""]])


@at("/start-only")
async def start_only(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})


@at("/flush-start")
async def flush_start(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "more_body": True})
    await receive()
    await receive()


@at("/raise")
async def raises(scope, receive, send):
    raise RuntimeError("told to")


@at("/raise-late")
async def raises_late(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise RuntimeError("told to, late")


@at("/exit")
async def exits(scope, receive, send):
    sys.exit("enough")


@at("/interrupt")
async def interrupts(scope, receive, send):
    raise KeyboardInterrupt


@at("/exit-in-task")
async def exits_in_task(scope, receive, send):
    async def leave():
        sys.exit(5)

    await asyncio.create_task(leave())


@at("/cancelled")
async def cancels_itself(scope, receive, send):
    raise asyncio.CancelledError


@at("/hang")
async def hangs(scope, receive, send):
    try:
        await asyncio.Event().wait()
    finally:
        note("hang ended")


@at("/hang-twice")
async def swallows(scope, receive, send):
    for number in (1, 2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note(f"cancelled {number}")


@at("/spin")
async def spins(scope, receive, send):
    try:
        while True:
            await receive()
    finally:
        note("spin ended")


@at("/send")
async def send_given(scope, receive, send):
    """Sends the events in the query (Python source), and answers with the errors where it still can."""
    errors = []
    for event in eval(scope["query_string"]):
        try:
            await send(event)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    note(errors)


@at("/two-senders")
async def two_senders(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})

    async def big(letter):
        await send({"type": "http.response.body", "body": letter * 150000, "more_body": True})

    await asyncio.gather(big(b"a"), big(b"b"), big(b"c"))
    await send({"type": "http.response.body", "body": b"end"})


@at("/cancel-begun")
async def cancel_begun(scope, receive, send):
    """A large body whose send() is cancelled in the middle goes on; the next, not begun, does not."""
    await send({"type": "http.response.start", "status": 200})
    for letter in (b"a", b"b"):
        task = asyncio.ensure_future(
            send({"type": "http.response.body", "body": letter * 200000, "more_body": letter == b"a"})
        )
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            note(letter)
    await send({"type": "http.response.body", "body": b"end"})


@at("/two-receivers")
async def two_receivers(scope, receive, send):
    await receive()
    tasks = [asyncio.ensure_future(receive()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await answer(send, b"waiting" if not (await asyncio.wait(tasks[:2], timeout=0))[0] else b"early")
    events = await asyncio.gather(*tasks[:2])
    note(events)


@at("/objects")
async def objects(scope, receive, send):
    gc.disable()
    await answer(send, str(len(gc.get_objects())))


@at("/post")
async def post(scope, receive, send):
    await receive()
    await answer(send, b"x" * 100, 200, [(b"content-type", b"text/plain")])


@at("/environment")
async def environment(scope, receive, send):
    child = [
        sys.executable,
        "-c",
        "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)",
    ]
    inherited = subprocess.run(child, stdout=subprocess.PIPE, check=True, text=True).stdout
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, int)
    await answer(
        send,
        repr(
            {
                "loop": type(loop).__module__,
                "threads": loop._default_executor._max_workers if hasattr(loop, "_default_executor") else None,
                "signals": inherited,
                "path0": sys.path[0],
                "cwd": os.getcwd(),
            }
        ),
    )


@at("/signal-self")
async def signal_self(scope, receive, send):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0)
    await answer(send, b"still here")


@at("/hung-thread")
async def hung_thread(scope, receive, send):
    threading.Thread(target=threading.Event().wait).start()
    await answer(send, b"started")


@at("/go")
async def let_go(scope, receive, send):
    go.set()
    await answer(send, b"gone")


# WebSocket


@at("/ws/scope")
async def ws_scope(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": repr(scope)})
    await receive()


@at("/ws/echo")
async def ws_echo(scope, receive, send):
    while True:
        event = await receive()
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event["type"] == "websocket.disconnect":
            note(event)
            return
        else:
            await send(dict(event, type="websocket.send"))


@at("/ws/repr")
async def ws_repr(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            note(event)
            return
        await send({"type": "websocket.send", "text": repr(event)})


@at("/ws/collect")
async def ws_collect(scope, receive, send):
    """Takes what came only when told, by /go; notes all events."""
    await receive()
    await send({"type": "websocket.accept"})
    go.clear()
    await go.wait()
    events = []
    while not events or events[-1]["type"] != "websocket.disconnect":
        events.append(await receive())
    again = await receive()
    note((events, again))


@at("/ws/send")
async def ws_send(scope, receive, send):
    """Sends the events in the query; each error is noted."""
    errors = []
    await receive()
    for event in eval(scope["query_string"]):
        try:
            await send(event)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    note(errors)
    note(await receive())


@at("/ws/late")
async def ws_late(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    assert (await receive())["type"] == "websocket.disconnect"
    try:
        await send({"type": "websocket.send", "text": "late"})
    except OSError as error:
        note(type(error).__name__)
        raise


@at("/ws/close-then-send")
async def ws_close_then_send(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})
    await send({"type": "websocket.send", "text": "late"})


@at("/ws/flood")
async def ws_flood(scope, receive, send):
    """Sends as many messages of a size as the query says (count,size), noting each."""
    await receive()
    await send({"type": "websocket.accept"})
    count, size = map(int, scope["query_string"].split(b","))
    for _ in range(count):
        await send({"type": "websocket.send", "text": "x" * size})
        note(size)
    await send({"type": "websocket.close", "code": 4000})


@at("/ws/raise")
async def ws_raise(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    raise RuntimeError("told to")


@at("/ws/raise-at-connect")
async def ws_raise_at_connect(scope, receive, send):
    raise RuntimeError("told to")


@at("/ws/return")
async def ws_return(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})


@at("/ws/group")
async def ws_group(scope, receive, send):
    """An exception group of disconnects, as a task group raises it."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    try:
        await send({"type": "websocket.send", "text": "late"})
    except OSError as error:
        note("group")
        raise BaseExceptionGroup("tasks", [error]) from None  # noqa: F821 (Python 3.11)


@at("/ws/cancelled-receive")
async def ws_cancelled_receive(scope, receive, send):
    """receive() is cancelled in the very turn in which a message came; the message is there for the next."""
    await receive()
    await send({"type": "websocket.accept"})
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    go.clear()
    await send({"type": "websocket.send", "text": "waiting"})
    await go.wait()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        note("cancelled")
        note(await receive())
    else:
        note(task.result())
    await send({"type": "websocket.close"})


class _Go:
    """An asyncio.Event made in the loop, whatever the Python version."""

    def __init__(self):
        self._event = None

    def clear(self):
        self._event = asyncio.Event()

    def set(self):
        if self._event is not None:
            self._event.set()

    async def wait(self):
        await self._event.wait()


go = _Go()
