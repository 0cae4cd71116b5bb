# SPDX-License-Identifier: BSD-3-Clause
"""One way from the loop to a thread and back, with what asgiref's sync_to_async() keeps, for many steps in one call.

Kept: contextvars and Local, sys.exc_info(), the loop for async_to_sync() in the thread, and cancellation. Stock would
await after each step, and a cancelled request ends there. Hence checkpoint(), called in the thread after each step.
"""

import asyncio
import contextvars
import inspect
import sys
import threading
import weakref

import asgiref.local
from asgiref import sync

from .threads import Gateway

RUNNING = 0
DECIDING = 1  # the request was cancelled; a coroutine below an async_to_sync() of the thread may still prevent it
CANCELLED = 2

# In newer releases a Local knows which thread its values belong to; going to another one has to be declared.
_HAS_HOMES = hasattr(asgiref.local, "_Storage")

_gateways = weakref.WeakKeyDictionary()


def is_supported():
    """Whether this asgiref (3.8 or later) is one whose hop this module can make."""
    parameters = list(inspect.signature(sync.SyncToAsync.thread_handler).parameters)
    return parameters[:5] == ["self", "loop", "exc_info", "task_context", "func"] and hasattr(sync, "_restore_context")


def gateway(loop):
    """The Gateway of `loop`, which stays the same."""
    found = _gateways.get(loop)
    if found is None:
        found = _gateways[loop] = Gateway(loop)
    return found


def settle(context):
    """Makes the values of `context` those of the current one, and the current thread their owner."""
    sync._restore_context(context)


def run_in_context(context, function, *arguments):
    """context.run() in a thread that the context did not come from: what is in a Local there is found here."""
    if not _HAS_HOMES:
        return context.run(function, *arguments)

    def run():
        settle(context)
        return function(*arguments)

    return context.run(run)


def outer_executor():
    """The thread that stock would use because of what is around this request, or None: a thread for the request.

    Such are the thread that waits in an async_to_sync() above, and that of an enclosing ThreadSensitiveContext.
    """
    executor = getattr(sync.AsyncToSync.executors, "current", None)
    if executor is None:
        context = sync.SyncToAsync.thread_sensitive_context.get(None)
        if context is not None:
            executor = sync.SyncToAsync.context_to_thread_executor.get(context)
    return executor


class Outer:
    """A Lease's interface to an executor that is not ours."""

    prepare = None
    used = True
    is_left = False
    has_thrown = False

    def __init__(self, executor):
        self._executor = executor

    def put(self, call):
        """See Lease. Raises RuntimeError if the executor has ended."""
        self._executor.submit(call)

    def ready(self):
        """See Lease."""

    def close(self):
        """See Lease; the executor is not ours to end."""


def _placeholder():
    """sync_to_async() wants a function."""


_sync_to_async = sync.SyncToAsync(_placeholder)


class Hop:
    """One call in the thread of `lease`. Made and awaited on the loop.

    context: in which it runs; it must not be entered elsewhere meanwhile. waiter: a future that others may set too.
    """

    __slots__ = (
        "_decided",
        "_task_context",
        "call",
        "context",
        "done",
        "error",
        "exc_info",
        "lease",
        "loop",
        "result",
        "state",
        "waiter",
    )

    def __init__(self, lease, loop, call, context):
        self.lease = lease
        self.loop = loop
        self.call = call
        self.context = context
        self.state = RUNNING
        self.done = False
        self.result = self.error = None
        self.exc_info = sys.exc_info()
        self.waiter = loop.create_future()
        self._decided = None
        self._task_context = []
        lease.put(self._run)

    # In the thread

    def _run(self):
        try:
            if self.state == CANCELLED:
                raise asyncio.CancelledError
            self.lease.ready()
            handler = _sync_to_async.thread_handler
            self.result = handler(self.loop, self.exc_info, self._task_context, self.context.run, self._enter)
        except BaseException as error:
            self.error = error
        self.exc_info = None
        gateway(self.loop).post(self._arrive)

    def _enter(self):
        if _HAS_HOMES:
            settle(self.context)
        return self.call(self)

    def checkpoint(self):
        """Raises CancelledError if the request was cancelled, where stock would have."""
        if self.state:
            if self.state == DECIDING:
                self._decided.wait()
            if self.state == CANCELLED:
                raise asyncio.CancelledError

    # On the loop

    def _arrive(self):
        self.done = True
        self.call = self.context = None  # they refer back to us
        if not self.waiter.done():
            self.waiter.set_result(None)

    def take(self):
        """What the call returned or raised, after `done`."""
        if self.error is not None:
            error, self.error = self.error, None
            self.lease.has_thrown = isinstance(error, GeneratorExit)
            try:
                raise error
            finally:
                del error
        return self.result

    async def wait(self):
        """Returns what the call returns, or raises what it raises; as SyncToAsync.__call__ when it is cancelled."""
        try:
            while not self.done:
                await self.waiter
        except asyncio.CancelledError:
            return await self.cancel()
        return self.take()

    async def cancel(self):
        """Cancels the coroutine for which the thread waits in async_to_sync(), if there is one; if it goes on all the
        same, so does the request. Else raises CancelledError; the thread ends at its next checkpoint()."""
        self._decided = threading.Event()
        self.state = DECIDING
        goes_on = False
        try:
            if self._task_context:
                task = self._task_context[0]
                task.cancel()
                try:
                    await task
                    goes_on = True
                except asyncio.CancelledError:
                    pass
        finally:
            self.state = RUNNING if goes_on and not self.done else CANCELLED
            self._decided.set()
        if self.state == CANCELLED:
            self.lease.is_left = not self.done
            raise asyncio.CancelledError
        if self.waiter.done():  # by others, or cancelled
            self.waiter = self.loop.create_future()
            if self.done:
                self.waiter.set_result(None)
        await self.waiter
        return self.take()


async def run_in(lease, call):
    """Awaits `call(hop)` in the thread of `lease`, as sync_to_async() would: what it sets in its context is kept."""
    context = contextvars.copy_context()
    hop = Hop(lease, asyncio.get_running_loop(), call, context)
    try:
        return await hop.wait()
    finally:
        settle(context)
