# SPDX-License-Identifier: BSD-3-Clause
"""A request's way through the unrolled layers to the view, and its response's way back.

It is Django's own order, step by step: process_request of each layer, resolve_request(), process_view, the view,
process_exception, process_template_response and render(), process_response of each layer from where the request turned
back; and around each layer what convert_exception_to_response() does. Each step is made once, on the loop or in the
thread; `phase` says which one is next, so that the way can be continued on the other side.
"""

import asyncio

from django.core.handlers import base, exception

from .hop import run_in
from .on_loop import is_simple

ENTER = 0  # process_request of layers[at]
RESOLVE = 1
VIEWS = 2  # view_methods[view_at]
CALL = 3  # a synchronous view, or one whose kind is not known yet
AWAIT = 4  # an asynchronous view: on the loop
RESPONDED = 5  # there is a response, not yet checked and rendered
RENDERED = 6  # the same, but process_template_response was called
AWAIT_RENDER = 7  # an asynchronous render(): on the loop
ERROR = 8  # `error` is to become a response
LEAVE = 9  # process_response of layers[at]
NATIVE = 10  # an asynchronous middleware in place of the view: on the loop

_ON_LOOP = (AWAIT, AWAIT_RENDER, NATIVE)


class Passage:
    """at: index of the layer that is next; the response leaves from there outwards."""

    __slots__ = ("at", "error", "handler", "match", "phase", "plan", "request", "response", "view", "view_at")

    def __init__(self, plan, handler, request):
        self.plan = plan
        self.handler = handler
        self.request = request
        self.response = None
        self.phase = ENTER
        self.at = 0
        self.view_at = 0
        self.match = self.view = self.error = None

    @property
    def is_for_loop(self):
        """Whether run() returned because the next step is the loop's: finish()."""
        return self.phase in _ON_LOOP

    def _fail(self, error, at):
        self.error = error
        self.at = at
        self.phase = ERROR

    # In the thread

    def run(self, hop):
        """Goes on from any phase to the end, or until is_for_loop."""
        if self.phase == ENTER:
            self._enter(hop)
        if self.phase != LEAVE:
            try:
                if self.phase == ERROR:
                    error, self.error = self.error, None
                    raise error
                self._inner(hop)
            except Exception as error:
                self._respond_to(error, hop)
            if self.phase in _ON_LOOP:
                return
        self._leave(hop)

    def _respond_to(self, error, hop):
        """Called where `error` is handled. What goes wrong with its response is the next layer's to handle."""
        hop.checkpoint()
        try:
            self.response = exception.response_for_exception(self.request, error)
        except Exception as worse:
            if self.at < 0:
                raise
            self.at -= 1
            self._respond_to(worse, hop)
            return
        self.phase = LEAVE
        hop.checkpoint()

    def _enter(self, hop):
        layers = self.plan.layers
        for at in range(self.at, len(layers)):
            layer = layers[at]
            try:
                response = layer.process_request(self.request) if hasattr(layer, "process_request") else None
                hop.checkpoint()
            except Exception as error:
                self.at = at - 1
                self._respond_to(error, hop)
                return
            if response:
                self.response = response
                self.at = at
                self.phase = LEAVE
                return
        self.at = len(layers) - 1
        self.phase = RESOLVE if self.plan.native is None else NATIVE

    def _inner(self, hop):
        """BaseHandler._get_response_async()."""
        if self.phase == NATIVE:
            return
        if self.phase == RESOLVE:
            self.match = self.handler.resolve_request(self.request)
            self.phase = VIEWS
        if self.phase == VIEWS:
            self._ask_view_methods(hop)
        if self.phase == CALL:
            self._call(hop)
            if self.phase == AWAIT:
                return
        if self.phase == RESPONDED:
            self.handler.check_response(self.response, self.match[0])
            if not self._has_render():
                self.phase = RENDERED
            else:
                self._render(hop)
                if self.phase == AWAIT_RENDER:
                    return
        self._check_rendered()

    def _ask_view_methods(self, hop):
        callback, args, kwargs = self.match
        methods = self.plan.view_methods
        while self.view_at < len(methods):
            method = methods[self.view_at]
            self.view_at += 1
            self.response = method(self.request, callback, args, kwargs)
            hop.checkpoint()
            if self.response:
                break
        self._end_view_methods()

    def _end_view_methods(self):
        """The view is next, unless the last process_view gave something in its place, be it no response at all."""
        self.phase = CALL if self.response is None else RESPONDED

    def _responded(self, response):
        self.response = response
        self.phase = RESPONDED

    def _call(self, hop):
        callback, args, kwargs = self.match
        view = self.handler.make_view_atomic(callback)
        if base.iscoroutinefunction(view):
            self.view = view
            self.phase = AWAIT
            return
        try:
            response = view(self.request, *args, **kwargs)
        except Exception as error:
            hop.checkpoint()
            response = self.handler.process_exception_by_middleware(error, self.request)
            if response is None:
                raise
        hop.checkpoint()
        self._responded(response)

    def _has_render(self):
        response = self.response
        return hasattr(response, "render") and callable(response.render)

    def _render(self, hop):
        request, handler, response = self.request, self.handler, self.response
        for method in self.plan.template_methods:
            response = method(request, response)
            hop.checkpoint()
            name = f"{method.__self__.__class__.__name__}.process_template_response"
            handler.check_response(response, method, name=name)
        self.response = response
        try:
            if base.iscoroutinefunction(response.render):
                self.phase = AWAIT_RENDER
                return
            response = response.render()
        except Exception as error:
            hop.checkpoint()
            response = handler.process_exception_by_middleware(error, request)
            if response is None:
                raise
        hop.checkpoint()
        self.response = response
        self.phase = RENDERED

    def _check_rendered(self):
        if asyncio.iscoroutine(self.response):
            raise RuntimeError("Response is still a coroutine.")
        self.phase = LEAVE

    def _leave(self, hop):
        layers = self.plan.layers
        while self.at >= 0:
            layer = layers[self.at]
            self.at -= 1
            try:
                if hasattr(layer, "process_response"):
                    self.response = layer.process_response(self.request, self.response)
                    hop.checkpoint()
            except Exception as error:
                self._respond_to(error, hop)

    # On the loop

    def begin(self):
        """Goes as far as the guards of the layers allow, up to a synchronous view, which is the thread's."""
        layers, guards = self.plan.layers, self.plan.guards
        request = self.request
        for at in range(len(layers)):
            layer = layers[at]
            if hasattr(layer, "process_request"):
                guard = guards[at].get("process_request")
                self.at = at
                if guard is None or not guard(layer, request):
                    return
                try:
                    response = layer.process_request(request)
                except Exception as error:
                    self._fail(error, at - 1)
                    return
                if response:
                    self.response = response
                    self.phase = LEAVE
                    return
        self.at = len(layers) - 1
        if self.plan.native is not None:
            self.phase = NATIVE
            return
        try:
            self.match = self.handler.resolve_request(request)
            self.phase = VIEWS
            if base.iscoroutinefunction(self.match[0]):
                self._begin_view()
        except Exception as error:
            self._fail(error, len(layers) - 1)

    def _begin_view(self):
        """process_view of an asynchronous view, as far as the guards allow."""
        callback, args, kwargs = self.match
        for method, guarded in zip(self.plan.view_methods, self.plan.view_guards):
            if guarded is None or not guarded[0](guarded[1], self.request, callback, args, kwargs):
                return
            self.view_at += 1
            self.response = method(self.request, callback, args, kwargs)
            if self.response:
                break
        self._end_view_methods()
        if self.phase == CALL:
            self.view = self.handler.make_view_atomic(callback)
            if base.iscoroutinefunction(self.view):
                self.phase = AWAIT

    async def finish(self, lease):
        """Goes on to the end after is_for_loop. Returns the response."""
        layers = len(self.plan.layers)
        while self.phase != LEAVE or self.at >= 0:
            if self.phase == NATIVE:
                await self._await_native()
            elif self.phase in _ON_LOOP:
                try:
                    if self.phase == AWAIT:
                        await self._await_view(lease)
                    else:
                        await self._await_render(lease)
                except Exception as error:
                    self._fail(error, layers - 1)
            elif self.phase != LEAVE or not self._leave_on_loop():
                await run_in(lease, self.run)
        return self.response

    async def _await_native(self):
        """Django's function around an asynchronous middleware, in which its errors become responses."""
        try:
            self.response = await self.plan.native(self.request)
            self.phase = LEAVE
        except Exception as error:
            if self.at < 0:
                raise
            self._fail(error, self.at - 1)

    async def _process_exception(self, error, lease):
        """Raises `error` again if no middleware has a response for it."""
        handler, request = self.handler, self.request
        response = None
        if handler._exception_middleware:
            response = await run_in(lease, lambda hop: handler.process_exception_by_middleware(error, request))
        if response is None:
            raise error
        return response

    async def _await_view(self, lease):
        callback, args, kwargs = self.match
        try:
            response = await self.view(self.request, *args, **kwargs)
        except Exception as error:
            response = await self._process_exception(error, lease)
        self._responded(response)
        if not self._has_render():
            self.handler.check_response(response, callback)
            self._check_rendered()

    async def _await_render(self, lease):
        try:
            self.response = await self.response.render()
        except Exception as error:
            self.response = await self._process_exception(error, lease)
        self._check_rendered()

    def _leave_on_loop(self):
        """Returns False if the rest is the thread's."""
        layers, guards = self.plan.layers, self.plan.guards
        while self.at >= 0:
            layer = layers[self.at]
            if hasattr(layer, "process_response"):
                response = self.response
                guard = guards[self.at].get("process_response")
                if guard is None or not is_simple(response):
                    return False
                if not guard(layer, self.request, response):
                    return False
                try:
                    self.response = layer.process_response(self.request, response)
                except Exception as error:
                    self._fail(error, self.at - 1)
                    return False
            self.at -= 1
        return True
