# SPDX-License-Identifier: BSD-3-Clause
"""How consumers end: errors, StopConsumer, closes, cancellation; and what is left of them."""

import asyncio
import gc
import weakref

from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from turns import Noting, Raw, Sync, layered, noting
from world import nap, scenario


class Breaks(Noting):
    async def receive(self, text_data=None, bytes_data=None):
        await super().receive(text_data, bytes_data)
        if text_data == "raise":
            raise RuntimeError("in receive")
        if text_data == "stop":
            raise StopConsumer
        if text_data == "exit":
            raise SystemExit(3)
        if text_data == "cancelled":
            raise asyncio.CancelledError("own")
        if text_data == "accept":
            raise AcceptConnection
        if text_data == "deny":
            raise DenyConnection
        if text_data == "close":
            await self.close(4321)

    async def layered(self, event):
        await super().layered(event)
        if event["n"] == "raise":
            raise RuntimeError("in layered")
        if event["n"] == "stop":
            raise StopConsumer


@scenario.of(
    raises="raise", stops="stop", exits="exit", cancels="cancelled", closes="close", accepts="accept", denies="deny"
)
async def handler_of_the_socket(world, text):
    client = await world.connected(noting(world, Breaks).as_asgi())
    await world.layer.group_add("all", world.channel)
    client.send("a", text, "b")
    await layered(world, 1, 2, 3)
    await world.settle()
    world.note(client.out())
    world.note_layer()
    await layered(world, 4)
    await world.settle()
    world.note_layer()
    client.disconnect()
    await world.settle()
    world.note_layer()


@scenario.of(raises="raise", stops="stop")
async def handler_of_the_layer(world, number):
    client = await world.connected(noting(world, Breaks).as_asgi())
    await layered(world, 1, number, 3)
    client.send("a", "b", "c")
    await world.settle()
    world.note(client.out())
    world.note_layer()


@scenario.of(
    unknown={"type": "nobody.knows"},
    no_type={"a": 1},
    underscore={"type": "_hidden"},
    number={"type": 5},
    none={"type": None},
    unhashable={"type": []},
    attribute={"type": "channel_name"},
)
async def messages_that_make_no_sense(world, message):
    client = await world.connected(noting(world).as_asgi())
    client.send("a")
    await world.layer.send(world.channel, message)
    await world.settle()
    world.note(client.out())
    world.note_layer()


class Nonsense(Raw):
    async def websocket_receive(self, event):
        await self.send({"type": "websocket.nonsense"} if event.get("text") == "a" else {"a": 1})


@scenario.of(unknown="a", no_type="b")
async def consumer_that_sends_nonsense(world, text):
    client = await world.connected(noting(world, Nonsense).as_asgi())
    client.send(text)
    await world.settle()
    world.note(client.out())


class SyncHandlerInAsync(Raw):
    def websocket_receive(self, event):
        return 5


@scenario
async def handler_that_is_no_coroutine(world):
    client = await world.connected(noting(world, SyncHandlerInAsync).as_asgi())
    client.send("a")
    await world.settle()
    world.note(client.out())


class Holds(Noting):
    """What a handler does with a cancellation is up to it."""

    async def receive(self, text_data=None, bytes_data=None):
        self.seen("receive", text_data)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.seen("cancelled", text_data)
            if text_data == "raise":
                raise RuntimeError("instead") from None
            if text_data != "swallow":
                raise
        finally:
            await nap()
            self.seen("finally", text_data)


@scenario.of(lets="let", swallows="swallow", raises="raise")
async def killed_in_a_handler(world, text):
    """With messages of both kinds behind it."""
    client = await world.connected(noting(world, Holds).as_asgi())
    await world.layer.group_add("all", world.channel)
    client.send(text)
    await world.settle()
    client.send("let")
    await layered(world, 1, 2, 3)
    await world.settle()
    client.session.kill()
    await world.settle()
    world.note("killed once")
    world.note_layer()
    if client.session is not None:
        client.session.kill()
        await world.settle()
    world.note_layer()
    world.note(client.out())


