# SPDX-License-Identifier: BSD-3-Clause
"""One request from its body to its end: which of it is done on the loop and which in the one hop.

exchange.serve() does what ASGIHandler.handle() does after the body was read. Where the project listens to
request_started, or a layer's process_request needs a thread, all begins in the thread; else it begins on the loop, and
only a synchronous view makes the hop. Of a plain response response.close() is a part of the hop.
"""

import asyncio
import contextlib
import contextvars

from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.handlers import base
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase

from . import bridge, hop, receivers, tally
from .listen import listen, own_session
from .passage import Passage
from .plan import current
from .threads import Lease


def is_plain(response, request):
    """Whether close() has nothing to do but to close the request, and the content is at hand."""
    cls = type(response)
    closers = response._resource_closers
    return (
        isinstance(response, HttpResponse)
        and not response.streaming
        and cls.close is HttpResponseBase.close
        and cls.content is HttpResponse.content
        and "close" not in vars(response)
        and len(closers) == 1
        and closers[0] == request.close
    )


class Exchange:
    """One request under Django 5.0 to 6.0. Of 4.2 see exchange42.py, of 6.1 exchange61.py."""

    def __init__(self, plan, handler, scope, body_file, pool):
        self.plan = plan
        self.handler = handler
        self.scope = scope
        self.body_file = body_file
        self.loop = asyncio.get_running_loop()
        self.request = self.response = self.refusal = self.passage = None
        self.is_started = False  # request_started was sent
        self.is_finished = False  # response.close() was called
        self.close_error = None  # what it raised in the hop
        self.is_abandoned = False  # nobody waits for the thread any more
        self.goes_on = False  # the client left, and a coroutine of the view prevented the cancellation
        self.at_hop = None  # the one Hop
        self.outside = None  # the context of handle(), if response.close() is to run in the hop
        executor = hop.outer_executor()
        if executor is None:
            self.lease = Lease(pool, self.loop, None)
            # Where sync_to_async() of an asynchronous view looks for the thread.
            self._owner = SyncToAsync.thread_sensitive_context.get()
            SyncToAsync.context_to_thread_executor[self._owner] = self.lease
        else:
            self.lease = hop.Outer(executor)
            self._owner = None

    async def end(self):
        """Gives the thread back. Always called. A request that was given up ends when its thread has, as under stock."""
        if self._owner is not None:
            SyncToAsync.context_to_thread_executor.pop(self._owner, None)
        try:
            if self.lease.is_left and self._owner is not None:
                await hop.run_in(self.lease, lambda at_hop: None)
        finally:
            self.lease.close()
            self.lease.prepare = None  # it refers back to us

    # In the thread

    def in_thread(self, at_hop):
        """The call of the one hop."""
        self.at_hop = at_hop  # the loop may not have come to it yet
        if not self.is_started:
            self._send_started()
        if self.request is None:
            self._create_request()
            if self.request is None:
                return
        if self.plan.top is not None:
            response = self._through_top(at_hop)
        else:
            self.passage.run(at_hop)
            if self.passage.is_for_loop:
                return
            response = self.passage.response
        self._complete(response)
        if response.status_code >= 400:
            self._log(response)
            at_hop.checkpoint()
        self.response = response
        if self.is_abandoned:
            response.close()
        elif self.outside is not None and receivers.finished.are_known and is_plain(response, self.request):
            self.is_finished = True
            try:
                self._close_in_thread(response)
            except BaseException as error:
                # The response is as good as before; stock raises this when it was sent.
                self.close_error = error
            self.lease.close()

    def _close_in_thread(self, response):
        """In the context of handle(), where the task that made the response has changed nothing."""
        hop.run_in_context(self.outside, response.close)

    def _send_started(self):
        """As from the loop: what receivers set in their context stays there."""
        self.is_started = True
        contextvars.copy_context().run(signals.request_started.send, sender=type(self.handler), scope=self.scope)

    def _create_request(self):
        self.request, self.refusal = self.handler.create_request(self.scope, self.body_file)
        if self.request is not None:
            base.set_urlconf(settings.ROOT_URLCONF)
            self.passage = Passage(self.plan, self.handler, self.request)

    def _through_top(self, at_hop):
        response = bridge.call(self, self.plan.top, self.request)
        at_hop.checkpoint()
        return response

    def inside(self, request):
        """Thread: its own. What the bridge gives to the synchronous part outside of it."""
        passage = Passage(self.plan, self.handler, request)
        passage.run(self.at_hop)
        if passage.is_for_loop:
            return async_to_sync(self._finish_inside)(passage)
        return passage.response

    async def serve_segment(self, plan, request):
        """On the loop. What is inside of an asynchronous middleware; see plan.Segment."""
        executor = hop.outer_executor()
        lease = self.lease if executor is None or executor is self.lease else hop.Outer(executor)
        passage = Passage(plan, self.handler, request)
        passage.begin()
        return await passage.finish(lease)

    @staticmethod
    async def _finish_inside(passage):
        # The thread waits in async_to_sync(): steps that need it go there.
        return await passage.finish(hop.Outer(hop.outer_executor()))

    def _complete(self, response):
        """The rest of get_response_async() and run_get_response(), but the log."""
        response._resource_closers.append(self.request.close)
        response._handler_class = type(self.handler)
        if isinstance(response, FileResponse):
            response.block_size = self.handler.chunk_size

    def _log(self, response):
        base.log_response("%s: %s", response.reason_phrase, self.request.path, response=response, request=self.request)

    # On the loop

    async def serve(self, receive, send):
        """All that follows the body."""
        session = own_session(receive, send)
        context = contextvars.copy_context()
        if self.plan.segments:
            context.run(current.set, self)
        begins_here = await self._start()
        if begins_here:
            context.run(self._create_request)
            if self.request is None:
                await self._refuse(send)
                return
            if self.plan.top is None:
                context.run(self.passage.begin)
        listener = listen(self.handler, receive, session, self.loop.create_future())
        if self.passage is None or not self.passage.is_for_loop:
            if self._owner is not None:
                self.outside = contextvars.copy_context()
            if not await self._hop(listener, context, send):
                return
        if self.response is None:
            work = self._process(context, send)
        elif session is not None and self.is_finished:
            await listener.stop()
            await self.handler.send_response(self.response, send)
            self.raise_close_error()
            return
        else:
            work = self._send(context, send)
        await self._race(listener, context.run(self.loop.create_task, work))

    async def _start(self):
        """Sends request_started if it has to be sent here. Returns whether the request begins on the loop."""
        started = receivers.started
        if self._owner is not None and started.are_known:
            # Before the thread is used for this request, if it is used at all.
            self.is_started = True
            self.lease.prepare = self._send_started
            return True
        if started.may_be_asynchronous:
            self.is_started = True
            await started.send_on_loop(sender=type(self.handler), scope=self.scope)
        return False

    async def _refuse(self, send):
        """create_request() gave a response in place of a request."""
        self.body_file.close()
        await self.handler.send_response(self.refusal, send)
        await sync_to_async(self.refusal.close)()

    async def _hop(self, listener, context, send):
        """The one hop. Returns False if the exchange is over."""
        at_hop = self.at_hop = hop.Hop(self.lease, self.loop, self.in_thread, context)
        listener.wake(at_hop.waiter)
        try:
            await at_hop.waiter
        except asyncio.CancelledError:
            self.is_abandoned = self.lease.is_left = True
            raise
        if not at_hop.done:
            self._check(listener)
            try:
                await at_hop.cancel()
            except asyncio.CancelledError:
                await self._finish_cancelled()
                return False
            self.goes_on = True
        elif at_hop.error is not None:
            self._check(listener)
            await listener.stop()
            at_hop.take()
        if self.refusal is not None:
            await listener.stop()
            await self._refuse(send)
            return False
        return True

    def _check(self, listener):
        try:
            listener.check()
        except BaseException as error:
            self.is_abandoned = self.lease.is_left = True
            if isinstance(error, AssertionError):
                self.body_file.close()
            raise

    async def _finish_cancelled(self):
        """The client left while the response was made."""
        if self.lease.used or not receivers.finished.are_known:
            await receivers.finished.send_on_loop(sender=type(self.handler))
        self.body_file.close()

    async def _process(self, context, send):
        """A task: an asynchronous view and what follows."""
        if self.at_hop is not None:
            hop.settle(context)
        response = await self.passage.finish(self.lease)
        self._complete(response)
        if response.status_code >= 400 and not getattr(response, "_has_been_logged", False):
            await hop.run_in(self.lease, lambda at_hop: self._log(response))
        self.response = response
        return await self._send_to(send)

    async def _send(self, context, send):
        """A task: sends the response of the hop."""
        hop.settle(context)
        return await self._send_to(send)

    async def _send_to(self, send):
        with contextlib.suppress(asyncio.CancelledError):  # the client left, which is no error
            await self.handler.send_response(self.response, send)
        return self.response

    async def _race(self, listener, task):
        """Waits for the task, or cancels it when the client leaves; then closes the response."""
        waiter = self.loop.create_future()
        task.add_done_callback(lambda task: waiter.done() or waiter.set_result(None))
        if not self.goes_on:
            listener.wake(waiter)
        await waiter
        self._check(listener)
        await listener.stop()
        if task.done():
            task.result()
        else:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        try:
            response = task.result()
        except asyncio.CancelledError:
            await self._finish_cancelled()
            return
        await self._close(response)
        self.body_file.close()

    async def _close(self, response):
        if self.is_finished:
            self.raise_close_error()
            return
        if self.needs_no_thread(response):
            close_here(response)
        else:
            await hop.run_in(self.lease, lambda at_hop: response.close())

    def raise_close_error(self):
        """Raises what response.close() raised in the hop, now that the response was sent."""
        if self.close_error is not None:
            error, self.close_error = self.close_error, None
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame

    def needs_no_thread(self, response):
        """Whether no thread was used, and none is needed to close the response."""
        return (
            not self.lease.used
            and receivers.finished.are_known
            and is_plain(response, self.request)
            and not self.request.__dict__.get("_files")
            and not receivers.has_caches()
        )

    def count(self):
        """Adds this request to the counters."""
        if self.plan.segments:
            tally.count(tally.AROUND)
        else:
            tally.count(tally.ONE_HOP if self.lease.used else tally.ON_LOOP)


def close_here(response):
    """response.close() of a plain response, if no thread was used: without the signal, for which see receivers.py."""
    closers = response._resource_closers
    for closer in closers:
        with contextlib.suppress(Exception):  # as HttpResponseBase.close()
            closer()
    closers.clear()
    response.closed = True
