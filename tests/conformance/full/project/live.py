# SPDX-License-Identifier: BSD-3-Clause
"""The project behind a real server: Django for HTTP and a consumer in a group, with every kind of waiting."""

import asyncio
import os
import threading
import urllib.request

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "live")

SECRET_KEY = "live"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "live"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "channels"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "live.Noting",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("LIVE_DATABASE", ":memory:"),
        "CONN_MAX_AGE": int(os.environ.get("LIVE_MAX_AGE", "0")),
    }
}
LOGGING = {"version": 1, "disable_existing_loggers": False}
USE_TZ = True

from asgiref.sync import async_to_sync, sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.deprecation import MiddlewareMixin  # noqa: E402

notes = []
barrier = threading.Barrier(50)
left = threading.Event()


class Noting(MiddlewareMixin):
    """Notes the responses that pass."""

    def process_response(self, request, response):
        if request.path != "/notes/":
            notes.append(f"{request.path} {response.status_code}")
        return response


def take_notes(request):
    taken, notes[:] = list(notes), []
    return JsonResponse(taken, safe=False)


def counters(request):
    from channelsd.accelerate import full

    return JsonResponse(full.counters())


def plain(request):
    return HttpResponse("plain")


async def plain_async(request):
    return HttpResponse("plain")


def together(request):
    """Answers when fifty are here."""
    barrier.wait(20)
    return HttpResponse("together")


def ask(request, depth):
    """Asks this very server, as often as `depth` says."""
    if not depth:
        return HttpResponse("deep")
    host = request.get_host()
    with urllib.request.urlopen(f"http://{host}/ask/{depth - 1}/", timeout=20) as answer:
        return HttpResponse(answer.read())


def upload(request):
    sizes = {name: file.size for name, file in request.FILES.items()}
    return JsonResponse({"files": sizes, "fields": request.POST.dict()})


def stream(request):
    return StreamingHttpResponse(f"{number}\n" for number in range(5))


async def stream_async(request):
    async def parts():
        try:
            yield b"first\n"
            await asyncio.get_running_loop().create_future()
        finally:
            notes.append("stream ended")

    return StreamingHttpResponse(parts())


def tell(request):
    async_to_sync(get_channel_layer().group_send)("everybody", {"type": "news", "text": "told"})
    return HttpResponse("told")


def database(request):
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse({"connection": id(connection.connection), "thread": threading.get_ident()})


async def wait_async(request):
    notes.append("waits")
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        notes.append("cancelled")
        raise


def wait(request):
    """Until a client left: /left/ says so."""
    notes.append("waits")
    left.wait(20)
    notes.append("waited")
    return HttpResponse("waited")


def say_left(request):
    left.set()
    return HttpResponse("ok")


def leave(request):
    raise SystemExit(3)


async def threads_async(request):
    first, second = [await sync_to_async(threading.get_ident)() for _ in range(2)]
    return JsonResponse({"same": first == second})


urlpatterns = [
    path("ask/<int:depth>/", ask),
    path("counters/", counters),
    path("database/", database),
    path("leave/", leave),
    path("left/", say_left),
    path("notes/", take_notes),
    path("plain/", plain),
    path("plain-async/", plain_async),
    path("stream/", stream),
    path("stream-async/", stream_async),
    path("tell/", tell),
    path("threads-async/", threads_async),
    path("together/", together),
    path("upload/", upload),
    path("wait/", wait),
    path("wait-async/", wait_async),
]


class Everybody(AsyncJsonWebsocketConsumer):
    groups = ("everybody",)

    async def news(self, event):
        await self.send_json(event)


if os.environ.get("LIVE_SERVES"):
    application = ProtocolTypeRouter(
        {"http": get_asgi_application(), "websocket": URLRouter([path("ws/", Everybody.as_asgi())])}
    )
