# SPDX-License-Identifier: BSD-3-Clause
"""Views of every kind, each noting where it runs and what it finds."""

import asyncio
import contextlib
import io
import itertools
import threading

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import connection, transaction
from django.http import FileResponse, Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.multipartparser import MultiPartParserError
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, get_urlconf
from django.views import View
from traced import colour, event, note, place

ERRORS = {
    "value": ValueError("wrong"),
    "stop": StopIteration("ends"),
    "404": Http404("nowhere"),
    "403": PermissionDenied("no"),
    "400": BadRequest("bad"),
    "suspicious": SuspiciousOperation("odd"),
    "multipart": MultiPartParserError("parts"),
    "cancelled": asyncio.CancelledError(),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit(),
}


def found(request):
    return place(), colour.get(), get_script_prefix(), get_urlconf(), request.method, request.path_info


def plain(request, **kwargs):
    note("view", *found(request), kwargs)
    colour.set("view")
    return HttpResponse(f"plain {sorted(kwargs.items())}")


async def plain_async(request, **kwargs):
    note("view", *found(request), kwargs)
    colour.set("view")
    return HttpResponse(f"plain {sorted(kwargs.items())}")


async def policy_async(request):
    """Has a content security policy for its response alone (Django 6.0)."""
    response = await plain_async(request)
    response._csp_config = {"script-src": ["'self'"]}
    return response


class OwnPolicy(HttpResponse):
    """Looks its policy up when it is asked for."""

    @property
    def _csp_config(self):
        note("own policy", place())
        return {"script-src": ["'none'"]}


async def own_policy_async(request):
    return OwnPolicy("own")


class Sync(View):
    def get(self, request):
        return plain(request)


class Async(View):
    async def get(self, request):
        return await plain_async(request)


def error(request, kind):
    note("view", *found(request))
    raise ERRORS[kind]


async def error_async(request, kind):
    note("view", *found(request))
    raise ERRORS[kind]


def nothing(request):
    return None


def coroutine(request):
    return plain_async(request)


def template(request):
    return TemplateResponse(request, engines["django"].from_string("t {{ x }}"), {"x": 1})


async def template_async(request):
    return TemplateResponse(request, engines["django"].from_string("t {{ x }}"), {"x": 1})


def template_error(request):
    return TemplateResponse(request, engines["django"].from_string("{% if x.y.z %}{% endif %}{{ f }}"), {"f": boom})


def boom():
    raise ValueError("in the template")


def post(request):
    files = {name: (file.name, file.size, file.read()[:10].decode()) for name, file in request.FILES.items()}
    return JsonResponse(
        {"post": request.POST.dict(), "files": files, "body": len(request.META.get("CONTENT_TYPE", ""))}
    )


async def post_async(request):
    files = {name: (file.name, file.size, file.read()[:10].decode()) for name, file in request.FILES.items()}
    return JsonResponse({"post": request.POST.dict(), "files": files})


def body(request):
    return HttpResponse(str(len(request.body)))


class Noted(io.BytesIO):
    """A file that notes where it is closed."""

    def close(self):
        if not self.closed:
            note("file closed", place(), colour.get())
        super().close()


def file(request):
    return FileResponse(Noted(b"f" * 200_000), filename="f.txt")


async def file_async(request):
    return FileResponse(Noted(b"f" * 100), filename="f.txt")


def stream(request):
    colour.set("view")

    def parts():
        note("stream", place(), colour.get())
        yield b"one"
        yield b"two"
        note("stream ends", place())

    return StreamingHttpResponse(parts())


def stream_error(request):
    def parts():
        yield b"one"
        raise ValueError("in the stream")

    return StreamingHttpResponse(parts())


async def stream_async(request):
    colour.set("view")

    async def parts():
        try:
            yield b"one"
            note("stream", place(), colour.get())
            if "forever" in request.GET:
                await asyncio.get_running_loop().create_future()
            yield b"two"
        except asyncio.CancelledError:
            note("stream cancelled", place())
            raise
        finally:
            note("stream ends", place())

    return StreamingHttpResponse(parts())


def closers(request):
    response = HttpResponse("closers")
    response._resource_closers.append(lambda: note("closer", place(), colour.get()))
    return response


def big(request):
    return HttpResponse(b"b" * 200_000)


def etag(request):
    return HttpResponse("always the same")


def threads(request):
    """The thread of the middleware and of what the view asks the loop for."""
    mine = threading.get_ident()
    loops = []

    async def on_loop():
        loops.append(id(asyncio.get_running_loop()))
        colour.set("on the loop")
        return await sync_to_async(threading.get_ident)()

    back = async_to_sync(on_loop)()
    note("async_to_sync", back == mine, loops[0] == request.scope["loop"], colour.get())
    return HttpResponse("threads")


async def threads_async(request):
    first = await sync_to_async(threading.get_ident)()
    second = await sync_to_async(threading.get_ident)()
    note("sync_to_async", first == second, first == threading.get_ident())
    return HttpResponse("threads")


_thread_numbers = itertools.count()
_own = threading.local()


def thread(request):
    """A number for each thread: an ident is given again as soon as its thread has ended."""
    if not hasattr(_own, "number"):
        _own.number = next(_thread_numbers)
    return HttpResponse(str(_own.number))


def left_open(request):
    """Leaves a transaction open, as code that fails between two halves does."""
    transaction.atomic().__enter__()
    return thread(request)


def database(request):
    note("atomic", connection.in_atomic_block, len(connection.queries_log))
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    transaction.on_commit(lambda: note("committed", place()))
    if "raise" in request.GET:
        raise ValueError("rolls back")
    return HttpResponse("database")


@transaction.non_atomic_requests
def not_atomic(request):
    return database(request)


async def database_async(request):
    with contextlib.suppress(RuntimeError):
        connection.cursor()
    await sync_to_async(database)(request)
    return HttpResponse("database")


def wait(request):
    """Until the test sets an event."""
    note("waits")
    event("waits").set()
    event("go").wait(10)
    note("waited")
    request.session = {}
    return HttpResponse("waited")


async def wait_async(request):
    event("waits").set()
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        note("cancelled", place())
        raise
    finally:
        note("finally", place())


def wait_below(request):
    """In a coroutine below async_to_sync(), which the disconnect cancels; ?swallow: it goes on."""

    async def below():
        event("waits").set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            note("cancelled below")
            if "swallow" not in request.GET:
                raise

    async_to_sync(below)()
    note("view goes on")
    return HttpResponse("below")


def handler404(request, exception):
    note("handler404", type(exception).__name__)
    return HttpResponse("ours: 404", status=404)


def handler500(request):
    note("handler500")
    return HttpResponse("ours: 500", status=500)
