# SPDX-License-Identifier: BSD-3-Clause
"""Hearing that the client left while its request is served (Django 5.0 and later)."""

import asyncio
import contextlib

from django.core.exceptions import RequestAborted

from ...http import HttpRequest
from ...session import GONE


class Task:
    """Calls the handler's listen_for_disconnect(), in a task, as stock does. `fired`: it returned or raised."""

    def __init__(self, handler, receive, waiter):
        self.waiter = waiter
        self.task = asyncio.get_running_loop().create_task(handler.listen_for_disconnect(receive))
        self.task.add_done_callback(self._ended)

    def _ended(self, task):
        if not self.waiter.done():
            self.waiter.set_result(None)

    def wake(self, waiter):
        """From now on `waiter` is set when it fires."""
        self.waiter = waiter
        if self.task.done():
            self._ended(self.task)

    @property
    def fired(self):
        return self.task.done()

    def check(self):
        """Raises what listen_for_disconnect() raised, but not RequestAborted."""
        if self.task.done():
            with contextlib.suppress(RequestAborted):
                self.task.result()

    async def stop(self):
        """Ends the task, if it has not ended."""
        if not self.task.done():
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task


class Watch:
    """The same for a request of channelsd's own, of which receive() would tell nothing but the disconnect: no task."""

    def __init__(self, session, waiter):
        self._session = session
        self._future = None
        self.waiter = waiter
        self.fired = False
        self._arm()

    def _arm(self):
        if self._session.ended == GONE:
            self.fired = True
            self.wake(self.waiter)
        elif not self._session.ended:
            self._future = self._session.wait()
            self._future.add_done_callback(self._woken)

    def _woken(self, future):
        if self._future is not None:
            self._future = None
            self._arm()

    def wake(self, waiter):
        """See Task."""
        self.waiter = waiter
        if self.fired and not waiter.done():
            waiter.set_result(None)

    def check(self):
        """See Task."""

    async def stop(self):
        """See Task."""
        future, self._future = self._future, None
        if future is not None:
            future.remove_done_callback(self._woken)
            future.cancel()


def own_session(receive, send):
    """The session of a request that channelsd serves directly, with nothing wrapped around; else None."""
    if (
        getattr(receive, "__func__", None) is HttpRequest.receive
        and getattr(send, "__func__", None) is HttpRequest.send
    ):
        session = receive.__self__
        if send.__self__ is session and not session.queue:
            return session
    return None


def listen(handler, receive, session, waiter):
    """A Watch (`session` is not None), or a Task."""
    return Task(handler, receive, waiter) if session is None else Watch(session, waiter)
