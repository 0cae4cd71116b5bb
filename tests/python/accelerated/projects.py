# SPDX-License-Identifier: BSD-3-Clause
"""Whole projects: routers, sessions and users around consumers; what synchronous consumers send."""

import asyncio
import threading

from asgiref.sync import async_to_sync, sync_to_async
from channels.auth import AuthMiddlewareStack, get_user
from channels.consumer import SyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.cache import SessionStore
from django.test import override_settings
from django.urls import path
from turns import Noting, Raw, Sync, layered, noting
from world import WEBSOCKET, Client, nap, scenario, thread_kind


def open_with(world, address, cookies=b""):
    """A client that asks for a path with cookies."""
    world._count += 1
    headers = [[b"host", b"localhost"], [b"cookie", cookies]]
    world.put([WEBSOCKET, world._count, "1.1", "ws", address, address.encode(), b"", "", headers, None, None, []])
    return Client(world, world._count)


class Json(AsyncJsonWebsocketConsumer):
    world = None

    async def connect(self):
        self.world.note("connect", self.scope.get("url_route"), str(self.scope.get("user")))
        self.world.channel = self.channel_name
        await self.accept()
        await self.send_json({"user": str(self.scope.get("user"))})

    async def receive_json(self, content):
        self.world.note("receive", content)
        await self.send_json({"echo": content, "\u00fc": ["\u20ac", 1.5, None]})

    async def layered(self, event):
        await self.send_json(event)


@scenario
async def json_consumer(world):
    client = await world.connected(noting(world, Json).as_asgi())
    client.send('{"a": [1, 2.5, "\u00fc"]}', "[]", "5", "null")
    await layered(world, 1, 2)
    await world.settle()
    client.send("not json")
    await world.settle()
    world.note(client.out())


class SyncJson(JsonWebsocketConsumer):
    world = None

    def connect(self):
        self.accept()
        self.send_json({"hello": thread_kind()})

    def receive_json(self, content):
        for number in range(3):
            self.send_json({"n": number, "echo": content})
        async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "layered", "n": content})

    def layered(self, event):
        self.send_json(event)


@scenario
async def synchronous_json_consumer(world):
    client = await world.connected(noting(world, SyncJson).as_asgi())
    client.send("[1]", '{"\u00fc": 2}', "3")
    await world.settle()
    world.note(client.out())
    client.disconnect()


class Adds(BaseMiddleware):
    async def __call__(self, scope, receive, send):
        return await super().__call__({**scope, "added": True}, receive, send)


@scenario.of(inside="/a/inside/5/", other="/a/other/", nothing="/nothing/")
async def nested_routers(world, address):
    class Scoped(Noting):
        async def connect(self):
            self.seen("connect", [self.scope["url_route"]["kwargs"], self.scope.get("added"), self.scope["path"]])
            await super().connect()

    inner = URLRouter([path("inside/<int:number>/", Adds(noting(world, Scoped).as_asgi()))])
    other = noting(world, Scoped).as_asgi()
    world.app = ProtocolTypeRouter(
        {"websocket": AllowedHostsOriginValidator(URLRouter([path("a/other/", other), path("a/", inner)]))}
    )
    client = open_with(world, address)
    await world.settle()
    client.send("a")
    await world.settle()
    world.note(client.out())
    client.disconnect()


def session_key(**values):
    session = SessionStore()
    session.update(values)
    session.save()
    return session.session_key.encode()


@scenario.of(none=None, known={"color": "red"}, gone=b"x" * 32, short=b"x", empty=b"")
async def session_middleware(world, content):
    class Session(Noting):
        async def connect(self):
            session = self.scope["session"]
            read = sync_to_async(lambda: (session.get("color"), session.accessed, session.modified))
            self.seen("connect", await read())
            await super().connect()

    world.app = SessionMiddlewareStack(noting(world, Session).as_asgi())
    key = content if not isinstance(content, dict) else await sync_to_async(session_key)(**content)
    client = open_with(world, "/", b"" if key is None else b"sessionid=" + key)
    await world.settle()
    client.send("a", "b")
    await layered(world, 1)
    await world.settle()
    client.disconnect()


USERS = {
    "nobody": None,
    "not_logged_in": {"color": "red"},
    "of_an_unknown_backend": {"_auth_user_id": "1", "_auth_user_backend": "no.such.Backend", "_auth_user_hash": "x"},
    "of_half_a_session": {"_auth_user_id": "1"},
    "gone": b"x" * 32,
}


@scenario.of(**USERS)
async def auth_middleware(world, content):
    world.app = AuthMiddlewareStack(URLRouter([path("", noting(world, Json).as_asgi())]))
    key = content if not isinstance(content, dict) else await sync_to_async(session_key)(**content)
    client = open_with(world, "/", b"" if key is None else b"sessionid=" + key)
    await world.settle()
    client.send("[1]")
    await world.settle()
    world.note(client.out())
    client.disconnect()


@scenario
async def user_of_scopes_without_the_middleware(world):
    world.note(type(await get_user({"session": SessionStore()})) is AnonymousUser)
    world.note(type(await get_user({"session": {}})) is AnonymousUser)
    try:
        await get_user({})
    except ValueError as error:
        world.note(str(error))


