# SPDX-License-Identifier: BSD-3-Clause
"""A Django project with one consumer, whose group messages are the same for every client. FANNED_LAYERS: CHANNEL_LAYERS
as JSON."""

import json
import os
import sys

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS=json.loads(os.environ["FANNED_LAYERS"]),
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402 - wants settings
from channels.layers import get_channel_layer  # noqa: E402

import channelsd  # noqa: E402

EARLY = get_channel_layer()  # as projects do it, in the import


class Consumer(AsyncJsonWebsocketConsumer):
    groups = ("all",)
    runs = 0

    @channelsd.fanout
    def shared(event):
        Consumer.runs += 1
        return {"run": Consumer.runs, "text": event["text"]}

    async def receive_json(self, content, **kwargs):
        if content == "layers":
            layer = type(self.channel_layer)
            await self.send_json(
                [
                    f"{layer.__module__}.{layer.__name__}",
                    EARLY is self.channel_layer,
                    "channels_redis.core" in sys.modules,
                ]
            )
        elif content == "raise":
            raise RuntimeError("the consumer ends")
        else:
            await self.channel_layer.group_send("all", {"type": "shared", "text": content})


application = Consumer.as_asgi()
