# SPDX-License-Identifier: BSD-3-Clause
"""The in-memory layer: capacity, expiry, groups, flush, other threads and loops."""

import asyncio
import threading
import time
from unittest import mock

from asgiref.sync import async_to_sync, sync_to_async
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from turns import Noting, layered, noting
from world import scenario


class Clock:
    """Stands for time.time()."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now

    def patched(self):
        return mock.patch("time.time", self)


@scenario
async def queue_that_nobody_reads(world):
    layer = world.layer
    for number in range(7):
        try:
            await layer.send("nobody", {"type": "x", "n": number})
        except ChannelFull as error:
            world.note("full", str(error), type(error.__context__).__name__, error.__cause__)
    world.note_layer()
    world.note(await layer.receive("nobody"))
    world.note([await layer.receive("nobody") for _ in range(4)])
    world.note_layer()
    world.note(dict(layer.channels))


@scenario
async def queue_as_tests_look_at_it(world):
    layer = world.layer
    await layer.send("nobody", {"type": "x", "n": 1})
    queue = layer.channels["nobody"]
    world.note(isinstance(queue, asyncio.Queue), queue.qsize(), queue.empty(), queue.full(), queue.maxsize)
    world.note(queue.get_nowait()[1], queue.empty())
    queue.put_nowait((time.time() + 60, {"n": 2}))
    await queue.put((time.time() + 60, {"n": 3}))
    world.note((await queue.get())[1])
    world.note(await layer.receive("nobody"))
    world.note(dict(layer.channels))


@scenario
async def expiry_of_unread_messages(world):
    layer = InMemoryChannelLayer(expiry=10)
    clock = Clock()
    with clock.patched():
        await layer.group_add("all", "one")
        await layer.group_add("all", "two")
        await layer.send("one", {"n": 1})
        clock.now += 6
        await layer.send("one", {"n": 2})
        await layer.group_send("all", {"n": 3})
        world.note_layer(layer)
        clock.now += 5
        await layer.group_send("all", {"n": 4})
        world.note_layer(layer)
        clock.now += 20
        await layer.group_send("all", {"n": 5})
        world.note_layer(layer)
        clock.now -= 100
        await layer.group_send("all", {"n": 6})
        world.note_layer(layer)


@scenario
async def expiry_that_is_changed(world):
    layer = InMemoryChannelLayer(expiry=60)
    clock = Clock()
    with clock.patched():
        await layer.group_add("all", "one")
        await layer.group_add("all", "two")
        await layer.group_send("all", {"n": 0})
        layer.expiry = 1
        await layer.send("three", {"n": 1})
        layer.expiry = 60
        await layer.group_send("all", {"n": 2})
        clock.now += 5
        await layer.group_send("all", {"n": 3})
        world.note_layer(layer)


@scenario
async def expiry_of_groups(world):
    layer = InMemoryChannelLayer(group_expiry=10)
    clock = Clock()
    with clock.patched():
        for number in range(4):
            await layer.group_add("all", f"channel-{number}")
            clock.now += 4
            await layer.group_send("all", {"n": number})
            world.note_layer(layer)
        layer.group_expiry = 1
        clock.now += 1.5
        await layer.group_send("all", {"n": 9})
        world.note_layer(layer)


@scenario
async def groups_whose_members_do_not_expire(world):
    layer = InMemoryChannelLayer(group_expiry=10)
    layer.groups["all"] = {"one": None, "two": 0}
    await layer.group_send("all", {"n": 1})
    world.note_layer(layer)


class Ephemeral(InMemoryChannelLayer):
    """Gives each message an expiry of its own."""

    async def send(self, channel, message):
        expiry, self.expiry = self.expiry, message["lives"]
        try:
            await super().send(channel, message)
        finally:
            self.expiry = expiry


@scenario
async def subclass_with_an_expiry_of_its_own(world):
    layer = Ephemeral()
    clock = Clock()
    with clock.patched():
        await layer.group_add("all", "one")
        await layer.group_send("all", {"lives": 100})
        await layer.send("two", {"lives": 1})
        await layer.group_add("all", "two")
        clock.now += 5
        await layer.group_send("all", {"lives": 50})
        world.note_layer(layer)


@scenario
async def consumer_whose_messages_expire(world):
    consumer = noting(world)
    clock = Clock()
    with clock.patched():
        client = await world.connected(consumer.as_asgi())
        await world.layer.group_add("all", world.channel)
        client.send("wait")
        await world.settle()
        await layered(world, 1, 2, 3)
        await world.settle()
        clock.now += 61
        await world.layer.group_send("all", {"type": "layered", "n": 4})
        world.note_layer()
        await layered(world, 5)
        await world.settle()
        world.note_layer()
        consumer.gate.set()
        await world.settle()
        client.disconnect()
        await world.settle()
        world.note_layer()


@scenario
async def flush_while_consumers_wait(world):
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    await world.layer.group_add("all", world.channel)
    await layered(world, 1)
    await world.settle()
    await world.layer.flush()
    await layered(world, 2, 3)
    await world.layer.group_send("all", {"type": "layered", "n": 4})
    await world.settle()
    world.note_layer()
    client.send("a")
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()


@scenario
async def flush_behind_a_handler(world):
    consumer = noting(world)
    client = await world.connected(consumer.as_asgi())
    await layered(world, 1, wait=True)
    await world.settle()
    await layered(world, 2, 3)
    await world.layer.flush()
    await layered(world, 4)
    await world.settle()
    consumer.gate.set()
    await world.settle()
    await layered(world, 5)
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()


BAD = {
    "message_is_a_list": (None, ["x"]),
    "reserved_key": (None, {"__asgi_channel__": "a"}),
    "bad_name": ("not valid", {"type": "x"}),
    "long_name": ("x" * 200, {"type": "x"}),
    "name_is_bytes": (b"name", {"type": "x"}),
    "cannot_be_copied": (None, {"type": "x", "lock": threading.Lock()}),
}


@scenario.of(**BAD)
async def bad_arguments(world, bad):
    name, message = bad
    layer = world.layer
    await layer.group_add("all", "one")
    await layer.group_add("all", "two")
    for function, usual in ((layer.send, "one"), (layer.group_send, "all")):
        try:
            await function(usual if name is None else name, message)
        except Exception as error:
            world.note(type(error).__name__, str(error))
    world.note_layer()
    try:
        await layer.group_send("empty", message if name is None else {"type": "x"})
    except Exception as error:
        world.note(type(error).__name__, str(error))


@scenario
async def send_patched_on_the_instance(world):
    layer = world.layer
    send = layer.send

    async def patched(channel, message):
        world.note("send", channel)
        await send(channel, message)

    layer.send = patched
    await layer.group_add("all", "one")
    await layer.group_add("all", "two")
    await layer.group_send("all", {"n": 1})
    world.note_layer()


@scenario
async def membership_changes_while_it_is_sent(world):
    """Handlers that leave the group of the message they have just got."""

    class Leaves(Noting):
        async def connect(self):
            await super().connect()
            await self.channel_layer.group_add("all", self.channel_name)

        async def layered(self, event):
            await self.channel_layer.group_discard("all", self.channel_name)
            await super().layered(event)
            await self.channel_layer.group_send("all", {"type": "layered", "n": event["n"] + 1})

    world.app = noting(world, Leaves).as_asgi()
    clients = [await world.connected() for _ in range(3)]
    await world.layer.group_send("all", {"type": "layered", "n": 0})
    await world.settle()
    world.note_layer()
    for client in clients:
        client.disconnect()
        await world.settle()


@scenario
async def a_cancelled_group_send_has_sent(world):
    await world.layer.group_add("all", "one")
    task = asyncio.ensure_future(world.layer.group_send("all", {"n": 1}))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await world.settle()
    world.note_layer()


@scenario
async def from_the_sensitive_thread(world):
    """As a view or a sync consumer sends."""
    client = await world.connected(noting(world).as_asgi())
    await world.layer.group_add("all", world.channel)

    def view():
        async_to_sync(get_channel_layer().group_send)("all", {"type": "layered", "n": 1})
        async_to_sync(get_channel_layer().send)(world.channel, {"type": "layered", "n": 2})

    await sync_to_async(view)()
    await world.settle()
    client.disconnect()


@scenario
async def from_a_thread_with_a_loop_of_its_own(world):
    """The consumer notices with the loop's next event."""
    client = await world.connected(noting(world).as_asgi())
    await world.layer.group_add("all", world.channel)

    async def send():
        layer = get_channel_layer()
        await layer.group_send("all", {"type": "layered", "n": 1})
        await layer.send(world.channel, {"type": "layered", "n": 2})
        await layer.send("own", {"n": 3})
        world.note("own", await layer.receive("own"))

    thread = threading.Thread(target=asyncio.run, args=[send()])
    thread.start()
    while thread.is_alive():
        await sync_to_async(thread.join)(0.01)
    await world.settle()
    client.disconnect()


@scenario
async def layer_replaced_while_a_consumer_lives(world):
    client = await world.connected(noting(world).as_asgi())
    old = channel_layers.set("default", InMemoryChannelLayer())
    await old.send(world.channel, {"type": "layered", "n": 1})
    await world.layer.send(world.channel, {"type": "layered", "n": 2})
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer(old)
    world.note_layer()
