# SPDX-License-Identifier: BSD-3-Clause
"""Serves a few requests by Django in this process and prints what each did, as JSON: full_corners.py off|full DATABASE

DATABASE is a file: Django never closes a connection to a database in memory.
"""

import asyncio
import json
import sys
import threading

from django.conf import settings

ON_LOOP = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
]
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[2]}},
    CACHES={"default": {"BACKEND": f"{__name__}.Cache"}},
    LOGGING_CONFIG=None,
)

import django  # noqa: E402

django.setup()

from asgiref.sync import sync_to_async  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.cache.backends.dummy import DummyCache  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.deprecation import MiddlewareMixin  # noqa: E402

noted = []
without_thread = []  # names of requests
patchable = []


def note(*what):
    noted.append([*what, "loop" if threading.current_thread() is threading.main_thread() else "thread"])


class Cache(DummyCache):
    def close(self, **kwargs):
        note("cache closed")


class FromDatabase(HttpResponse):
    """Its content is asked of the database when it is wanted."""

    @property
    def content(self):
        note("content")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'from the database'")
            return cursor.fetchone()[0].encode()

    @content.setter
    def content(self, value):
        HttpResponse.content.fset(self, value)


class AskingHeaders(HttpResponse):
    """Its headers are looked up in the database."""

    def has_header(self, header):
        connection.ensure_connection()
        note("has_header", header)
        return super().has_header(header)


class Named(HttpResponse):
    """What many projects have: a status and a constructor of their own."""

    status_code = 299

    def __init__(self, name):
        super().__init__(f"named {name}")


class BrokenConnection:
    """A database connection of the driver that cannot be closed."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def close(self):
        note("close")
        raise RuntimeError("cannot be closed")


def spoil():
    connection.ensure_connection()
    connection.connection = BrokenConnection(connection.connection)


def sync_view(kind):
    def view(request):
        if kind == "spoilt":
            spoil()
        if kind == "cached":
            cache.get("key")
        return {"database": FromDatabase, "headers": AskingHeaders}.get(kind, HttpResponse)()

    return view


def async_view(kind):
    async def view(request):
        if kind == "spoilt":
            await sync_to_async(spoil)()
        if kind == "cached":
            cache.get("key")
        if kind == "named":
            return Named("x")
        return {"database": FromDatabase, "headers": AskingHeaders}.get(kind, HttpResponse)()

    return view


KINDS = ("plain", "spoilt", "cached", "database", "headers", "named")
urlpatterns = [path(f"sync/{kind}", sync_view(kind)) for kind in KINDS]
urlpatterns += [path(f"async/{kind}", async_view(kind)) for kind in KINDS]


class Falsy(MiddlewareMixin):
    value = None

    def process_view(self, request, callback, args, kwargs):
        return self.value


class FalsyFalse(Falsy):
    value = False


class FalsyText(Falsy):
    value = ""


class Own(MiddlewareMixin):
    """A middleware with asynchronous code of its own."""

    async def __acall__(self, request):
        note("own", "in")
        response = await super().__acall__(request)
        note("own", "out")
        return response


class Other(Own):
    """Another one, for asynchronous chains only."""

    sync_capable = False

    async def __acall__(self, request):
        note("other")
        return await super().__acall__(request)


class AsynchronousStep(MiddlewareMixin):
    """What Django refuses with a TypeError."""

    async def process_request(self, request):
        note("never awaited")


class Patchable(MiddlewareMixin):
    def __init__(self, get_response):
        super().__init__(get_response)
        patchable.append(self)


async def serve(handler, url, outside=None):
    """[statuses and bodies that were sent, the error that came out, what was noted before and after the last byte]"""
    noted.clear()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return requests.pop() if requests else await asyncio.get_running_loop().create_future()

    async def send(message):
        note("sent", message.get("status"), message.get("body", b"").decode(), message.get("more_body", False))

    scope = {"type": "http", "method": "GET", "path": url, "headers": [], "query_string": b"", "http_version": "1.1"}
    if outside is not None:
        outside()
    try:
        await asyncio.wait_for(handler(scope, receive, send), 20)
    except Exception as error:
        noted.append(["raised", f"{type(error).__name__}: {error}"])
    # When a plain response is closed, before or after it is sent, is not compared: only by whom.
    return sorted(noted, key=json.dumps)


def handler_of(*middleware):
    with override_settings(MIDDLEWARE=list(middleware)):
        return ASGIHandler()


async def main():
    result = {}
    plain, on_loop = handler_of(), handler_of(*ON_LOOP)
    for way in ("sync", "async"):
        for kind in KINDS:
            for name, handler in (("no middleware", plain), ("middleware of the loop", on_loop)):
                before = counters().get("served without a thread")
                # Each in a task, and so in a context, of its own.
                result[f"{way} {kind}, {name}"] = await asyncio.ensure_future(serve(handler, f"/{way}/{kind}"))
                if counters().get("served without a thread") != before:
                    without_thread.append(f"{way} {kind}, {name}")
        result[f"{way}, a cache used outside"] = await asyncio.ensure_future(
            serve(on_loop, f"/{way}/plain", lambda: cache.get("key"))
        )
        for names in (["FalsyFalse"], ["FalsyText"], ["FalsyFalse", "Falsy"], ["Falsy", "FalsyFalse"]):
            chain = handler_of(*ON_LOOP, *(f"{__name__}.{name}" for name in names))
            result[f"{way}, process_view of {names}"] = await serve(chain, f"/{way}/plain")
        for names in (
            ["Own", "Other"],
            ["Other", "Own", "Own"],
            ["Own", "Falsy", "Other", "Own"],
            ["AsynchronousStep"],
        ):
            chain = handler_of(*ON_LOOP, *(f"{__name__}.{name}" for name in names))
            result[f"{way}, chain of {names}"] = await serve(chain, f"/{way}/plain")
        result[f"{way}, get_response replaced"] = await serve_replaced(way)
    return result


async def serve_replaced(way):
    """A middleware is given another get_response between two requests."""
    chain = handler_of(f"{__name__}.Patchable")
    await serve(chain, f"/{way}/plain")
    instance = patchable[-1]
    before = instance.get_response

    async def get_response(request):
        note("replaced")
        return await before(request)

    instance.get_response = get_response
    return await serve(chain, f"/{way}/plain")


if __name__ == "__main__":
    counters = dict
    if sys.argv[1] == "full":
        from channelsd.accelerate import full, install

        install("full")
        counters = full.counters
    traces = asyncio.run(main())
    print(json.dumps({"traces": traces, "counters": counters(), "without a thread": without_thread}))
