# SPDX-License-Identifier: BSD-3-Clause
"""In which order a consumer's events are handled, and how many of them leave their source early."""

import asyncio

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from world import VAR, current_task, fill, nap, scenario, thread_kind


class Noting(AsyncWebsocketConsumer):
    """Notes each event with what its handler can see of where it runs. Subclasses bring `world`."""

    world = None
    gate = None  # event that the handler of "wait" waits for

    def seen(self, what, detail=None):
        task = current_task()
        previous = VAR.get()
        VAR.set(what)
        self.world.note(what, detail, thread_kind(), task is getattr(self, "task", task), previous)
        self.task = task

    async def connect(self):
        self.seen("connect")
        self.world.channel = getattr(self, "channel_name", None)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        self.seen("receive", text_data)
        if text_data == "wait":
            await self.gate.wait()

    async def layered(self, event):
        self.seen("layered", event.get("n"))
        if event.get("wait"):
            await self.gate.wait()

    async def filled(self, event):
        self.seen("filled", event["n"])

    async def disconnect(self, code):
        self.seen("disconnect", code)


def noting(world, base=Noting, **attributes):
    """A consumer class for one scenario."""
    return type(base.__name__, (base,), {"world": world, "gate": asyncio.Event(), **attributes})


async def layered(world, *numbers, **more):
    for number in numbers:
        await world.layer.send(world.channel, {"type": "layered", "n": number, **more})


@scenario.of(socket_first=True, layer_first=False)
async def bursts_take_turns(world, socket_first):
    client = await world.connected(noting(world).as_asgi())
    if socket_first:
        client.send("a", "b", "c", "d")
    await layered(world, 1, 2, 3, 4)
    if not socket_first:
        client.send("a", "b", "c", "d")
    await world.settle()
    client.send("e")
    await layered(world, 5)
    await world.settle()
    client.disconnect()
    await world.settle()


@scenario.of(from_socket="wait", from_layer=None)
async def bursts_behind_a_handler_that_waits(world, text):
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    if text:
        client.send(text)
    else:
        await layered(world, 0, wait=True)
    await world.settle()
    client.send("a", "b", "c")
    await layered(world, 1, 2, 3)
    await world.settle()
    world.note("opened")
    consumer.gate.set()
    await world.settle()
    client.disconnect()


@scenario
async def disconnect_comes_behind_the_messages(world):
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    client.send("wait", "a", "b")
    client.disconnect(4000)
    await layered(world, 1, 2, 3, 4, 5)
    await world.settle()
    consumer.gate.set()
    await world.settle()
    world.note_layer()


@scenario
async def capacity_while_idle(world):
    client = await world.connected(noting(world).as_asgi())
    world.note("accepted at once", await fill(world.layer, world.channel))
    await world.settle()
    world.note("accepted later", await fill(world.layer, world.channel))
    client.disconnect()


@scenario.of(from_socket="wait", from_layer=None)
async def capacity_behind_a_handler_that_hangs(world, text):
    """The message read ahead makes room for one more, in a later turn."""
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    if text:
        client.send(text)
    else:
        await layered(world, 0, wait=True)
    await world.settle()
    world.note("accepted at once", await fill(world.layer, world.channel))
    await world.settle()
    world.note("accepted later", await fill(world.layer, world.channel))
    await world.settle()
    world.note("and then", await fill(world.layer, world.channel))
    world.note_layer()
    consumer.gate.set()
    await world.settle()
    world.note_layer()
    client.disconnect()


@scenario
async def group_sends_to_a_handler_that_hangs(world):
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    await world.layer.group_add("all", world.channel)
    client.send("wait")
    await world.settle()
    for number in range(12):
        await world.layer.group_send("all", {"type": "layered", "n": number})
    await world.settle()
    world.note_layer()
    consumer.gate.set()
    await world.settle()
    world.note_layer()
    client.disconnect()


@scenario
async def capacity_changed_while_a_consumer_lives(world):
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    await layered(world, 1)
    await world.settle()
    world.layer.capacity = 2
    await layered(world, 2)
    await world.settle()
    client.send("wait")
    await world.settle()
    world.note("accepted", await fill(world.layer, world.channel))
    consumer.gate.set()
    client.disconnect()


class ToItself(Noting):
    async def receive(self, text_data=None, bytes_data=None):
        self.seen("receive", text_data)
        await self.channel_layer.send(self.channel_name, {"type": "layered", "n": text_data})

    async def layered(self, event):
        self.seen("layered", event["n"])
        if event["n"] == "again":
            await self.channel_layer.send(self.channel_name, {"type": "layered", "n": "last"})


@scenario
async def sends_to_its_own_channel(world):
    """The last thing that the handler does: it gives the loop no turn behind it."""
    client = await world.connected(noting(world, ToItself).as_asgi())
    for text in ("one", "again", "three"):
        client.send(text)
        await world.settle()
        world.note("settled")
    client.send("a", "b")
    await world.settle()
    client.disconnect()