class Sends(Sync):
    """Sends from its thread in many ways."""

    def receive(self, text_data=None, bytes_data=None):
        self.seen("receive", text_data)
        try:
            getattr(self, text_data)()
        except Exception as error:
            self.world.note("raised", type(error).__name__, str(error))

    def many(self):
        for number in range(5):
            self.send(text_data=str(number))
            self.send(bytes_data=b"%d" % number)

    def odd(self):
        self.send(text_data="")
        self.send(bytes_data=b"")
        self.send(text_data="\u00fc")
        self.send(bytes_data=bytearray(b"array"))
        self.base_send({"type": "websocket.send", "text": None, "bytes": b"x"})
        self.base_send({"type": "websocket.send", "text": "y", "bytes": None})

    def large(self):
        self.send(text_data="x" * 200)
        self.send(bytes_data=b"y" * 40000)
        self.send(text_data="end")

    def neither(self):
        self.base_send({"type": "websocket.send"})

    def both(self):
        self.base_send({"type": "websocket.send", "text": "a", "bytes": b"b"})

    def number(self):
        self.base_send({"type": "websocket.send", "text": 5})

    def surrogate(self):
        self.send(text_data="\ud800")

    def unknown(self):
        self.base_send({"type": "websocket.unknown"})

    def no_type(self):
        self.base_send({})

    def closes(self):
        self.send(text_data="before")
        self.close(4000)
        self.send(text_data="after")

    def changed(self):
        message = {"type": "websocket.send", "text": "as it was"}
        self.base_send(message)
        message["text"] = "changed"

    def raises(self):
        self.send(text_data="sent")
        raise RuntimeError("behind it")

    def thread(self):
        thread = threading.Thread(target=self.send, kwargs={"text_data": "from a thread"})
        thread.start()
        thread.join()
        self.send(text_data="and then")

    def to_layer(self):
        self.send(text_data="one")
        async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "layered", "n": 1})
        self.send(text_data="two")

    def in_loop(self):
        async def inside():
            self.send(text_data="in a loop")

        async_to_sync(inside)()


SENDS = [name for name in vars(Sends) if not name.startswith("_") and name != "receive"]


@scenario.of(**{name: name for name in SENDS})
async def synchronous_sends(world, name):
    client = await world.connected(noting(world, Sends).as_asgi())
    client.send(name)
    await world.settle()
    client.send("many")
    await world.settle()
    world.note(client.out())
    client.disconnect()


@scenario
async def synchronous_sends_before_it_is_accepted(world):
    class Early(Sync):
        def connect(self):
            try:
                self.send(text_data="early")
            except ValueError as error:
                self.world.note(str(error))
            super().connect()
            self.send(text_data="now")

    client = await world.connected(noting(world, Early).as_asgi())
    world.note(client.out())
    client.disconnect()


@scenario
async def synchronous_sends_to_a_client_that_is_gone(world):
    gone, seen = threading.Event(), threading.Event()

    class Slow(Sync):
        def receive(self, text_data=None, bytes_data=None):
            seen.set()
            gone.wait(10)
            self.send(text_data="late")
            self.world.note("sent")

    client = await world.connected(noting(world, Slow).as_asgi())
    client.send("a")
    while not seen.is_set():
        await asyncio.sleep(0)
    client.disconnect()
    gone.set()
    await world.settle()
    world.note(client.out())


@scenario
async def synchronous_send_wrapped_by_middleware(world):
    consumer = noting(world, Sends).as_asgi()

    async def middleware(scope, receive, send):
        async def noted(message):
            world.note("send", message["type"], message.get("text"))
            await send(message)

        await consumer(scope, receive, noted)

    client = await world.connected(middleware)
    client.send("many")
    await world.settle()
    world.note(client.out())
    client.disconnect()


@scenario
async def synchronous_sends_with_a_session(world):
    world.app = SessionMiddlewareStack(noting(world, Sends).as_asgi())
    client = open_with(world, "/")
    await world.settle()
    client.send("many", "closes")
    await world.settle()
    world.note(client.out())
    client.disconnect(4000)


class RawSync(SyncConsumer):
    world = None

    def websocket_connect(self, event):
        self.send({"type": "websocket.accept"})
        self.send({"type": "websocket.send", "text": "hello"})
        self.send({"type": "websocket.close", "code": 4001})

    def websocket_disconnect(self, event):
        self.world.note("disconnect")


@scenario
async def synchronous_consumer_that_closes_at_once(world):
    client = await world.connected(noting(world, RawSync).as_asgi())
    world.note(client.out())
    client.disconnect(4001)
    await world.settle()
    client.session.kill()


@scenario
async def consumers_of_all_kinds_at_once(world):
    """They share the thread, the loop and the layer."""
    bases = {"/json/": Json, "/sync/": Sends, "/raw/": Raw, "/plain/": Noting}
    apps = {address: noting(world, base).as_asgi() for address, base in bases.items()}

    async def router(scope, receive, send):
        await apps[scope["path"]](scope, receive, send)

    world.app = router
    clients = {}
    for address in apps:
        clients[address] = world.open(address)
        await world.settle()
        await world.layer.group_add("all", world.channel)
    for number in range(3):
        await world.layer.group_send("all", {"type": "layered", "n": number})
        await world.settle()
    clients["/json/"].send("[1]")
    await nap()
    await world.settle()
    clients["/sync/"].send("many")
    await world.settle()
    # The order among clients is nobody's promise; that within each is.
    world.trace = sorted(world.trace, key=str)
    for client in clients.values():
        world.note(client.out())
        client.disconnect()
        await world.settle()
    world.note_layer()


@scenario
async def user_of_a_session_that_was_flushed_and_used_again(world):
    """It has no key until it is saved. What is in it counts."""
    await get_user({"session": SessionStore()})  # after this nothing is known to be left for the thread to do
    session = SessionStore()
    session.flush()
    session.update({"_auth_user_id": "1", "_auth_user_backend": f"{__name__}.Knows"})
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.Knows"]):
        world.note(await get_user({"session": session}))


class Knows:
    """An authentication backend that tells where it was asked."""

    def get_user(self, user_id):
        return user_id, thread_kind()
