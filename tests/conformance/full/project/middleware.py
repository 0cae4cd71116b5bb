# SPDX-License-Identifier: BSD-3-Clause
"""Middleware of every kind. What each one does to a request is asked for by the query: ?outer.process_request=raise"""

import logging
import sys

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware
from django.utils.deprecation import MiddlewareMixin
from traced import colour, note, place

made = {}  # class or function name -> how many there are


class Traced(logging.Handler):
    """A log handler that notes what Django logs, and the exception that it has at hand."""

    def emit(self, record):
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        note("log", record.name, record.levelname, record.getMessage().splitlines()[0], error)


def obey(request, where):
    """Does what the query asks for at `where`; returns a response or None."""
    order = request.GET.get(where)
    if order == "raise":
        raise ValueError(where)
    if order == "404":
        raise Http404(where)
    if order == "403":
        raise PermissionDenied(where)
    if order == "answer":
        return HttpResponse(f"answer of {where}", headers={"X-By": where})
    if order == "urlconf":
        request.urlconf = "other_urls"
    return None


class Tracer(MiddlewareMixin):
    """All hooks of a MiddlewareMixin; each leaves its name in a contextvar, and notes what it found there."""

    name = "outer"

    def __init__(self, get_response):
        super().__init__(get_response)
        made[self.name] = made.get(self.name, 0) + 1
        self.requests = 0

    def step(self, request, hook, *details):
        where = f"{self.name}.{hook}"
        note(where, place(), colour.get(), *details)
        colour.set(where)
        return obey(request, where)

    def process_request(self, request):
        self.requests += 1
        return self.step(request, "process_request")

    def process_view(self, request, callback, args, kwargs):
        return self.step(request, "process_view", callback.__name__, args, kwargs, request.resolver_match.view_name)

    def process_exception(self, request, exception):
        return self.step(request, "process_exception", type(exception).__name__, sys.exc_info()[0].__name__)

    def process_template_response(self, request, response):
        answer = self.step(request, "process_template_response", response.status_code)
        if request.GET.get(f"{self.name}.process_template_response") == "nothing":
            return None
        return answer or response

    def process_response(self, request, response):
        answer = self.step(request, "process_response", response.status_code)
        if request.GET.get(f"{self.name}.process_response") == "nothing":
            return None
        return answer or response


class Inner(Tracer):
    name = "inner"


class OwnCall(MiddlewareMixin):
    """A MiddlewareMixin with a __call__ of its own."""

    def __call__(self, request):
        note("own __call__", place())
        return super().__call__(request)


@sync_only_middleware
def sync_only(get_response):
    made["sync_only"] = made.get("sync_only", 0) + 1

    def middleware(request):
        note("sync_only in", place(), colour.get())
        colour.set("sync_only")
        response = obey(request, "sync_only") or get_response(request)
        note("sync_only out", place(), colour.get(), response.status_code)
        return response

    return middleware


class SyncOnly:
    """A synchronous-only class, as the documentation shows it."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        note("SyncOnly in", place())
        response = self.get_response(request)
        if request.GET.get("SyncOnly") == "twice":
            response = self.get_response(request)
        note("SyncOnly out", place(), response.status_code)
        return response


@async_only_middleware
def async_only(get_response):
    async def middleware(request):
        note("async_only in", place(), colour.get())
        response = await get_response(request)
        note("async_only out", place(), colour.get())
        return response

    return middleware


@sync_and_async_middleware
def both(get_response):
    if iscoroutinefunction(get_response):

        async def middleware(request):
            note("both: asynchronous", place())
            return await get_response(request)

    else:

        def middleware(request):
            note("both: synchronous", place())
            return get_response(request)

    return middleware


class AsyncHooks:
    """Asynchronous process_view."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        return await self.get_response(request)

    async def process_view(self, request, callback, args, kwargs):
        note("async process_view", place())