class OnConnect(Noting):
    async def connect(self):
        await self.channel_layer.send(self.channel_name, {"type": "layered", "n": "before"})
        await self.channel_layer.group_add("all", self.channel_name)
        await self.channel_layer.group_send("all", {"type": "layered", "n": "group"})
        await super().connect()
        await self.channel_layer.send(self.channel_name, {"type": "layered", "n": "after"})


@scenario
async def sends_while_it_connects(world):
    client = await world.connected(noting(world, OnConnect).as_asgi())
    client.disconnect()
    await world.settle()
    world.note_layer()


@scenario
async def sends_before_the_consumer_asks(world):
    """From new_channel() on a message is kept, whoever sends it."""
    layer = world.layer
    new_channel = layer.new_channel

    async def sending(*args, **kwargs):
        channel = await new_channel(*args, **kwargs)
        await layer.group_add("all", channel)
        for number in range(3):
            await layer.send(channel, {"type": "layered", "n": number})
        await layer.group_send("all", {"type": "layered", "n": 3})
        return channel

    layer.new_channel = sending
    client = await world.connected(noting(world).as_asgi())
    client.disconnect()
    await world.settle()
    world.note_layer()


@scenario
async def many_queued_messages_do_not_starve_another_consumer(world):
    world.layer.capacity = 10000
    counts = {"busy": 0}

    class Busy(Noting):
        async def receive(self, text_data=None, bytes_data=None):
            counts["busy"] += 1

        async def layered(self, event):
            counts["busy"] += 1

    class Other(Noting):
        async def receive(self, text_data=None, bytes_data=None):
            counts["when"] = counts["busy"]

    busy = await world.connected(noting(world, Busy).as_asgi())
    other = await world.connected(noting(world, Other).as_asgi())
    busy.send(*["x"] * 3000)
    other.send("y")
    while "when" not in counts:
        await asyncio.sleep(0)
    world.note("far from done", counts["when"] < 100)
    while counts["busy"] < 3000:
        await asyncio.sleep(0)
    busy.disconnect()
    await world.settle()
    other.disconnect()


@scenario
async def a_layer_burst_does_not_starve_another_consumer(world):
    world.layer.capacity = 10000
    counts = {"busy": 0}

    class Busy(Noting):
        async def layered(self, event):
            counts["busy"] += 1

    class Other(Noting):
        async def receive(self, text_data=None, bytes_data=None):
            counts["when"] = counts["busy"]

    busy = await world.connected(noting(world, Busy).as_asgi())
    channel = world.channel
    other = await world.connected(noting(world, Other).as_asgi())
    for _ in range(1000):
        await world.layer.send(channel, {"type": "layered"})
    other.send("y")
    while counts["busy"] < 1000:
        await asyncio.sleep(0)
    world.note("far from done", counts["when"] < 100)
    busy.disconnect()
    await world.settle()
    other.disconnect()


class Sync(WebsocketConsumer):
    """A consumer whose handlers run in the thread."""

    world = None
    seen = Noting.seen

    def connect(self):
        self.seen("connect")
        self.world.channel = self.channel_name
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        self.seen("receive", text_data)
        self.send(text_data=text_data)

    def layered(self, event):
        self.seen("layered", event["n"])

    def disconnect(self, code):
        self.seen("disconnect", code)


@scenario
async def sync_consumer(world):
    client = await world.connected(noting(world, Sync).as_asgi())
    client.send("a", "b", "c")
    await layered(world, 1, 2, 3)
    await world.settle()
    world.note(client.out())
    client.disconnect()


class Raw(AsyncConsumer):
    """A consumer without the generic ones' conveniences."""

    world = None
    seen = Noting.seen
    gate = None

    async def websocket_connect(self, event):
        self.seen("connect", event)
        self.world.channel = getattr(self, "channel_name", None)
        await self.send({"type": "websocket.accept"})

    async def websocket_receive(self, event):
        self.seen("receive", event)

    async def layered(self, event):
        self.seen("layered", event["n"])

    async def websocket_disconnect(self, event):
        self.seen("disconnect", event)
        raise StopConsumer


@scenario
async def raw_consumer(world):
    client = await world.connected(noting(world, Raw).as_asgi())
    client.send("a", b"b", "")
    await layered(world, 1, 2, 3)
    await world.settle()
    client.disconnect()


class Stays(Raw):
    async def websocket_disconnect(self, event):
        self.seen("disconnect", event)


@scenario
async def consumer_that_stays_behind_its_disconnect(world):
    client = await world.connected(noting(world, Stays).as_asgi())
    client.disconnect()
    await world.settle()
    await layered(world, 1, 2)
    await world.settle()
    client.session.kill()
    await world.settle()
    world.note_layer()


@scenario
async def no_layer(world):
    consumer = noting(world, Raw, channel_layer_alias="nothing")
    client = await world.connected(consumer.as_asgi())
    client.send("a", "b", "c")
    await world.settle()
    client.send("d")
    await nap()
    client.disconnect()
