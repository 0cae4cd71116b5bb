# SPDX-License-Identifier: BSD-3-Clause
"""Receives that are not the server's own, consumers that are not plain, other layers, patched names."""

import asyncio
import contextlib
import functools

import channels.consumer
import channels.utils
from channels.layers import InMemoryChannelLayer, channel_layers
from turns import Noting, layered, noting
from world import VAR, scenario


class OwnError(Exception):
    pass


@contextlib.asynccontextmanager
async def no_timeout(_seconds):
    yield


# Python 3.11 and later; wait_for() before would run the receive in one more task.
timeout = getattr(asyncio, "timeout", no_timeout)


def wrapping(app, make):
    """ASGI middleware: `make(receive)` is what the application receives with."""

    async def middleware(scope, receive, send):
        await app(scope, make(receive), send)

    return middleware


def with_own_variable(world, receive):
    async def wrapped():
        world.note("in receive", VAR.get())
        VAR.set("set in receive")
        return await receive()

    return wrapped


def with_timeout(world, receive):
    async def wrapped():
        try:
            async with timeout(3600):
                return await receive()
        except asyncio.CancelledError:
            world.note("receive cancelled")
            raise

    return wrapped


def with_counter(world, receive):
    async def wrapped():
        event = await receive()
        world.note("received", event["type"], event.get("text"))
        return event

    return wrapped


def in_partial(world, receive):
    return functools.partial(receive)


def in_future(world, receive):
    return lambda: asyncio.ensure_future(receive())


class _Receiver:
    """An awaitable that is no coroutine."""

    def __init__(self, receive):
        self.receive = receive

    def __await__(self):
        return self.receive().__await__()


def in_awaitable(world, receive):
    return lambda: _Receiver(receive)


def in_bound_method(world, receive):
    class Holder:
        async def receive(self):
            return await receive()

    return Holder().receive


@scenario.of(
    variable=with_own_variable,
    timeout=with_timeout,
    counter=with_counter,
    partial=in_partial,
    future=in_future,
    awaitable=in_awaitable,
    method=in_bound_method,
)
async def wrapped_receive(world, wrap):
    consumer = noting(world)
    world.app = wrapping(consumer.as_asgi(), functools.partial(wrap, world))
    client = await world.connected()
    client.send("a", "b", "c")
    await layered(world, 1, 2, 3)
    await world.settle()
    client.send("wait")
    await world.settle()
    client.send("d", "e")
    await layered(world, 4, 5)
    await world.settle()
    consumer.gate.set()
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()


@scenario.of(variable=with_own_variable, timeout=with_timeout)
async def wrapped_receive_is_cancelled(world, wrap):
    world.app = wrapping(noting(world).as_asgi(), functools.partial(wrap, world))
    client = await world.connected()
    client.session.kill()
    await world.settle()
    world.note_layer()


def failing(text, error):
    """A receive that raises in place of the event with `text`."""

    def make(receive):
        async def wrapped():
            event = await receive()
            if event.get("text") == text:
                raise error
            return event

        return wrapped

    return make


@scenario.of(plain=OwnError("broken"), cancelled=asyncio.CancelledError("own"), os=ConnectionResetError("gone"))
async def receive_raises_while_the_layer_has_a_message(world, error):
    world.app = wrapping(noting(world).as_asgi(), failing("b", error))
    client = await world.connected()
    client.send("a", "b", "c")
    await layered(world, 1, 2, 3)
    await world.settle()
    world.note(client.out())
    world.note("sent to the dead one", await layered(world, 4))


@scenario
async def receive_raises_behind_a_layer_handler(world):
    """The exception waits until the handler has ended."""
    consumer = noting(world)
    world.app = wrapping(consumer.as_asgi(), failing("b", OwnError("broken")))
    client = await world.connected()
    await layered(world, 1, wait=True)
    await world.settle()
    client.send("b")
    await layered(world, 2)
    await world.settle()
    world.note("opened")
    consumer.gate.set()
    await world.settle()


@scenario
async def receive_fails_when_it_is_cancelled(world):
    """What a source raises when it is closed takes the place of what the handler raised."""

    def make(receive):
        async def wrapped():
            try:
                return await receive()
            except asyncio.CancelledError:
                raise OwnError("while cancelled") from None

        return wrapped

    class Breaks(Noting):
        async def layered(self, event):
            raise ValueError("handler")

    world.app = wrapping(noting(world, Breaks).as_asgi(), make)
    await world.connected()
    await layered(world, 1)
    await world.settle()


