# SPDX-License-Identifier: BSD-3-Clause
"""The event loop that serves WebSockets in this process, for threads that were not started by it.

Why: the in-memory channel layer may be touched only from the loop that its consumers run in. async_to_sync finds
that loop from a view, but not from a thread of our own; there it would make a new loop and corrupt the layer.
"""

import asyncio
import time
from concurrent.futures import wait

SEND_TIMEOUT = 10
LOOK_AGAIN = 0.2

_loop = None


class RememberLoop:
    """ASGI middleware that notes which loop it runs in."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        global _loop
        _loop = asyncio.get_running_loop()
        return await self.application(scope, receive, send)


def run_from_thread(function, *args):
    """Call the asynchronous @function from a thread without a loop and wait for its result.

    It runs in the loop that serves WebSockets, or in a new one when this process serves none. A server that shuts
    down meanwhile, or a layer that hangs, is an exception and not a thread that waits for ever.
    """
    loop = _loop
    if loop is None or not loop.is_running():
        return asyncio.run(function(*args))
    coroutine = function(*args)
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    deadline = time.monotonic() + SEND_TIMEOUT
    while not wait([future], LOOK_AGAIN).done:
        if loop.is_closed():
            coroutine.close()  # The loop ended before it began.
            raise RuntimeError("the server's event loop is closed")
        if time.monotonic() > deadline:
            future.cancel()
            raise RuntimeError(f"no result after {SEND_TIMEOUT} seconds")
    return future.result()