@scenario
async def killed_while_it_waits(world):
    client = await world.connected(noting(world).as_asgi())
    await world.layer.group_add("all", world.channel)
    world.note(list(world.layer.channels) == [world.channel])
    client.session.kill()
    await world.settle()
    world.note_layer()
    world.note(len(world.layer.channels))


@scenario
async def killed_when_it_was_just_asked(world):
    """In the first turns of a consumer, one after the other."""
    world.app = noting(world).as_asgi()
    for turns in range(1, 7):
        client = world.open()
        await nap(turns)
        client.session.kill()
        await world.settle()
        world.trace = [note for note in world.trace if note[0] != "connect"]
    world.note_layer()


@scenario
async def killed_behind_its_disconnect(world):
    class Lingers(Noting):
        async def disconnect(self, code):
            self.seen("disconnect", code)
            try:
                await self.gate.wait()
            finally:
                self.seen("gone")

    client = await world.connected(noting(world, Lingers).as_asgi())
    client.disconnect()
    await layered(world, 1)
    await world.settle()
    client.session.kill()
    await world.settle()
    world.note_layer()


@scenario
async def sync_consumer_that_raises(world):
    class SyncBreaks(Sync):
        def receive(self, text_data=None, bytes_data=None):
            self.seen("receive", text_data)
            raise RuntimeError("in the thread")

    client = await world.connected(noting(world, SyncBreaks).as_asgi())
    client.send("a", "b")
    await layered(world, 1)
    await world.settle()
    world.note(client.out())
    world.note_layer()


@scenario
async def close_then_more_messages(world):
    client = await world.connected(noting(world, Breaks).as_asgi())
    client.send("close", "a", "b")
    await layered(world, 1)
    await world.settle()
    client.send("c")
    await layered(world, 2)
    await world.settle()
    client.disconnect(4321)
    await world.settle()
    world.note(client.out())
    world.note_layer()


class Refuses(Noting):
    async def connect(self):
        self.seen("connect")
        await self.channel_layer.group_add("all", self.channel_name)
        await self.close()


@scenario
async def consumer_that_refuses(world):
    client = await world.connected(noting(world, Refuses).as_asgi())
    world.note(client.out())
    world.note_layer()


class Groups(Noting):
    groups = ("all", "some")

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("all", {"type": "layered", "n": text_data})


@scenario
async def groups_of_the_class(world):
    world.app = noting(world, Groups).as_asgi()
    clients = [await world.connected() for _ in range(3)]
    clients[0].send("one")
    await world.settle()
    clients[1].disconnect()
    await world.settle()
    for text in ("two", "three"):
        clients[0].send(text)
        await world.settle()
    world.note_layer()
    for client in clients:
        client.disconnect()
        await world.settle()
    world.note_layer()
    world.note(len(world.layer.channels))


@scenario.of(disconnected=False, killed=True)
async def a_thousand_come_and_go(world, kill):
    """Nothing of them is left, and no consumer needs the garbage collector."""
    world.layer.capacity = 1000
    living = weakref.WeakSet()

    class Counted(Groups):
        def seen(self, what, detail=None):
            living.add(self)

    world.app = noting(world, Counted).as_asgi()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            clients = [world.open() for _ in range(100)]
            await world.settle()
            clients[0].send("hello")
            await world.settle()
            for client in clients:
                client.session.kill() if kill else client.disconnect()
            await world.settle()
            world.drain()
            world.records.clear()
        world.trace = [note for note in world.trace if not note[0].startswith("application ")]
        queues = sum(isinstance(each, asyncio.Queue) for each in gc.get_objects())
        world.note("alive", len(living), "queues not in the layer", queues - len(world.layer.channels))
    finally:
        gc.enable()
    world.note_layer()
    world.note(len(world.layer.channels), len(asyncio.all_tasks()) < 4)


@scenario
async def consumers_that_raise_need_no_collector(world):
    """A traceback may hold frames; no more of them than stock's."""
    living = weakref.WeakSet()

    class Counted(Breaks):
        def seen(self, what, detail=None):
            living.add(self)

    world.app = noting(world, Counted).as_asgi()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            client = world.open()
            await world.settle()
            client.send("raise")
            await world.settle()
        world.trace.clear()
        world.note("alive", len(living))
    finally:
        gc.enable()
