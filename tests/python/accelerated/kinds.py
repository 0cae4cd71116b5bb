# SPDX-License-Identifier: BSD-3-Clause
"""Consumers that are not plain: sources of their own, methods of their own, patched names, no consumer at all."""

import asyncio
import contextlib
import functools

import channels.consumer
import channels.utils
from channels.consumer import AsyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.layers import get_channel_layer
from sources import with_counter, wrapping
from turns import Noting, Raw, layered, noting
from world import current_task, scenario


class TwoLayers(Noting):
    """Listens on a second layer too."""

    async def __call__(self, scope, receive, send):
        self.scope = scope
        self.base_send = send
        self.channel_layer = get_channel_layer()
        self.channel_name = await self.channel_layer.new_channel()
        self.channel_receive = functools.partial(self.channel_layer.receive, self.channel_name)
        other = get_channel_layer("other")
        self.world.other_channel = await other.new_channel()
        try:
            await channels.consumer.await_many_dispatch(
                [receive, self.channel_receive, functools.partial(other.receive, self.world.other_channel)],
                self.dispatch,
            )
        except channels.consumer.StopConsumer:
            self.world.note("stopped")


@scenario.of(plain=False, wrapped=True)
async def three_sources(world, wrapped):
    world.app = noting(world, TwoLayers).as_asgi()
    if wrapped:
        world.app = wrapping(world.app, functools.partial(with_counter, world))
    client = await world.connected()
    other = get_channel_layer("other")
    client.send("a", "b", "c")
    await layered(world, 1, 2, 3)
    for number in range(11, 14):
        await other.send(world.other_channel, {"type": "layered", "n": number})
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()
    world.note_layer(other)


class Reversed(Noting):
    async def __call__(self, scope, receive, send):
        self.scope = scope
        self.base_send = send
        self.channel_layer = get_channel_layer()
        self.channel_name = await self.channel_layer.new_channel()
        channel_receive = functools.partial(self.channel_layer.receive, self.channel_name)
        try:
            await channels.consumer.await_many_dispatch((channel_receive, receive), self.dispatch)
        except channels.consumer.StopConsumer:
            self.world.note("stopped")


@scenario
async def sources_the_other_way_round(world):
    client = await world.connected(noting(world, Reversed).as_asgi())
    client.send("a", "b", "c")
    await layered(world, 1, 2, 3)
    await world.settle()
    client.disconnect()


class OnlyTheLayer(Noting):
    async def __call__(self, scope, receive, send):
        self.base_send = send
        self.scope = scope
        self.channel_layer = get_channel_layer()
        self.world.channel = self.channel_name = await self.channel_layer.new_channel()
        await self.accept()
        await channels.consumer.await_many_dispatch(
            [functools.partial(self.channel_layer.receive, self.channel_name)], self.dispatch
        )


@scenario
async def only_the_layer(world):
    client = await world.connected(noting(world, OnlyTheLayer).as_asgi())
    await layered(world, 1, 2, 3)
    client.send("ignored")
    await world.settle()
    client.session.kill()
    await world.settle()
    world.note_layer()


@scenario
async def no_sources_at_all(world):
    try:
        await channels.consumer.await_many_dispatch([], None)
    except ValueError as error:
        world.note("raised", str(error))


class Fixed(Noting):
    """Several of these read one channel."""

    async def __call__(self, scope, receive, send):
        layer = get_channel_layer()
        self.scope = scope
        self.base_send = send
        self.channel_layer = layer
        self.world.channel = self.channel_name = "fixed"
        with contextlib.suppress(channels.consumer.StopConsumer):
            await channels.consumer.await_many_dispatch(
                [receive, functools.partial(layer.receive, "fixed")], self.dispatch
            )

    async def layered(self, event):
        self.seen("layered", event["n"])


@scenario
async def two_consumers_of_one_channel(world):
    world.app = noting(world, Fixed).as_asgi()
    one = await world.connected()
    other = await world.connected()
    await layered(world, 1, 2)
    await world.settle()
    await layered(world, 3)
    await world.settle()
    world.note_layer()
    one.disconnect()
    await world.settle()
    await layered(world, 4)
    await world.settle()
    world.note_layer()
    other.disconnect()
    await world.settle()
    world.note_layer()


@scenario
async def somebody_else_waits_at_the_channel(world):
    """A plain layer.receive() beside the consumer: who asked first is served first."""
    client = await world.connected(noting(world).as_asgi())
    other = asyncio.ensure_future(world.layer.receive(world.channel))
    await world.settle()
    await layered(world, 1, 2)
    await world.settle()
    world.note("the other has", (await other)["n"])
    await layered(world, 3)
    await world.settle()
    client.disconnect()
    await world.settle()
    world.note_layer()


class OwnDispatch(Noting):
    async def dispatch(self, message):
        self.world.note("dispatch", message["type"])
        message = {**message, "n": "changed"}
        await super().dispatch(message)


@scenario
async def consumer_with_its_own_dispatch(world):
    client = await world.connected(noting(world, OwnDispatch).as_asgi())
    client.send("a")
    await layered(world, 1)
    await world.settle()
    client.disconnect()


