# SPDX-License-Identifier: BSD-3-Clause
"""One request under Django 6.1: in the application's own task and context, as under 4.2, within a task group in which
another task hears that the client left. That one, and the server that gives the request up, cancel the same task.
"""

import asyncio
import contextlib

from django.core.exceptions import RequestAborted

from .exchange import Exchange
from .exchange42 import Exchange42
from .listen import Watch, own_session
from .plan import current

try:
    from builtins import BaseExceptionGroup
except ImportError:  # before Python 3.11, on which there is no Django 6.1
    BaseExceptionGroup = None


class Processed(Exception):
    """Ends the task group: the response was sent."""


class LateListener(Watch):
    """A Watch that starts the listener's task, which stock has from the beginning, when it has something to hear."""

    def __init__(self, session, start):
        self._start = start
        self.is_started = False
        super().__init__(session, None)

    def wake(self, waiter):
        """See Watch; there is nobody else to be woken."""
        self.is_started = True
        self._start()


class Exchange61(Exchange42):
    """What differs from Django 4.2."""

    def __init__(self, *args):
        super().__init__(*args)
        self.answer = None  # the response, when it was made and the client had not left before

    _refuse = Exchange._refuse

    async def serve(self, receive, send):
        """All that follows the body."""
        if self.plan.segments:
            current.set(self)
        with contextlib.closing(self.body_file):
            if await self._start():
                self._create_request()
            if self.refusal is None:
                try:
                    await self._respond(receive, send)
                except BaseExceptionGroup as group:
                    self._raise_rest(group)
            if self.refusal is not None:
                await self._refuse(send)
            elif self.answer is None:
                await self._finish_cancelled()
            else:
                await self._close(self.answer)

    def _raise_rest(self, group):
        """Raises what else than the end of the work and the disconnect is in the group; one exception comes alone."""
        _, rest = group.split((Processed, RequestAborted))
        try:
            if rest is None:
                return
            if len(rest.exceptions) > 1:
                raise rest
            if isinstance(rest.exceptions[0], GeneratorExit) and self.lease.has_thrown:
                # Stock's future throws it into the coroutines, which closes them; but __aexit__() waits all the same.
                raise RuntimeError("coroutine ignored GeneratorExit") from rest.exceptions[0]
            raise rest.exceptions[0]
        finally:
            del group, rest  # their tracebacks refer to this frame

    async def _respond(self, receive, send):
        """Makes the response and sends it, unless the client leaves."""
        session = own_session(receive, send)
        async with asyncio.TaskGroup() as group:

            def start():
                group.create_task(self.handler.listen_for_disconnect(receive))

            if session is None:
                start()
                await self._work(send)
                raise Processed
            listener = LateListener(session, start)
            try:
                await self._work(send)
            finally:
                await listener.stop()
            if listener.is_started:
                raise Processed

    async def _work(self, send):
        if self.passage is not None and self.plan.top is None:
            self.passage.begin()
        if self.passage is None or not self.passage.is_for_loop:
            await self._hop_here()
        if self.refusal is None:
            if self.response is None:
                await self._process_here()
            self.answer = self.response
            await self.handler.send_response(self.answer, send)
