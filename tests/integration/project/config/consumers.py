# SPDX-License-Identifier: BSD-3-Clause
from asgiref.sync import async_to_sync
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer
from django.utils.functional import lazystr


class Chat(AsyncJsonWebsocketConsumer):
    """What one says, all in the room hear; a plain browser chat."""

    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.name = self.scope["user"].username or "nobody"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.channel_layer.group_send(self.room, {"type": "said", "by": self.name, "text": "joined"})

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.room, {"type": "said", "by": self.name, "text": content["text"]})

    async def said(self, event):
        await self.send_json({"by": event["by"], "text": event["text"]})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)
        await self.channel_layer.group_send(self.room, {"type": "said", "by": self.name, "text": f"left {code}"})


class SyncChat(WebsocketConsumer):
    """The same with a thread for each event; bytes come back turned round."""

    def connect(self):
        self.room = "sync-" + self.scope["url_route"]["kwargs"]["room"]
        async_to_sync(self.channel_layer.group_add)(self.room, self.channel_name)
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        if bytes_data is not None:
            self.send(bytes_data=bytes_data[::-1])
        else:
            async_to_sync(self.channel_layer.group_send)(self.room, {"type": "said", "text": text_data})

    def said(self, event):
        self.send(text_data=event["text"])

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)(self.room, self.channel_name)


class SessionCounter(WebsocketConsumer):
    """Changes the session that HTTP sees."""

    def connect(self):
        session = self.scope["session"]
        session["visits"] = session.get("visits", 0) + 1
        session.save()
        self.accept()
        self.send(text_data=f"{self.scope['user']} {session['visits']}")


class Refuse(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close()


class Deny(AsyncWebsocketConsumer):
    async def connect(self):
        raise DenyConnection


class Protocol(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept("v2" if "v2" in self.scope["subprotocols"] else None)
        await self.send(",".join(self.scope["subprotocols"]))


class CloseWith(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.close(self.scope["url_route"]["kwargs"]["code"])


class Raise(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        raise RuntimeError("consumer broke")


# What a websocket.close has, by the query of the handshake; no frame can have it. Not by close(), to which Channels 4.0 gives
# no reason.
ODD = {
    "code": {"code": 401},
    "text": {"code": "4001"},
    "lazy": {"code": 4001, "reason": lazystr("later")},
    "error": {"code": 4001, "reason": ValueError("why")},
}


class OddClose(AsyncWebsocketConsumer):
    async def connect(self):
        when, what = self.scope["query_string"].decode().split("-")
        if when == "accepted":
            await self.accept()
        await self.base_send({"type": "websocket.close", **ODD[what]})


class SyncOddClose(WebsocketConsumer):
    def connect(self):
        when, what = self.scope["query_string"].decode().split("-")
        if when == "accepted":
            self.accept()
        self.base_send({"type": "websocket.close", **ODD[what]})


class Lazy(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(lazystr("text of a translation"))


class SyncLazy(WebsocketConsumer):
    def connect(self):
        self.accept()
        self.send(lazystr("text of a translation"))
