# SPDX-License-Identifier: BSD-3-Clause
"""Channels that any process may read: who competes, and what a killed one leaves."""

import asyncio
import contextlib
from collections import Counter

import pytest
from layer_rig import RemoteError, long_dead, take, until
from redis_server import RedisServer

END = {"type": "end"}


@pytest.fixture
def own_redis():
    with RedisServer() as server:
        yield server


class Consumer:
    """Receives one message after the other and notes the numbers."""

    def __init__(self, layer, numbers):
        self.numbers = numbers
        self.task = asyncio.ensure_future(self._run(layer))

    async def _run(self, layer):
        with contextlib.suppress(ConnectionResetError):  # a puppet that was killed
            while True:
                message = await layer.receive("jobs")
                self.numbers.append(message["n"])

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.mark.parametrize("sender_is", ["stock", "ours"])
async def test_competing_consumers_get_each_message_once(layers, sender_is):
    """With channels_redis some come twice as soon as two processes read (wire-format §4.6)."""
    sender = layers.open(sender_is, "three", capacity=10_000)
    numbers = []
    readers = [layers.open("ours"), layers.open("ours", "two"), await layers.puppet("ours"), layers.open("ours")]
    consumers = [Consumer(reader, numbers) for reader in readers for _ in range(2)]
    for start in range(0, 600, 50):
        await asyncio.gather(*(sender.send("jobs", {"type": "x", "n": start + n}) for n in range(50)))
    await until(lambda: len(set(numbers)) == 600, "everything arrived")
    for consumer in consumers:
        await consumer.stop()
    assert Counter(numbers) == Counter(range(600))


async def test_one_reader_gets_everything_in_order(layers):
    sender, reader = layers.open("ours", "two", capacity=1000), layers.open("ours")
    for number in range(200):
        await sender.send("jobs", {"type": "x", "n": number})
    assert [(await take(reader, "jobs"))["n"] for _ in range(200)] == list(range(200))


async def test_several_channels_at_a_time(layers):
    sender, reader = layers.open("stock"), layers.open("ours")
    names = [f"jobs-{number}" for number in range(30)]
    waits = [asyncio.ensure_future(take(reader, name)) for name in names]
    for name in reversed(names):
        await sender.send(name, {"type": name})
    assert await asyncio.gather(*waits) == [{"type": name} for name in names]


async def test_beside_consumers_of_channels_redis_nothing_is_lost(layers):
    """These may put back what they think is theirs, so that a message can come twice (wire-format §12.3/2)."""
    sender = layers.open("ours", "two", capacity=10_000)
    numbers = []
    stock = await layers.puppet("stock")
    consumers = [Consumer(reader, numbers) for reader in (layers.open("ours"), stock)]
    for number in range(300):
        await sender.send("jobs", {"type": "x", "n": number})
    await until(lambda: len(set(numbers)) == 300, "everything arrived")
    for consumer in consumers:
        await consumer.stop()


async def test_receive_that_was_given_up_takes_nothing_with_it(layers):
    """Cancelled at any moment, also when a message was on its way: the next receive has it. channels_redis loses about
    every fifteenth (wire-format §4.7)."""
    sender, reader, other = layers.open("stock", capacity=10_000), layers.open("ours"), layers.open("ours", "two")
    numbers = []
    for number in range(150):
        waiting = asyncio.ensure_future(reader.receive("jobs"))
        await sender.send("jobs", {"type": "x", "n": number})
        for _ in range(number % 7):
            await asyncio.sleep(0.0005)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            numbers.append((await waiting)["n"])
    while len(set(numbers)) < 150:
        numbers.append((await take(other, "jobs"))["n"])
    assert sorted(numbers) == list(range(150))


