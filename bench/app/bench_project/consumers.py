# SPDX-License-Identifier: BSD-3-Clause
"""Consumers as the Channels documentation writes them."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer

import channelsd

GROUP = "bench"


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Member(AsyncJsonWebsocketConsumer):
    """Receives what is published."""

    async def connect(self):
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def chat_message(self, event):
        await self.send_json({"message": event["message"]})


class MarkedMember(Member):
    """The same, with a handler that says the same to every member."""

    @channelsd.fanout
    def chat_message(event):
        return {"message": event["message"]}


class Publisher(AsyncJsonWebsocketConsumer):
    """Sends each message to the group; is no member itself."""

    async def receive_json(self, content):
        await self.channel_layer.group_send(GROUP, {"type": "chat.message", "message": content["message"]})
