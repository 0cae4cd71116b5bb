# SPDX-License-Identifier: BSD-3-Clause
"""A Django project in one file: rooms, for any server. $ROOMS_LAYERS is its CHANNEL_LAYERS as a Python literal."""

# ruff: noqa: E402 - what is imported asks the settings

import ast
import os

from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS=ast.literal_eval(os.environ["ROOMS_LAYERS"]),
    LOGGING_CONFIG=None,
)

import django

django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.urls import path


class Room(AsyncJsonWebsocketConsumer):
    """What comes by the layer goes to the client; what the client says goes to the room, or to the channel it names."""

    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send_json({"channel": self.channel_name})

    async def receive_json(self, content):
        channel = content.pop("to", None)
        try:
            if channel is None:
                await self.channel_layer.group_send(self.room, {"type": "said", **content})
            else:
                await self.channel_layer.send(channel, {"type": "said", **content})
        except OSError as error:  # of either make, when Redis is away
            await self.send_json({"failed": content["n"], "error": str(error)})

    async def said(self, event):
        # All of a process may be given the same object: it is not to be changed.
        await self.send_json({"n": event["n"]})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)


async def say(request, room, number):
    """A view that sends to a room."""
    await get_channel_layer().group_send(room, {"type": "said", "n": number})
    return JsonResponse({})


urlpatterns = [path("say/<str:room>/<int:number>/", say)]
application = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter([path("room/<str:room>/", Room.as_asgi())])}
)