async def test_killed_consumer_gives_back_what_it_had_not_taken(layers, redis):
    """The message is out of Redis and at a process that is stopped, and dies."""
    victim, reader, sender = await layers.puppet("ours"), layers.open("ours"), layers.open("stock")
    first = asyncio.ensure_future(victim.receive("jobs"))
    await sender.send("jobs", {"type": "x", "n": 0})
    assert (await first)["n"] == 0
    given = asyncio.ensure_future(victim.receive("jobs"))
    await asyncio.sleep(0)  # it is asked
    await victim.group_send("nobody", END)  # is answered: the node knows what it waits for
    victim.pause()
    await sender.send("jobs", {"type": "x", "n": 1})
    await until(lambda: not redis.command("EXISTS", "asgijobs"), "the node has the message")
    second = asyncio.ensure_future(take(reader, "jobs"))
    await victim.kill()
    with pytest.raises(ConnectionResetError):
        await given
    assert await second == {"type": "x", "n": 1}
    await sender.send("jobs", END)
    assert await take(reader, "jobs") == END


@pytest.mark.parametrize("successor", ["one", "two"])
async def test_killed_node_leaves_what_was_not_taken(own_layers, own_redis, successor):
    """Whoever comes in its place, or is its neighbour, finds it."""
    layers = own_layers([own_redis.url])
    victim, sender = await layers.puppet("ours"), layers.open("stock")
    channel = await victim.new_channel()
    given = asyncio.ensure_future(victim.receive("jobs"))
    await asyncio.sleep(0)  # it is asked
    await victim.group_send("nobody", END)  # is answered: the node knows what it waits for
    victim.pause()
    await sender.send("jobs", {"type": "x", "n": 1})
    await until(lambda: not own_redis.command("EXISTS", "asgijobs"), "the node has the message")
    node = layers.nodes.get("one", {"hosts": layers.hosts})
    node.kill()
    await victim.kill()
    with pytest.raises(ConnectionResetError):
        await given
    if successor == "one":
        node.start_again()
    reader = layers.open("ours", successor)
    receiving = asyncio.ensure_future(take(reader, "jobs"))
    await until(lambda: own_redis.command("ZCARD", "asgi:channelsd:nodes") == 2, "there is another node")
    long_dead(own_redis, channel)
    assert await receiving == {"type": "x", "n": 1}
    await sender.send("jobs", END)
    assert await take(reader, "jobs") == END


@pytest.mark.timeout(60)
async def test_consumers_killed_under_load_lose_nothing(own_layers, own_redis):
    """Each number is noted by some process the moment it is received; one that was noted and not yet confirmed may come
    again."""
    layers = own_layers([own_redis.url])
    sender = layers.open("stock", capacity=100_000)
    numbers = []
    reader = layers.open("ours", "two")
    steady = Consumer(reader, numbers)
    count = 0
    for _ in range(5):
        victim = await layers.puppet("ours")
        consumer = Consumer(victim, numbers)
        noted = len(numbers)
        while len(numbers) < noted + 20:
            await sender.send("jobs", {"type": "x", "n": count})
            count += 1
        await victim.kill()
        await consumer.task
    await until(lambda: len(set(numbers)) == count, "everything arrived")
    await steady.stop()
    twice = [number for number, times in Counter(numbers).items() if times > 1]
    assert len(twice) <= 5


async def test_what_a_dead_worker_of_channels_redis_left_is_handled(own_layers, redis):
    """It stands in the backup queue, which has no end of life of its own (wire-format §12.3/2); a node looks there when
    somebody asks it for that channel for the first time."""
    layers = own_layers([redis.url])
    sender = layers.open("stock")
    await sender.send("jobs", {"type": "x", "n": 0})
    member, score = redis.raw("ZRANGE", "asgijobs", 0, -1, "WITHSCORES")
    redis.command("DEL", "asgijobs")
    redis.command("ZADD", "asgijobs$inflight", score, member)
    reader = layers.open("ours")
    assert await take(reader, "jobs") == {"type": "x", "n": 0}
    await until(lambda: not redis.command("EXISTS", "asgijobs$inflight"), "it is handled")


async def test_errors_of_a_puppet_are_told(layers):
    """Of the tests' own tools: what raises there raises here."""
    puppet = await layers.puppet("stock")
    with pytest.raises(RemoteError, match="TypeError"):
        await puppet.send("not a name", END)
