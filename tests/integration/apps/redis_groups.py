# SPDX-License-Identifier: BSD-3-Clause
"""Consumers in one group of a RedisChannelLayer at $TEST_REDIS. What a client sends says what to do."""

import asyncio
import json
import os

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["TEST_REDIS"]], "capacity": 5},
        }
    },
)
django.setup()


class Member(AsyncJsonWebsocketConsumer):
    groups = ("all",)

    async def receive_json(self, content):
        what = content["do"]
        if what == "group":
            await self.channel_layer.group_send("all", {"type": "told", "n": content["n"]})
        elif what == "hang":
            await self.channel_layer.group_send("all", {"type": "hung"})
            await release.wait()
        elif what == "release":
            release.set()
        elif what == "state":
            layer = get_channel_layer()
            buffered = {name: queue.qsize() for name, queue in layer.receive_buffer.items() if queue.qsize()}
            await self.send_json({"buffered": sorted(buffered.values()), "receiving": layer.receive_count > 0})
        else:
            raise ValueError(json.dumps(content))

    async def told(self, event):
        await self.send_json({"n": event["n"]})

    async def hung(self, event):
        await self.send_json({"hung": True})


release = asyncio.Event()
member = Member.as_asgi()


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await member(scope, receive, send)