@scenario
async def dispatch_set_on_the_instance(world):
    class Instance(Noting):
        def __init__(self):
            super().__init__()
            stock = self.dispatch

            def dispatch(message):
                self.world.note("own", message["type"])
                return asyncio.ensure_future(stock(message))

            self.dispatch = dispatch

    client = await world.connected(noting(world, Instance).as_asgi())
    client.send("a")
    await layered(world, 1)
    await world.settle()
    client.disconnect()


@scenario
async def await_many_dispatch_patched_later(world):
    """Tests and tools put their own in its place; it is called by name."""
    stock = channels.consumer.await_many_dispatch

    async def patched(sources, dispatch):
        world.note("patched", len(sources))
        await stock(sources, dispatch)

    channels.consumer.await_many_dispatch = patched
    try:
        client = await world.connected(noting(world).as_asgi())
        client.send("a")
        await world.settle()
        client.disconnect()
        await world.settle()
    finally:
        channels.consumer.await_many_dispatch = stock


@scenario
async def get_handler_name_patched_later(world):
    stock = channels.consumer.get_handler_name

    def patched(message):
        world.note("name", message["type"])
        return stock(message)

    client = await world.connected(noting(world).as_asgi())
    client.send("a")
    await world.settle()
    channels.consumer.get_handler_name = patched
    try:
        client.send("b")
        await world.settle()
        client.disconnect()
        await world.settle()
    finally:
        channels.consumer.get_handler_name = stock


@scenario
async def utils_stay_stock(world):
    """Third parties import it from there, with callables of any kind."""
    queue = asyncio.Queue()
    results = []

    async def dispatch(message):
        world.note(message, current_task() is task)
        results.append(message)

    task = asyncio.ensure_future(channels.utils.await_many_dispatch([queue.get, asyncio.Queue().get], dispatch))
    for number in range(3):
        queue.put_nowait(number)
    await world.settle()
    task.cancel()
    await asyncio.wait([task])


class Http(AsyncHttpConsumer):
    world = None

    async def handle(self, body):
        self.world.note("handle", body)
        self.world.channel = self.channel_name
        await self.channel_layer.send(self.channel_name, {"type": "later", "n": 1})
        await self.send_headers(headers=[(b"a", b"b")])
        await self.send_body(b"body", more_body=False)

    async def later(self, event):
        self.world.note("later", event["n"])


@scenario
async def http_consumer(world):
    """Its receive() is no WebSocket's."""
    world.app = type("Http", (Http,), {"world": world}).as_asgi()
    world.put([1, 900, "1.1", "POST", "http", "/", b"/", b"", "", [], None, None, b"one", True])
    await world.settle()
    world.put([2, 900, b"two", False])
    await world.settle()
    world.drain()
    world.note([record for record in world.records if record[0] != 7])
    world.records.clear()
    world.put([6, 900, None, None])
    await world.settle()
    world.note_layer()


@scenario
async def middleware_reads_the_connect_itself(world):
    consumer = noting(world, Raw)

    async def middleware(scope, receive, send):
        world.note(await receive())
        await consumer.as_asgi()(scope, receive, send)

    client = await world.connected(middleware)
    client.send("never accepted")
    await world.settle()
    client.disconnect()


@scenario
async def consumer_that_outlives_the_application(world):
    """The application returns; its consumer goes on in a task of its own, and hears no more of the client."""
    consumer = noting(world)
    tasks = []

    async def middleware(scope, receive, send):
        tasks.append(asyncio.ensure_future(consumer.as_asgi()(scope, receive, send)))
        await leave.wait()

    leave = asyncio.Event()
    client = await world.connected(middleware)
    client.send("wait", "a", "b", "c")
    await world.settle()
    leave.set()
    await world.settle()
    consumer.gate.set()
    await world.settle()
    await layered(world, 1, 2)
    await world.settle()
    tasks[0].cancel()
    await world.settle()
    world.note_layer()


@scenario
async def plain_async_application(world):
    """No consumer at all."""

    async def app(scope, receive, send):
        while True:
            event = await receive()
            world.note(event)
            if event["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            if event["type"] == "websocket.disconnect":
                return

    client = await world.connected(app)
    client.send("a", "b")
    client.disconnect()


@scenario
async def consumer_called_without_the_server(world):
    """In a test, say: the sources are queues."""
    queue = asyncio.Queue()
    sent = []

    async def send(message):
        sent.append(message)

    consumer = noting(world)
    task = asyncio.ensure_future(consumer.as_asgi()({"type": "websocket"}, queue.get, send))
    queue.put_nowait({"type": "websocket.connect"})
    queue.put_nowait({"type": "websocket.receive", "text": "a"})
    await world.settle()
    await layered(world, 1)
    await world.settle()
    queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait([task])
    world.note(sent, task.exception())
    world.note_layer()


@scenario
async def base_class_of_consumers_is_as_before(world):
    world.note(asyncio.iscoroutinefunction(AsyncConsumer.dispatch), AsyncConsumer.dispatch.__name__)
    world.note(AsyncConsumer.dispatch.__doc__, channels.consumer.await_many_dispatch.__name__)
