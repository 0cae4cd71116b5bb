# SPDX-License-Identifier: BSD-3-Clause
"""The middleware chain of a handler, taken apart: the very instances that load_middleware() made, in order.

A chain has up to two parts, synchronous and asynchronous. What is outside of a synchronous-only middleware runs
synchronously under stock too, in one call in the thread; it is called as it is, down to the *bridge*, the
async_to_sync() object by which it calls what is inside.

There, and in a chain without a synchronous-only middleware, a layer that is a MiddlewareMixin with Django's own
__call__ and __acall__ is unrolled (passage.py). One with asynchronous code of its own is called on the loop, as it is;
it calls what is inside of it by a Segment, which is unrolled again. So there is a Plan for each segment.

Anything else: the whole chain takes Django's own way.
"""

import contextvars
import weakref

from asgiref.sync import AsyncToSync, SyncToAsync
from django.core.handlers import base
from django.utils.deprecation import MiddlewareMixin

from . import bridge
from .on_loop import guards_of
from .stock import cell_of_converter, code_of, dotted, inside_converter


class NotPlain(Exception):
    """The chain takes Django's own way; str() is why, `advice` what to change."""

    def __init__(self, reason, advice):
        super().__init__(reason)
        self.advice = advice


# Methods of a layer that its __acall__() calls in the thread.
_STEPS = ("process_request", "process_response")

# The Exchange that a Segment serves.
current = contextvars.ContextVar("channelsd.accelerate.full")


class Segment:
    """What an asynchronous middleware calls: the part of the chain inside of it, in place of the first layer there."""

    def __init__(self, original):
        self.original = original
        self.plan = None

    async def __call__(self, request):
        """The response; from the layers themselves if this is no request that mode full serves."""
        exchange = current.get(None)
        if exchange is None or self.plan is None or exchange.plan.segments.get(self) is not self.plan:
            return await self.original(request)
        return await exchange.serve_segment(self.plan, request)


