# SPDX-License-Identifier: BSD-3-Clause
"""A Channels project whose consumers go wrong in every way, for test_accelerate_faults.py."""

import asyncio
import logging

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    LOGGING_CONFIG=None,
)
django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from channels.consumer import AsyncConsumer  # noqa: E402
from channels.exceptions import StopConsumer  # noqa: E402
from channels.generic.websocket import (  # noqa: E402
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

logger = logging.getLogger("faulty")


class Base(AsyncWebsocketConsumer):
    """Echoes; "raise" and the like make the methods of that name run."""

    async def receive(self, text_data=None, bytes_data=None):
        fault = getattr(self, f"do_{text_data}", None)
        if fault is not None:
            await fault()
        await self.send(text_data=f"echo {text_data}")

    async def do_raise(self):
        raise RuntimeError("in receive")

    async def do_stop(self):
        raise StopConsumer

    async def do_exit(self):
        raise SystemExit(3)

    async def do_layer(self):
        await self.channel_layer.send(self.channel_name, {"type": "layered"})

    async def do_layer_raise(self):
        await self.channel_layer.send(self.channel_name, {"type": "broken"})

    async def do_unknown_type(self):
        await self.channel_layer.send(self.channel_name, {"type": "nobody.knows"})

    async def do_no_type(self):
        await self.channel_layer.send(self.channel_name, {"a": 1})

    async def do_group(self):
        await self.channel_layer.group_add("all", self.channel_name)
        await self.channel_layer.group_send("all", {"type": "layered"})

    async def do_overflow(self):
        for _ in range(200):
            await self.channel_layer.send(self.channel_name, {"type": "layered"})

    async def do_send_nothing(self):
        await self.base_send({"type": "websocket.send"})

    async def do_send_nonsense(self):
        await self.base_send({"type": "websocket.nonsense"})

    async def do_send_no_type(self):
        await self.base_send({})

    async def do_close(self):
        await self.close(4001)

    async def do_close_and_send(self):
        await self.close(4001)
        await self.send(text_data="late")

    async def do_accept_again(self):
        await self.base_send({"type": "websocket.accept"})

    async def layered(self, event):
        await self.send(text_data="layered")

    async def broken(self, event):
        raise RuntimeError("in a handler of the layer")

    async def disconnect(self, code):
        logger.warning("disconnected %s", code)


class RaisesInConnect(Base):
    async def connect(self):
        raise RuntimeError("in connect")


class RaisesBehindAccept(Base):
    async def connect(self):
        await self.accept()
        raise RuntimeError("behind accept")


class StopsInConnect(Base):
    async def connect(self):
        raise StopConsumer


class StopsBehindAccept(Base):
    async def connect(self):
        await self.accept()
        raise StopConsumer


class ClosesInConnect(Base):
    async def connect(self):
        await self.close(4002)


class SendsBeforeAccept(Base):
    async def connect(self):
        await self.send(text_data="early")


class RaisesInDisconnect(Base):
    async def disconnect(self, code):
        logger.warning("disconnected %s", code)
        raise RuntimeError("in disconnect")


class Hangs(Base):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data="hangs")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            logger.warning("cancelled")
            raise


class Swallows(Base):
    """Goes on behind its cancellation, so that it hears of the disconnect."""

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data="hangs")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            logger.warning("cancelled")


class NoDisconnect(AsyncConsumer):
    """Never ends by itself."""

    async def websocket_connect(self, event):
        await self.send({"type": "websocket.accept"})

    async def websocket_receive(self, event):
        await self.send({"type": "websocket.send", "text": event["text"]})

    async def websocket_disconnect(self, event):
        logger.warning("disconnected %s", event["code"])


class NoHandlers(AsyncConsumer):
    pass


class Sync(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        if text_data == "raise":
            raise RuntimeError("in the thread")
        if text_data == "close":
            self.send(text_data="before")
            self.close(4003)
        if text_data == "layer":
            async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "layered"})
        self.send(text_data=f"echo {text_data}")

    def layered(self, event):
        self.send(text_data="layered")

    def disconnect(self, code):
        logger.warning("disconnected %s", code)


class Json(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json({"echo": content} if content != "bad" else {"bad": object()})


CONSUMERS = (
    Base,
    RaisesInConnect,
    RaisesBehindAccept,
    StopsInConnect,
    StopsBehindAccept,
    ClosesInConnect,
    SendsBeforeAccept,
    RaisesInDisconnect,
    Hangs,
    Swallows,
    NoDisconnect,
    NoHandlers,
    Sync,
    Json,
)
application = ProtocolTypeRouter({"websocket": URLRouter([path(each.__name__, each.as_asgi()) for each in CONSUMERS])})