@scenario
async def layer_receive_patched_on_the_instance(world):
    layer = world.layer
    receive = layer.receive

    async def patched(channel):
        message = await receive(channel)
        world.note("patched", message["n"])
        return {**message, "n": message["n"] + 100}

    layer.receive = patched
    client = await world.connected(noting(world).as_asgi())
    client.send("a", "b")
    await layered(world, 1, 2, 3)
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()


class OtherLayer:
    """As much of a layer as a consumer needs."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def new_channel(self):
        return "other"

    async def receive(self, channel):
        message = await self.queue.get()
        if message is None:
            raise OwnError("layer broken")
        return message


@scenario.of(goes_well=False, breaks=True)
async def layer_of_another_kind(world, breaks):
    layer = OtherLayer()
    channel_layers.set("default", layer)
    client = await world.connected(noting(world).as_asgi())
    client.send("a", "b", "c")
    for number in range(3):
        layer.queue.put_nowait({"type": "layered", "n": number})
    await world.settle()
    if breaks:
        client.send("d", "e")
        layer.queue.put_nowait(None)
        await world.settle()
        world.note(client.out())
    client.disconnect()
    await world.settle()


class SubclassedLayer(InMemoryChannelLayer):
    world = None

    async def send(self, channel, message):
        self.world.note("send", message.get("n"))
        await super().send(channel, message)

    async def group_send(self, group, message):
        self.world.note("group_send", message.get("n"))
        await super().group_send(group, message)


class ReceivingLayer(InMemoryChannelLayer):
    world = None

    async def receive(self, channel):
        message = await super().receive(channel)
        self.world.note("receive", message["n"])
        return message


class CleaningLayer(InMemoryChannelLayer):
    world = None

    def _clean_expired(self):
        self.world.cleaned = getattr(self.world, "cleaned", 0) + 1
        super()._clean_expired()


class SizedLayer(InMemoryChannelLayer):
    world = None

    def get_capacity(self, channel):
        return 2


@scenario.of(sends=SubclassedLayer, receives=ReceivingLayer, cleans=CleaningLayer, sizes=SizedLayer)
async def subclassed_layers(world, base):
    layer = type(base.__name__, (base,), {"world": world})(capacity=3)
    channel_layers.set("default", layer)
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    await layer.group_add("all", world.channel)
    client.send("wait")
    await world.settle()
    for number in range(5):
        await layer.group_send("all", {"type": "layered", "n": number})
    try:
        await layered(world, 5, 6)
    except channels.exceptions.ChannelFull as error:
        world.note("full", error.args == (world.channel,))
    world.note_layer()
    consumer.gate.set()
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()
    world.note("cleaned", getattr(world, "cleaned", None) is not None)


@scenario
async def get_capacity_set_on_the_instance(world):
    world.layer.get_capacity = lambda channel: 2
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    client.send("wait")
    await world.settle()
    for number in range(5):
        try:
            await layered(world, number)
        except channels.exceptions.ChannelFull:
            world.note("full", number)
    consumer.gate.set()
    client.disconnect()


@scenario
async def channel_capacity_that_cannot_be_used(world):
    """A dict of globs, as the documentation shows it; the layer never compiles it."""
    channel_layers.set("default", InMemoryChannelLayer(channel_capacity={"http.request": 200}))
    client = await world.connected(noting(world).as_asgi())
    world.note(client.out())
    client.disconnect()


@scenario
async def channel_capacity_that_can_be_used(world):
    layer = InMemoryChannelLayer(capacity=9)
    layer.channel_capacity = layer.compile_capacities({"specific.*": 2})
    channel_layers.set("default", layer)
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    client.send("wait")
    await world.settle()
    for number in range(5):
        try:
            await layered(world, number)
        except channels.exceptions.ChannelFull:
            world.note("full", number)
    consumer.gate.set()
    client.disconnect()


@scenario
async def channel_name_that_is_not_valid(world):
    layer = world.layer

    async def new_channel():
        return "not valid!"

    layer.new_channel = new_channel
    client = await world.connected(noting(world).as_asgi())
    world.note(client.out())
