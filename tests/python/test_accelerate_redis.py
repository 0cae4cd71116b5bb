# SPDX-License-Identifier: BSD-3-Clause
"""RedisChannelLayer read by consumers: every test runs over stock's await_many_dispatch and over ours, and must find the
same both times."""

import asyncio
import contextlib
import functools
import importlib.util
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

if importlib.util.find_spec("channels_redis") is None:
    pytest.skip("channels_redis is not installed", allow_module_level=True)

import channels.utils
import redis.exceptions
from channels.exceptions import StopConsumer
from channels_redis import core
from redis_server import RedisServer

from channelsd.accelerate import redis as accelerated
from channelsd.accelerate.dispatch import dispatcher, register

SECONDS = 10


pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def maker():
    register(accelerated.maker(core))


@pytest.fixture(params=["stock", "accelerated"])
def run_dispatch(request):
    stock = channels.utils.await_many_dispatch
    return stock if request.param == "stock" else dispatcher(stock, has_hop=False)


@pytest.fixture
async def make_layer(server):
    """Makes layers; what is left of them at the end fails the test."""
    server.command("FLUSHALL")
    layers = []

    def make(cls=core.RedisChannelLayer, **options):
        layers.append(cls(hosts=[{"address": server.socket_url, "socket_timeout": None}], **options))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.close_pools()
        assert layer.receive_count == 0
        assert layer.receive_lock is None
        assert layer.receive_event_loop is None
        assert layer.receive_cleaners == []
        assert not any(lock.locked() for lock in layer.receive_clean_locks.locks.values())
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [key for key in server.command("KEYS", "*") if key.endswith("$inflight")] == []


@pytest.fixture
def layer(make_layer):
    return make_layer(capacity=3)


class Consumer:
    """A consumer without Channels' class around it: its client's events are in `socket`, and what it handled in `got`."""

    def __init__(self, run_dispatch, layer, channel, handle=None):
        self.layer = layer
        self.channel = channel
        self.socket = asyncio.Queue()
        self.got = []
        self.objects = []
        self._changed = asyncio.Condition()
        self._handle = handle
        receive = functools.partial(layer.receive, channel)
        self.task = asyncio.ensure_future(run_dispatch([self.socket.get, receive], self._dispatch))

    async def _dispatch(self, message):
        self.got.append(message["n"])
        self.objects.append(message)
        async with self._changed:
            self._changed.notify_all()
        if message["n"] == "stop":
            raise StopConsumer
        if self._handle is not None:
            await self._handle(message)

    async def has(self, *expected):
        """Returns once this is what it got; fails if it is something else or it ended."""

        async def wait():
            async with self._changed:
                await self._changed.wait_for(lambda: len(self.got) >= len(expected) or self.task.done())

        await asyncio.wait_for(wait(), SECONDS)
        assert self.got == list(expected)

    async def end(self):
        """Its client goes; it ends as a consumer does."""
        self.socket.put_nowait({"n": "stop"})
        with pytest.raises(StopConsumer):
            await asyncio.wait_for(asyncio.shield(self.task), SECONDS)

    async def error(self):
        """The exception with which it ended."""
        await asyncio.wait_for(asyncio.wait([self.task]), SECONDS)
        if self.task.cancelled():
            return asyncio.CancelledError()
        return self.task.exception()


@pytest.fixture
async def start(run_dispatch):
    """Starts consumers and ends those that live at the end of the test."""
    consumers = []

    async def start(layer, *, prefix="specific", handle=None, group=None):
        channel = await layer.new_channel(prefix)
        if group is not None:
            await layer.group_add(group, channel)
        consumers.append(Consumer(run_dispatch, layer, channel, handle))
        return consumers[-1]

    yield start
    for consumer in consumers:
        consumer.task.cancel()
    for consumer in consumers:
        with contextlib.suppress(BaseException):
            await consumer.task


