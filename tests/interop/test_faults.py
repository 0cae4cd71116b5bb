# SPDX-License-Identifier: BSD-3-Clause
"""Redis killed, stopped, full, slow, narrow, and its connections cut, under layers of channelsd. Messages are numbered, so
that what is missing or came twice is known."""

import asyncio
import time
from collections import Counter

import pytest
from layer_rig import take, until
from redis_proxy import RedisProxy
from redis_server import RedisServer, need, version

END = {"type": "end"}
TIMEOUT = 2  # of a call, by default
SLACK = 1  # for a busy machine
AWAY = (ConnectionError, TimeoutError)  # what a caller gets
WHOLE_AGAIN = 2  # seconds after Redis is back


@pytest.fixture
def own_redis():
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(own_redis):
    with RedisProxy(own_redis.port) as way:
        yield way


async def in_thread(function, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


class Numbered:
    """Sends numbered messages one after the other and knows which raised."""

    def __init__(self, send):
        self.send = send  # send(message) -> awaitable
        self.sent, self.raised, self.number = [], {}, 0

    async def one(self):
        number, self.number = self.number, self.number + 1
        try:
            await self.send({"type": "x", "n": number})
            self.sent.append(number)
            return True
        except AWAY as error:
            self.raised[number] = error
            return False


class Collected:
    """Everything that arrives on a channel, in its order."""

    def __init__(self, layer, channel):
        self.numbers = []
        self._task = asyncio.ensure_future(self._collect(layer, channel))

    async def _collect(self, layer, channel):
        while True:
            self.numbers.append((await layer.receive(channel))["n"])

    async def stop(self):
        if self._task.done():
            self._task.result()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def check(self, numbered, may_miss=0, in_order=True):
        """Each message whose send did not raise came once and in order; one whose send raised at most once."""
        counts = Counter(self.numbers)
        assert [number for number, count in counts.items() if count > 1] == []
        missing = [number for number in numbered.sent if number not in counts]
        assert len(missing) <= may_miss, f"lost in silence: {missing}"
        assert not in_order or self.numbers == sorted(self.numbers)
        assert set(self.numbers) <= set(numbered.sent) | set(numbered.raised)


async def test_killed_and_restarted(own_layers, own_redis):
    """What cannot be sent raises at once or within the timeout, with the address; groups are whole soon after Redis is
    back, without anybody joining again, for senders of both makes."""
    layers = own_layers([own_redis.url])
    reader, sender, stock = layers.open("ours"), layers.open("ours", "two"), layers.open("stock")
    channel = await reader.new_channel()
    groups = [f"room-{number}" for number in range(50)]
    for group in groups:
        await reader.group_add(group, channel)
    await sender.group_send("room-7", {"type": "x", "n": -1})
    assert await take(reader, channel) == {"type": "x", "n": -1}
    await in_thread(own_redis.kill)
    for layer in (reader, sender):
        for call in (layer.group_send("room-7", END), layer.send(f"specific.{'0' * 32}!x", END)):
            started = time.monotonic()
            with pytest.raises(AWAY, match=rf"127\.0\.0\.1:{own_redis.port}"):
                await call
            assert time.monotonic() - started < TIMEOUT + SLACK
    started = time.monotonic()
    await in_thread(own_redis.start_again)
    await until(
        lambda: len(own_redis.command("KEYS", "asgi:group:room-*")) == len(groups), "all groups are there", WHOLE_AGAIN
    )
    for number, layer in enumerate((stock, sender, reader)):
        await layer.group_send("room-7", {"type": "x", "n": number})
        assert await take(reader, channel) == {"type": "x", "n": number}
    assert time.monotonic() - started < WHOLE_AGAIN + SLACK


async def test_restarted_under_load(own_layers, own_redis):
    """A sender that always waits until its message arrived: what it loses without being told is at most what was in Redis
    at the moment of its death."""
    layers = own_layers([own_redis.url])
    readers = [layers.open("ours"), layers.open("ours", "two")]
    sender = layers.open("ours", "three")
    channels = [await reader.new_channel() for reader in readers]
    for reader, channel in zip(readers, channels):
        await reader.group_add("room", channel)
    collected = [Collected(reader, channel) for reader, channel in zip(readers, channels)]
    numbered = Numbered(lambda message: sender.group_send("room", message))
    running = True

    async def load():
        while running:
            if await numbered.one():
                deadline = time.monotonic() + 0.5
                while any(numbered.sent[-1] not in one.numbers for one in collected) and time.monotonic() < deadline:
                    await asyncio.sleep(0.001)
            else:
                await asyncio.sleep(0.005)

    loading = asyncio.ensure_future(load())
    for _ in range(2):
        start = len(numbered.sent)
        await until(lambda start=start: len(numbered.sent) > start + 30, "messages flow")
        await in_thread(own_redis.kill)
        raised = len(numbered.raised)
        await until(lambda raised=raised: len(numbered.raised) > raised, "senders are told")
        await in_thread(own_redis.start_again)
        back = numbered.number
        await until(
            lambda back=back: all(one.numbers and one.numbers[-1] >= back for one in collected),
            "messages arrive everywhere",
            WHOLE_AGAIN + SLACK,
        )
    running = False
    await loading
    counted = layers.nodes.get("three", {"hosts": layers.hosts}).stats()
    assert counted["failed_unavailable"] + counted["failed_timeout"] == len(numbered.raised)
    assert counted["group_sent"] == len(numbered.sent)
    for one in collected:
        await until(lambda one=one: one.numbers[-1] == numbered.sent[-1], "the last arrives")
        await one.stop()
        lost = [number for number in numbered.sent if number not in one.numbers]
        assert len(lost) <= 2, f"lost in silence: {lost} of {numbered.number}"
        assert len(one.numbers) == len(set(one.numbers))


async def test_stopped_redis_holds_nobody_up_for_long(own_layers, own_redis, redis):
    """SIGSTOP: connections are there and nobody answers."""
    layers = own_layers([own_redis.url])
    layer = layers.open("ours")
    other = layers.open("ours", hosts=[redis.url])  # the same node, another Redis
    channel, other_channel = await layer.new_channel(), await other.new_channel()
    await layer.group_add("room", channel)
    await other.group_add("room", other_channel)
    await layer.group_send("room", {"type": "warm"})
    assert await take(layer, channel) == {"type": "warm"}
    await other.group_send("room", {"type": "warm"})
    assert await take(other, other_channel) == {"type": "warm"}
    own_redis.pause()
    try:
        started = time.monotonic()
        calls = [
            layer.send("jobs", {"type": "x"}),
            layer.send(f"specific.{'0' * 32}!x", {"type": "x"}),
            layer.group_send("room", {"type": "x"}),
            layer.group_add("new-room", channel),
            layer.group_add("room", "jobs"),
            *(layer.group_send(f"many-{number}", {"type": "x"}) for number in range(100)),
        ]
        calls = [asyncio.ensure_future(call) for call in calls]
        slowest = 0
        while not all(call.done() for call in calls):
            before = time.monotonic()
            await other.group_send("room", {"type": "x"})
            await take(other, other_channel)
            slowest = max(slowest, time.monotonic() - before)
            assert time.monotonic() - started < TIMEOUT + SLACK, "calls wait for longer than their timeout"
            await asyncio.sleep(0.01)
        assert slowest < 0.5, "another Redis's callers were held up"
        assert time.monotonic() - started > TIMEOUT / 2
        for call in calls:
            assert isinstance(call.exception(), AWAY) and str(own_redis.port) in str(call.exception())
        assert await layer.new_channel()  # needs no Redis
    finally:
        own_redis.resume()

    async def is_sent():
        try:
            await layer.group_send("room", END)
        except AWAY:
            return False
        return True

    await until(is_sent, "Redis answers again", WHOLE_AGAIN + SLACK)
    got = []
    while (message := await take(layer, channel)) != END:
        got.append(message)
    assert got in ([], [{"type": "x"}]), "what timed out may have been sent, once"


async def test_timeout_is_a_setting(own_layers, own_redis):
    layers = own_layers([own_redis.url])
    layer = layers.open("ours", timeout=0.3)
    await layer.send("jobs", {"type": "x"})
    own_redis.pause()
    try:
        started = time.monotonic()
        with pytest.raises(AWAY, match=str(own_redis.port)):
            await layer.send("jobs", {"type": "x"})
        assert time.monotonic() - started < 0.3 + SLACK
    finally:
        own_redis.resume()


async def test_full_redis_is_told_and_recovers(own_layers, own_redis):
    layers = own_layers([own_redis.url])
    layer = layers.open("ours")
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_add("room", "jobs")
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    own_redis.command("CONFIG", "SET", "maxmemory", 1)
    for call in (
        layer.send("jobs", {"type": "x"}),
        layer.send(f"specific.{'0' * 32}!x", {"type": "x"}),
        layer.group_send("room", {"type": "x"}),
        layer.group_add("other", "jobs"),
        layer.group_add("new-room", channel),
    ):
        with pytest.raises(AWAY, match="OOM"):
            await call
    own_redis.command("CONFIG", "SET", "maxmemory", 0)
    await layer.group_add("new-room", channel)
    for group in ("room", "new-room"):
        await layer.group_send(group, {"type": group})
        assert await take(layer, channel) == {"type": group}
    assert await take(layer, "jobs") == {"type": "room"}


async def test_full_redis_still_gives_what_it_has(own_layers, own_redis):
    layers = own_layers([own_redis.url])
    layer, stock = layers.open("ours"), layers.open("stock")
    for number in range(3):
        await stock.send("jobs", {"type": "x", "n": number})
    own_redis.command("CONFIG", "SET", "maxmemory", 1)
    assert [(await take(layer, "jobs"))["n"] for _ in range(3)] == [0, 1, 2]


async def fastest(call, times=5):
    """Seconds of the fastest of some calls: what the machine does besides is not in it."""
    elapsed = []
    for _ in range(times):
        started = time.monotonic()
        await call()
        elapsed.append(time.monotonic() - started)
    return min(elapsed)


async def test_long_way_to_redis(own_layers, proxy):
    """50 ms each way: one round trip a send, two a group_send, and calls travel side by side."""
    proxy.delay = 0.05
    layers = own_layers([proxy.url])
    sender, reader = layers.open("ours", "two"), layers.open("ours")
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    await sender.send(channel, {"type": "x", "n": 0})
    assert 0.1 <= await fastest(lambda: sender.send(channel, {"type": "x", "n": 1})) < 0.2
    assert 0.1 <= await fastest(lambda: sender.group_send("room", {"type": "x", "n": 2})) < 0.3
    started = time.monotonic()
    await asyncio.gather(*(sender.send(channel, {"type": "x", "n": number}) for number in range(3, 53)))
    assert time.monotonic() - started < 1
    numbers = [(await take(reader, channel))["n"] for _ in range(1 + 5 + 5 + 50)]
    assert numbers == [0] + [1] * 5 + [2] * 5 + list(range(3, 53))


async def test_narrow_way_to_redis(own_layers, proxy):
    """Answers and requests in pieces of one byte."""
    layers = own_layers([proxy.url])
    sender, reader = layers.open("ours", "two"), layers.open("ours")
    channel = await reader.new_channel()
    proxy.piece = 1
    await reader.group_add("room", channel)
    for number in range(10):
        await sender.group_send("room", {"type": "x", "n": number, "text": "\u00fc" * 10 * number})
        assert await take(reader, channel) == {"type": "x", "n": number, "text": "\u00fc" * 10 * number}
    proxy.piece = 333
    await sender.send(channel, {"type": "x", "bytes": bytes(100_000)})
    assert await take(reader, channel) == {"type": "x", "bytes": bytes(100_000)}


@pytest.mark.parametrize("channel_is", ["specific", "normal"])
async def test_connections_killed_in_a_loop(own_layers, own_redis, channel_is):
    """CLIENT KILL of everybody, again and again: nothing that was sent is lost, nothing comes twice."""
    is_safe = channel_is == "normal" or version() >= (6, 0)
    need(is_safe, "CLIENT TRACKING: what BZPOPMIN gives is lost with the connection")
    layers = own_layers([own_redis.url])
    sender, reader = layers.open("ours", "two"), layers.open("ours")
    channel = await reader.new_channel() if channel_is == "specific" else "jobs"
    collected = Collected(reader, channel)
    numbered = Numbered(lambda message: sender.send(channel, message))
    for _ in range(25):
        for _ in range(10):
            await numbered.one()
        await in_thread(own_redis.kill_clients)
    await until(numbered.one, "messages can be sent")
    await until(lambda: set(numbered.sent) <= set(collected.numbers), "all arrive")
    await collected.stop()
    # What Redis gave out to a connection that was cut is found again behind what came meanwhile.
    collected.check(numbered, in_order=channel_is == "specific")
    assert len(numbered.sent) > 100


async def test_way_cut_in_a_loop(own_layers, proxy):
    """What Redis had given out and the cut swallowed is lost, and no more than that; nothing comes twice, and groups and
    senders are there again each time."""
    layers = own_layers([proxy.url])
    sender, reader = layers.open("ours", "two"), layers.open("ours")
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    collected = Collected(reader, channel)
    numbered = Numbered(lambda message: sender.group_send("room", message))
    cuts = 15
    for _ in range(cuts):
        for _ in range(10):
            await numbered.one()
        await in_thread(proxy.cut)
        await until(numbered.one, "messages can be sent", WHOLE_AGAIN + SLACK)
    await until(lambda: numbered.sent[-1] in collected.numbers, "the last arrives")
    await collected.stop()
    collected.check(numbered, may_miss=cuts)


async def test_stuck_way_to_redis(own_layers, proxy):
    """Not even a reset tells: what waits is given up, and a new connection is tried."""
    layers = own_layers([proxy.url])
    sender, reader = layers.open("ours", "two"), layers.open("ours")
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    proxy.hold()
    started = time.monotonic()
    with pytest.raises(AWAY, match=str(proxy.port)):
        await sender.group_send("room", {"type": "x"})
    assert time.monotonic() - started < TIMEOUT + SLACK
    proxy.release()
    numbered = Numbered(lambda message: sender.group_send("room", message))
    await until(numbered.one, "messages can be sent", WHOLE_AGAIN + SLACK)
    while (await take(reader, channel)).get("n") != numbered.sent[-1]:
        pass


async def test_node_that_dies_takes_its_members_with_it(own_layers, own_redis):
    """wire-format §12.3/4: its neighbours sweep its memberships, sooner or later; a new node of the same socket serves the
    same processes, which need not do anything."""
    layers = own_layers([own_redis.url])
    reader, sender = layers.open("ours"), layers.open("stock")
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    receiving = asyncio.ensure_future(take(reader, channel))
    node = layers.nodes.get("one", {"hosts": layers.hosts})
    node.kill()
    await in_thread(node.start_again)
    await until(lambda: own_redis.command("ZCARD", "asgi:group:room") >= 1, "the process has joined again")
    number = 0
    while not receiving.done():
        number += 1
        await sender.group_send("room", {"type": "x", "n": number})
        await asyncio.sleep(0.02)
    assert (await receiving)["type"] == "x"
