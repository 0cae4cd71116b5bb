# SPDX-License-Identifier: BSD-3-Clause
"""Handlers marked @channelsd.fanout in consumers that have something of their own between handler and socket."""

import json
from unittest import mock

import channels.consumer
from channels.generic.websocket import AsyncWebsocketConsumer, JsonWebsocketConsumer, WebsocketConsumer
from members import Json, Text, leave, made, members, message, scenario, scenario_of, told

import channelsd


def overriding_send(world):
    async def send(self, text_data=None, bytes_data=None, close=False):
        await AsyncWebsocketConsumer.send(self, text_data="<" + text_data + ">")

    return made(world, send=send).as_asgi()


def overriding_dispatch(world):
    async def dispatch(self, event):
        await AsyncWebsocketConsumer.send(self, text_data=event["type"])
        await Text.dispatch(self, event)

    return made(world, connect=AsyncWebsocketConsumer.connect, dispatch=dispatch).as_asgi()


def overriding_on_the_instance(world):
    async def connect(self):
        await self.accept()
        stock = self.send

        async def send(text_data=None, bytes_data=None, close=False):
            await stock(text_data="<" + text_data + ">")

        self.send = send

    return made(world, connect=connect).as_asgi()


def handler_on_the_instance(world):
    async def connect(self):
        await self.accept()

        async def shared(event):
            await self.send("its own")

        self.shared = shared

    return made(world, connect=connect).as_asgi()


def handler_of_a_subclass(world):
    async def shared(self, event):
        await self.send("its own")

    return made(world, shared=shared).as_asgi()


def middleware(world):
    app = made(world).as_asgi()

    async def wrapped(scope, receive, send):
        async def around(event):
            if event["type"] == "websocket.send":
                event = {**event, "text": "<" + event["text"] + ">"}
            await send(event)

        await app(scope, receive, around)

    return wrapped


def middleware_object(world):
    """What it gives for send is a method, too."""
    app = made(world).as_asgi()

    class Sender:
        def __init__(self, send):
            self._send = send

        async def send(self, event):
            await self._send({**event, "text": "<" + event["text"] + ">"} if "text" in event else event)

    async def wrapped(scope, receive, send):
        await app(scope, receive, Sender(send).send)

    return wrapped


def wrapped_receive(world):
    app = made(world).as_asgi()

    async def wrapped(scope, receive, send):
        async def around():
            return await receive()

        await app(scope, around, send)

    return wrapped


def own_encoding(world):
    async def encode_json(cls, content):
        return "own " + json.dumps(content)

    return made(world, Json, encode_json=classmethod(encode_json)).as_asgi()


def own_attributes(world):
    def __getattribute__(self, name):
        if name == "shared":
            return object.__getattribute__(self, "plain")
        return object.__getattribute__(self, name)

    return made(world, __getattribute__=__getattribute__).as_asgi()


@scenario_of(
    send=overriding_send,
    dispatch=overriding_dispatch,
    instance=overriding_on_the_instance,
    handler=handler_on_the_instance,
    subclass=handler_of_a_subclass,
    middleware=middleware,
    middleware_object=middleware_object,
    receive=wrapped_receive,
    encoding=own_encoding,
    attributes=own_attributes,
)
async def consumers_that_have_something_of_their_own(world, make):
    clients = await members(world, make(world))
    for n in range(2):
        world.node.group("all", message("shared", n), message("plain", n))
        await told(world, clients)
    await leave(world, clients)


@scenario
async def a_send_that_is_set_later(world):
    async def receive(self, text_data=None, bytes_data=None):
        async def send(text_data=None, bytes_data=None, close=False):
            await AsyncWebsocketConsumer.send(self, text_data="<" + text_data + ">")

        self.send = send

    clients = await members(world, made(world, receive=receive))
    world.node.group("all", message("shared", 1))
    await told(world, clients)
    clients[1].send("set it")
    await world.settle()
    world.node.group("all", message("shared", 2))
    await told(world, clients)
    await leave(world, clients)


@scenario_of(
    send=(AsyncWebsocketConsumer, "send"),
    name=(channels.consumer, "get_handler_name"),
    close=(channels.consumer, "aclose_old_connections"),
)
async def names_that_are_patched_later(world, patched):
    """As tests and tracing libraries do it."""
    owner, name = patched
    stock = getattr(owner, name, None)
    if stock is None:  # Channels before 4.2 has no aclose_old_connections()
        world.note("nothing to patch")
        return
    clients = await members(world, made(world))
    calls = []

    def around(*args, **kwargs):
        calls.append(name)
        return stock(*args, **kwargs)

    with mock.patch.object(owner, name, around):
        world.node.group("all", message("shared", 1))
        await told(world, clients)
    world.note(len(calls))
    world.node.group("all", message("shared", 2))
    await told(world, clients)
    await leave(world, clients)


@scenario
async def two_classes_in_one_group(world):
    clients = await members(world, made(world), 2)
    clients += await members(world, made(world, Json), 2)
    clients += await members(world, made(world), 2)
    world.node.group("all", message("shared", 1), message("plain", 2), message("shared", 3))
    await told(world, clients)
    await leave(world, clients)


@scenario_of(text=WebsocketConsumer, json=JsonWebsocketConsumer)
async def synchronous_consumers(world, base):
    class Sync(base):
        groups = ("all",)

        @channelsd.fanout
        def shared(event):
            return [{"n": event["n"]}, "text"]

        @channelsd.fanout
        async def quick(event):
            return b"quick"

        @channelsd.fanout
        def breaks(event):
            raise ValueError("in the thread")

    clients = await members(world, Sync)
    world.node.group("all", message("shared", 1), message("quick", 2), message("shared", 3))
    await told(world, clients)
    world.node.group("all", message("breaks", 1))
    await told(world, clients)