async def until(condition):
    """Waits, in the caller's own task, for what Redis or the layer has no event for."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


async def polling(server):
    """Returns when one receive() waits at Redis."""
    await until(lambda: server.blocked() == 1)


def buffered(layer):
    """Names of the channels with messages. Stock leaves an empty queue of a consumer that was cancelled as it polled."""
    return [name for name, queue in layer.receive_buffer.items() if queue.qsize()]


def key(layer, prefix="specific"):
    return f"{layer.prefix}{prefix}.{layer.client_prefix}!"


async def test_messages_to_a_channel_come_in_order_and_once(layer, start, server):
    consumer = await start(layer)
    for n in range(20):
        await layer.send(consumer.channel, {"n": n})
        await consumer.has(*range(n + 1))
    await consumer.end()
    assert buffered(layer) == []
    assert server.command("EXISTS", key(layer)) == 0


async def test_a_group_of_100_is_served_exactly_once(layer, start):
    consumers = [await start(layer, group="all") for _ in range(100)]
    for n in range(5):
        await layer.group_send("all", {"n": n})
        for consumer in consumers:
            await consumer.has(*range(n + 1))
    assert all(consumer.objects[4] is consumers[0].objects[4] for consumer in consumers)
    for consumer in consumers:
        await consumer.end()
    assert all(consumer.got == [0, 1, 2, 3, 4, "stop"] for consumer in consumers)
    assert buffered(layer) == []


async def test_messages_wait_in_redis_while_nobody_asks(layer, start, server):
    gate = asyncio.Event()
    consumer = await start(layer, handle=lambda _: gate.wait())
    await layer.send(consumer.channel, {"n": 0})
    await consumer.has(0)
    for n in (1, 2):
        await layer.send(consumer.channel, {"n": n})
    assert server.blocked() == 0
    assert server.command("ZCARD", key(layer)) == 2
    assert dict(layer.receive_buffer) == {}
    gate.set()
    await consumer.has(0, 1, 2)


async def test_one_message_is_taken_ahead_while_the_client_is_served(layer, start, server):
    gate = asyncio.Event()
    consumer = await start(layer, handle=lambda _: gate.wait())
    consumer.socket.put_nowait({"n": "client"})
    await consumer.has("client")
    for n in range(3):
        await layer.send(consumer.channel, {"n": n})
    await until(lambda: server.command("ZCARD", key(layer)) == 2)
    assert server.blocked() == 0
    gate.set()
    await consumer.has("client", 0, 1, 2)


@pytest.mark.parametrize(("first", "expected"), [("client", [1, 4, 5, 6]), ("layer", [4, 5, 6])])
async def test_a_consumer_that_hangs_loses_the_oldest_over_capacity(layer, start, first, expected):
    gate = asyncio.Event()
    hangs = await start(layer, handle=lambda _: gate.wait())
    other = await start(layer)
    if first == "client":
        hangs.socket.put_nowait({"n": "first"})
    else:
        await layer.send(hangs.channel, {"n": "first"})
    await hangs.has("first")
    for n in range(1, 7):
        await layer.send(hangs.channel, {"n": n})
        await layer.send(other.channel, {"n": n})
        await other.has(*range(1, n + 1))
    # The other's came after ours, so all of them have left Redis.
    assert [message["n"] for message in layer.receive_buffer[hangs.channel]._queue] == [4, 5, 6]
    gate.set()
    await hangs.has("first", *expected)


async def test_turns_are_client_then_layer(layer, start, server):
    gate = asyncio.Event()
    consumer = await start(layer, handle=lambda _: gate.wait())
    consumer.socket.put_nowait({"n": "c0"})
    await consumer.has("c0")
    for n in (1, 2):
        consumer.socket.put_nowait({"n": f"c{n}"})
        await layer.send(consumer.channel, {"n": f"l{n}"})
    await until(lambda: server.command("ZCARD", key(layer)) == 1)
    gate.set()
    await consumer.has("c0", "l1", "c1", "c2", "l2")


async def test_a_member_that_cannot_be_decoded_ends_the_one_that_polled(layer, start, server):
    consumers = []
    for _ in range(3):
        consumers.append(await start(layer, group="all"))
        await polling(server)
    server.command("ZADD", key(layer), "1", b"123456789012\xc1")
    error = await consumers[0].error()
    assert type(error).__module__.startswith("msgpack")
    assert consumers[0].channel not in layer.receive_buffer
    await layer.group_send("all", {"n": 0})
    for consumer in consumers[1:]:
        await consumer.has(0)
    # It stays in the group, as nobody asked for it to leave.
    assert buffered(layer) == [consumers[0].channel]


async def test_each_failure_ends_another_one(layer, start, server):
    """Who was polling when a message came for another goes behind the others."""
    consumers = []
    for _ in range(3):
        consumers.append(await start(layer))
        await polling(server)
    await layer.send(consumers[2].channel, {"n": 0})
    await consumers[2].has(0)
    await polling(server)
    for n in (1, 0, 2):
        server.command("ZADD", key(layer), "1", b"123456789012\xc1")
        assert type(await consumers[n].error()).__module__.startswith("msgpack")
        assert [consumer.task.done() for consumer in consumers].count(True) == [1, 0, 2].index(n) + 1
        if n != 2:
            await polling(server)


async def test_a_lost_connection_ends_one_consumer(layer, start, server):
    consumers = [await start(layer, group="all") for _ in range(3)]
    await polling(server)
    server.kill_blocked()
    error = await consumers[0].error()
    assert isinstance(error, redis.exceptions.ConnectionError)
    await polling(server)
    await layer.group_send("all", {"n": 0})
    for consumer in consumers[1:]:
        await consumer.has(0)


async def test_flushall_leaves_those_who_wait(layer, start, server):
    consumer = await start(layer, group="all")
    await polling(server)
    server.command("FLUSHALL")
    await layer.group_send("all", {"n": "nobody"})
    await layer.group_add("all", consumer.channel)
    await layer.group_send("all", {"n": 0})
    await consumer.has(0)


async def test_flush_of_the_layer_closes_the_connections_under_those_who_wait(layer, start, server):
    consumers = [await start(layer) for _ in range(2)]
    await polling(server)
    await layer.flush()
    await until(lambda: any(consumer.task.done() for consumer in consumers) or server.blocked() == 1)
    for consumer in consumers:
        if consumer.task.done():
            assert isinstance(consumer.task.exception(), redis.exceptions.ConnectionError)
    assert [consumer.task.done() for consumer in consumers].count(True) <= 1


async def test_the_last_one_to_go_takes_its_command_along(layer, start, server):
    consumers = [await start(layer) for _ in range(3)]
    await polling(server)
    for consumer in consumers[:2]:
        await consumer.end()
    await layer.send(consumers[2].channel, {"n": 0})
    await consumers[2].has(0)
    await polling(server)
    await consumers[2].end()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert layer.receive_count == 0
    await until(lambda: server.blocked() == 0)
    again = await start(layer)
    await layer.send(again.channel, {"n": 1})
    await again.has(1)


async def test_a_cancelled_consumer_leaves_nothing(layer, start, server):
    gate = asyncio.Event()
    waiting = await start(layer)
    hangs = await start(layer, handle=lambda _: gate.wait())
    await layer.send(hangs.channel, {"n": 0})
    await hangs.has(0)
    for consumer in (waiting, hangs):
        consumer.task.cancel()
        assert type(await consumer.error()) is asyncio.CancelledError
    await layer.wait_received()  # channels_redis' own clean-up behind a message, in both modes
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert buffered(layer) == []


async def test_all_tasks_of_the_loop_are_cancelled(layer, start, server):
    consumers = [await start(layer) for _ in range(3)]
    await polling(server)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    for consumer in consumers:
        assert type(await consumer.error()) is asyncio.CancelledError
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_an_error_that_nobody_saw_replaces_that_of_the_handler(layer, start, server):
    gate = asyncio.Event()

    async def handle(message):
        await gate.wait()
        raise ValueError("of the handler")

    consumer = await start(layer, handle=handle)
    await polling(server)
    consumer.socket.put_nowait({"n": "client"})
    await consumer.has("client")
    server.command("ZADD", key(layer), "1", b"123456789012\xc1")
    await until(lambda: layer.receive_count == 0)
    gate.set()
    error = await consumer.error()
    assert type(error).__module__.startswith("msgpack")
    assert isinstance(error.__context__, ValueError)


async def test_receive_calls_of_others_live_beside_consumers(layer, start, server):
    got = {}

    async def read(channel):
        while True:
            got[channel].append((await layer.receive(channel))["n"])

    consumers = [await start(layer, group="all") for _ in range(5)]
    readers = []
    for _ in range(5):
        channel = await layer.new_channel()
        got[channel] = []
        await layer.group_add("all", channel)
        readers.append(asyncio.ensure_future(read(channel)))
    for n in range(10):
        await layer.group_send("all", {"n": n})
        for consumer in consumers:
            await consumer.has(*range(n + 1))
        await until(lambda n=n: all(len(read) == n + 1 for read in got.values()))
    assert all(read == list(range(10)) for read in got.values())
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    await layer.group_send("all", {"n": 10})
    for consumer in consumers:
        await consumer.has(*range(11))


async def test_a_second_loop_is_refused_while_the_first_receives(layer, start, server, run_dispatch):
    consumer = await start(layer)
    await polling(server)
    errors = []

    async def other():
        second = Consumer(run_dispatch, layer, await layer.new_channel())
        errors.append(await second.error())

    thread = threading.Thread(target=asyncio.run, args=(other(),))
    thread.start()
    await until(lambda: not thread.is_alive())
    assert [(type(error), str(error)) for error in errors] == [
        (RuntimeError, "Two event loops are trying to receive() on one channel layer at once!")
    ]
    await layer.send(consumer.channel, {"n": 0})
    await consumer.has(0)


async def test_loops_may_follow_one_another(layer, run_dispatch, server):
    async def one():
        consumer = Consumer(run_dispatch, layer, await layer.new_channel())
        await layer.send(consumer.channel, {"n": 0})
        await consumer.has(0)
        # A receive() that is cancelled while it waits for the lock of the last message's clean-up leaves that lock behind,
        # bound to this loop: channels_redis' own, accelerated or not.
        while layer.receive_cleaners:
            await layer.wait_received()
        await polling(server)
        await consumer.end()
        await layer.close_pools()

    for _ in range(2):
        await asyncio.get_running_loop().run_in_executor(None, asyncio.run, one())


async def test_prefixes_take_turns(layer, start, server):
    consumers = [await start(layer, prefix=prefix) for prefix in ("one", "two")]
    await polling(server)
    await layer.send(consumers[0].channel, {"n": 0})
    await consumers[0].has(0)
    await layer.send(consumers[1].channel, {"n": 1})
    await consumers[1].has(1)
    await layer.send(consumers[0].channel, {"n": 2})
    await consumers[0].has(0, 2)


async def test_the_other_prefix_is_polled_when_the_first_one_goes(layer, start, server):
    first = await start(layer, prefix="one")
    await polling(server)
    second = await start(layer, prefix="two")
    await first.end()
    await layer.send(second.channel, {"n": 0})
    await second.has(0)


async def test_messages_for_those_who_are_gone_are_kept_by_the_layer(layer, start):
    gone, stays = await start(layer), await start(layer)
    await gone.end()
    for n in range(5):
        await layer.send(gone.channel, {"n": n})
        await layer.send(stays.channel, {"n": n})
        await stays.has(*range(n + 1))
    assert buffered(layer) == [gone.channel]
    queue = layer.receive_buffer[gone.channel]
    assert type(queue) is core.BoundedQueue
    assert [message["n"] for message in queue._queue] == [2, 3, 4]


async def test_another_reader_of_the_same_channel(layer, start, server):
    channel = await layer.new_channel()
    reader = asyncio.ensure_future(layer.receive(channel))
    await polling(server)
    layer.new_channel = lambda _prefix: asyncio.sleep(0, channel)
    consumer = await start(layer)
    await layer.send(channel, {"n": 0})
    assert await asyncio.wait_for(reader, SECONDS) == {"n": 0}
    await layer.send(channel, {"n": 1})
    await consumer.has(1)


async def test_wrong_names_raise_what_receive_raises(layer, run_dispatch):
    for channel, error in ((f"specific.{'0' * 32}!x", AssertionError), ("no/name!x", TypeError)):
        consumer = Consumer(run_dispatch, layer, channel)
        assert type(await consumer.error()) is error
    assert dict(layer.receive_buffer) == {}


async def test_a_channel_without_a_process_is_read_too(layer, run_dispatch):
    consumer = Consumer(run_dispatch, layer, "jobs")
    await layer.send("jobs", {"n": 0})
    await consumer.has(0)
    await consumer.end()


async def test_receive_single_of_a_subclass_is_called(make_layer, start):
    class Counting(core.RedisChannelLayer):
        calls = 0

        async def receive_single(self, channel):
            self.calls += 1
            return await super().receive_single(channel)

    layer = make_layer(Counting)
    consumer = await start(layer)
    await layer.send(consumer.channel, {"n": 0})
    await consumer.has(0)
    assert layer.calls >= 1


async def test_receive_of_a_subclass_is_called(make_layer, start):
    class Shifted(core.RedisChannelLayer):
        async def receive(self, channel):
            return {"n": (await super().receive(channel))["n"] + 1}

    layer = make_layer(Shifted)
    consumer = await start(layer)
    await layer.send(consumer.channel, {"n": 0})
    await consumer.has(1)