class Plan:
    """How the requests of one handler run, or those that come to one segment of its chain.

    layers: from the outermost unrolled one to the innermost. guards: for each, see on_loop.guards_of().
    native: the asynchronous function to call inside of them, in place of the view; or None. segments: of all the chain.
    top: the synchronous function to call first, if there is an outer part, else None; bridge: its AsyncToSync.
    """

    def __init__(self, stock, handler):
        self.stock = stock
        self.chain = handler._middleware_chain
        self.lists = (handler._view_middleware, handler._template_response_middleware)
        self.top = self.bridge = self.native = None
        self.segments = {}
        self.layers = []
        parts = self._unroll(handler, self._outer_part())
        self._of_handler()
        self._take(*parts[0])
        for layers, native, cell in parts[1:]:
            self._make_segment(layers, native, cell)
        if self.bridge is not None:
            bridge.make(self.bridge)

    def _make_segment(self, layers, native, cell):
        segment = cell.cell_contents
        if not isinstance(segment, Segment):
            segment = cell.cell_contents = Segment(segment)
        plan = segment.plan = object.__new__(Plan)
        plan.__dict__.update(self.__dict__, top=None, bridge=None)
        plan._take(layers, native)
        self.segments[segment] = plan

    def _of_handler(self):
        self.view_methods, self.template_methods = ([_method(item) for item in items] for items in self.lists)

    def _take(self, layers, native, cell=None):
        self.layers = layers
        self.native = native
        self.guards = [guards_of(layer) for layer in self.layers]
        self.view_guards = self._view_guards()
        self._checks = self._what_was_checked()

    def _outer_part(self):
        """Returns the outermost function of the asynchronous part."""
        async_code, sync_code = self.stock.converters
        chain = self.chain
        if type(chain) is not SyncToAsync:
            return chain
        function = self.top = chain.func
        while getattr(function, "__code__", None) is sync_code:
            middleware = inside_converter(function)
            function = _next_of(middleware, sync_code)
            if function is None:
                raise NotPlain(
                    f"middleware {dotted(middleware)}: what it calls was not found", "keep it as self.get_response"
                )
        if not isinstance(function, AsyncToSync) or getattr(function.awaitable, "__code__", None) is not async_code:
            raise NotPlain(f"middleware {dotted(function)}", "")
        self.bridge = function
        return function.awaitable

    def _unroll(self, handler, function):
        """Returns [(layers, native, cell)] from the outermost part inwards. The last one has no native function. cell:
        of the function that leads to the part from outside, where its Segment is to be; None for the first part."""
        async_code, _ = self.stock.converters
        parts = []
        layers, cell = [], None
        while True:
            if getattr(function, "__code__", None) is not async_code:
                raise NotPlain(f"middleware {dotted(function)}", "")
            inner = inside_converter(function)
            if isinstance(inner, Segment):
                inner = inner.original
            if getattr(inner, "__func__", None) is base.BaseHandler._get_response_async and inner.__self__ is handler:
                return [*parts, (layers, None, cell)]
            if self._is_plain(inner):
                layers.append(inner)
                function = inner.get_response
                continue
            native, function = function, _next_of(inner, async_code)
            if function is None:
                raise NotPlain(
                    f"middleware {dotted(inner)}: what it calls was not found", "keep it as self.get_response"
                )
            if layers or cell is None:
                parts.append((layers, native, cell))
            # Else there is nothing between two of them to unroll: the outer one calls the inner one as ever.
            layers, cell = [], cell_of_converter(function)

    def _is_plain(self, middleware):
        return (
            isinstance(middleware, MiddlewareMixin)
            and self.stock.is_layer_class(type(middleware))
            and vars(middleware).keys().isdisjoint(("__acall__", "__call__"))
            and base.iscoroutinefunction(middleware)
            # Stock refuses these, and says so.
            and not any(base.iscoroutinefunction(getattr(middleware, name, None)) for name in _STEPS)
        )

    def _view_guards(self):
        """For each of view_methods its guard, or None if it must not run on the loop."""
        by_method = {}
        for layer, guards in zip(self.layers, self.guards):
            guard = guards.get("process_view")
            if guard is not None:
                by_method[layer.process_view] = (guard, layer)
        return [by_method.get(method) for method in self.view_methods]

    def _what_was_checked(self):
        checks = [(type(layer), layer.__dict__, layer.__dict__.get("get_response")) for layer in self.layers]
        methods = []
        for layer, guards in zip(self.layers, self.guards):
            members = type(layer).__dict__
            methods += [(members, layer.__dict__, name, members[name], code_of(members[name])) for name in guards]
        return checks, methods

    def holds_for(self, handler):
        """Whether nothing has changed that the plan was made from."""
        if handler._middleware_chain is not self.chain or handler._view_middleware is not self.lists[0]:
            return False
        if handler._template_response_middleware is not self.lists[1]:
            return False
        if not all(segment.plan is plan and plan._is_unchanged() for segment, plan in self.segments.items()):
            return False
        return self._is_unchanged()

    def _is_unchanged(self):
        layers, methods = self._checks
        is_layer_class = self.stock.is_layer_class
        for cls, own, get_response in layers:
            if not is_layer_class(cls) or "__acall__" in own or own.get("get_response") is not get_response:
                return False
        return all(
            members.get(name) is function and name not in own and code_of(function) is code
            for members, own, name, function, code in methods
        )


def _method(item):
    """The method inside one of the handler's lists, where load_middleware() wrapped it for the loop."""
    if type(item) is not SyncToAsync:
        raise NotPlain(f"middleware {dotted(item)}", "it is asynchronous")
    return item.func


def _next_of(middleware, code):
    """What a middleware, an instance or a function, calls: a function with `code`, or async_to_sync() of one. None if
    that cannot be told."""
    held = list(getattr(middleware, "__dict__", {}).values())
    held += [cell.cell_contents for cell in getattr(middleware, "__closure__", None) or () if _is_filled(cell)]
    found = {
        id(item): item
        for item in held
        if type(item) in (AsyncToSync, bridge.Bridge) or getattr(item, "__code__", None) is code
    }
    return next(iter(found.values())) if len(found) == 1 else None


def _is_filled(cell):
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


class Plans:
    """The plans of all handlers of the process."""

    def __init__(self, stock):
        self._stock = stock
        self._plans = weakref.WeakKeyDictionary()

    def of(self, handler):
        """Returns (Plan, None, ""), or (None, reason, advice)."""
        reason = self._stock.patched(handler)
        if reason is not None:
            return None, reason, "it is not Django's own"
        plan = self._plans.get(handler)
        if plan is None or not plan.holds_for(handler):
            try:
                plan = self._plans[handler] = Plan(self._stock, handler)
            except NotPlain as error:
                plan = self._plans[handler] = Refusal(handler, str(error), error.advice)
        if plan.__class__ is Refusal:
            return None, plan.reason, plan.advice
        return plan, None, ""


class Refusal:
    """Remembers that a chain is not plain, so that it is not taken apart again."""

    def __init__(self, handler, reason, advice):
        self._chain = handler._middleware_chain
        self.reason = reason
        self.advice = advice

    def holds_for(self, handler):
        return handler._middleware_chain is self._chain
