# SPDX-License-Identifier: BSD-3-Clause
"""Redis lost under several nodes: one is back before the other, and what it sends meanwhile reaches everybody. Messages are
numbered, so that what is missing or came twice is known."""

import asyncio
from collections import Counter

import pytest
from layer_rig import take, until
from redis_proxy import RedisProxy
from redis_server import RedisServer

AWAY = (ConnectionError, TimeoutError)  # what a caller gets
WHOLE_AGAIN = 2  # seconds after Redis is back
SLACK = 1  # for a busy machine
HELD = 0.1  # seconds after which a call that nothing holds up was answered


@pytest.fixture
def own_redis():
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(own_redis):
    with RedisProxy(own_redis.port) as way:
        yield way


@pytest.fixture(params=["redis", "pubsub"])
def backend(request):
    return request.param


async def counted(own_redis, nodes):
    """Each node knows how many there are: it has looked since all were there. They look every second."""
    await until(lambda: own_redis.command("PUBSUB", "NUMSUB", "asgichannelsd:nodes")[1] == nodes, "all have subscribed")
    own_redis.command("CONFIG", "RESETSTAT")

    def looks():
        return sum(count for name, count in own_redis.calls().items() if name.startswith("pubsub"))

    await until(lambda: looks() > nodes, "all have looked")


async def in_thread(function, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


class Flow:
    """Numbered group_sends from one node, each of them a task, at a bounded rate and whatever becomes of those before."""

    PAUSE = 0.02

    def __init__(self, layer, name):
        self.layer, self.name = layer, name
        self.sent, self.raised, self.number = [], {}, 0
        self._calls = set()
        self._task = asyncio.ensure_future(self._run())

    async def _send(self, number):
        try:
            await self.layer.group_send("room", {"type": "x", "from": self.name, "n": number})
            self.sent.append(number)
        except AWAY as error:
            self.raised[number] = error

    async def _run(self):
        while True:
            call = asyncio.ensure_future(self._send(self.number))
            self.number += 1
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            await asyncio.sleep(self.PAUSE)

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._calls)


class Members:
    """Channels of one node in the group, and what each has received: {sender: Counter of numbers}."""

    def __init__(self, layer):
        self.layer = layer

    async def join(self, count, senders):
        self.channels = [await self.layer.new_channel() for _ in range(count)]
        for channel in self.channels:
            await self.layer.group_add("room", channel)
        self.got = [{sender: Counter() for sender in senders} for _ in self.channels]
        self._tasks = [asyncio.ensure_future(self._read(*pair)) for pair in zip(self.channels, self.got)]

    async def _read(self, channel, got):
        while True:
            message = await self.layer.receive(channel)
            got[message["from"]][message["n"]] += 1

    async def stop(self):
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_killed_while_two_nodes_send(own_layers, own_redis, backend):
    """Redis killed and back with nothing in it, five times. What was sent after its death and did not raise comes to every
    member of both nodes, once. What was in Redis at its death may be lost, and is little: with pubsub, what it was just
    writing to one after the other."""
    layers = own_layers([own_redis.url])
    names = ["one", "two"]
    nodes = {name: layers.open("ours", name, backend=backend) for name in names}
    members = [Members(layer) for layer in nodes.values()]
    for one in members:
        await one.join(50, names)
    if backend == "pubsub":
        await counted(own_redis, len(names))
    flows = {name: Flow(layers.open("ours", name, backend=backend), name) for name in names}
    everybody = [got for one in members for got in one.got]

    def all_have(number_of):
        """Whether each member has a message from each sender that is no older than that."""
        return all(max(got[name], default=-1) >= number_of[name] for got in everybody for name in names)

    dying = {name: [] for name in names}  # (number of the first call after the one before, after this death)
    for _ in range(5):
        goal = {name: flow.number + 20 for name, flow in flows.items()}
        await until(lambda goal=goal: all_have(goal), "messages flow")
        before = {name: flow.number for name, flow in flows.items()}
        await in_thread(own_redis.kill)
        for name, flow in flows.items():
            dying[name].append((before[name], flow.number))
        await in_thread(own_redis.start_again)
        back = {name: flow.number for name, flow in flows.items()}
        await until(lambda back=back: all_have(back), "messages arrive everywhere", WHOLE_AGAIN + SLACK)
    for flow in flows.values():
        await flow.stop()
    last = {name: max(flow.sent) for name, flow in flows.items()}
    await until(lambda: all_have(last), "the last arrive")
    for one in members:
        await one.stop()
    for name, flow in flows.items():
        sent, raised = set(flow.sent), set(flow.raised)
        assert len(sent) + len(raised) == flow.number
        for got in everybody:
            counts = got[name]
            assert set(counts) <= sent | raised
            assert [number for number, count in counts.items() if count > 1] == []
            lost = sorted(sent - set(counts))
            # Messages leave Redis within moments: what dies with it was sent just before.
            few = 10 if backend == "redis" else 2
            in_redis = [number for number in lost if any(start - few <= number < end for start, end in dying[name])]
            assert lost == in_redis, f"lost in silence: {lost} of {flow.number}, deaths at {dying[name]}"
            assert len(lost) <= 5 * few
        stats = layers.nodes.get(name, {"hosts": layers.hosts}).stats({"hosts": layers.hosts, "backend": backend})
        assert stats["failed_unavailable"] + stats["failed_timeout"] == len(raised)
        assert stats["group_sent"] == len(sent)


async def away_and_back(proxy, own_redis, first):
    """Redis is killed and is back for those who do not go through the proxy, which `first` does not."""
    proxy.hold()
    await in_thread(own_redis.kill)
    await in_thread(own_redis.start_again)
    await first.group_add("waits-for-redis", await first.new_channel())


@pytest.mark.parametrize("redis_is", ["empty", "old"])
async def test_sent_before_another_node_is_back(own_layers, own_redis, proxy, redis_is):
    """The first node's groups are whole while the other's way to Redis is still closed. "old": Redis has what it wrote to
    its disk before the other joined, when it knew both."""
    layers = own_layers([own_redis.url])
    sender, reader = layers.open("ours"), layers.open("ours", "two", hosts=[proxy.url])
    channels = [await layer.new_channel() for layer in (sender, reader)]
    await sender.group_add("room", channels[0])
    await reader.send("jobs", {"type": "x"})
    await until(lambda: own_redis.command("ZCARD", "asgi:channelsd:nodes") == 2, "both are known")
    if redis_is == "old":
        own_redis.command("SAVE")
    await reader.group_add("room", channels[1])
    await sender.group_send("room", {"type": "x", "n": -1})
    for layer, channel in zip((sender, reader), channels):
        assert (await take(layer, channel))["n"] == -1
    for number in range(3):
        await away_and_back(proxy, own_redis, sender)
        sending = asyncio.ensure_future(sender.group_send("room", {"type": "x", "n": number}))
        done, _ = await asyncio.wait([sending], timeout=HELD)
        proxy.release()
        assert not done, "it was sent to a part of the group"
        await sending
        for layer, channel in zip((sender, reader), channels):
            assert await take(layer, channel) == {"type": "x", "n": number}


async def test_another_node_does_not_come_back(own_layers, own_redis, proxy):
    """It is waited for, but not for long; single channels and joins wait for nobody."""
    layers = own_layers([own_redis.url])
    layer, other = layers.open("ours"), layers.open("ours", "two", hosts=[proxy.url])
    channel, other_channel = await layer.new_channel(), await other.new_channel()
    await layer.group_add("room", channel)
    await other.group_add("room", other_channel)
    await layer.group_send("room", {"type": "x", "n": 0})  # from now on it is known that there are two
    assert (await take(layer, channel))["n"] == 0
    await away_and_back(proxy, own_redis, layer)
    sending = asyncio.ensure_future(layer.group_send("room", {"type": "x", "n": 1}))
    await layer.group_add("second", channel)
    await layer.send("jobs", {"type": "x", "n": 2})
    assert await take(layer, "jobs") == {"type": "x", "n": 2}
    assert not sending.done()
    await asyncio.wait_for(sending, WHOLE_AGAIN + SLACK)
    assert await take(layer, channel) == {"type": "x", "n": 1}
    await layer.group_send("second", {"type": "x", "n": 3})
    assert await take(layer, channel) == {"type": "x", "n": 3}


async def test_not_back_within_the_timeout(own_layers, own_redis, proxy):
    """What is held for longer than its caller waits was not sent, and the error says so."""
    layers = own_layers([own_redis.url])
    layer, other = layers.open("ours", timeout=0.4), layers.open("ours", "two", hosts=[proxy.url])
    channel, other_channel = await layer.new_channel(), await other.new_channel()
    await layer.group_add("room", channel)
    await other.group_add("room", other_channel)
    await layer.group_send("room", {"type": "x", "n": 0})
    assert (await take(layer, channel))["n"] == 0
    await away_and_back(proxy, own_redis, layer)
    with pytest.raises(ConnectionError, match=r"not all nodes.*was not sent") as raised:
        await layer.group_send("room", {"type": "x", "n": 1})
    assert raised.value.maybe_sent is False

    async def is_sent():
        try:
            await layer.group_send("room", {"type": "x", "n": 2})
        except AWAY:
            return False
        return True

    await until(is_sent, "it goes on without the other", WHOLE_AGAIN + SLACK)
    assert await take(layer, channel) == {"type": "x", "n": 2}


# ---- pubsub: nothing is stored, so that whoever is not back when something is published does not get it ----

PUBSUB = {"backend": "pubsub"}


async def two_nodes(own_layers, own_redis, proxy, **config):
    """A layer, and one of another node behind the proxy, which know of each other; each with a channel in the group."""
    layers = own_layers([own_redis.url])
    pair = layers.open("ours", **PUBSUB, **config), layers.open("ours", "two", hosts=[proxy.url], **PUBSUB)
    channels = [await layer.new_channel() for layer in pair]
    for layer, channel in zip(pair, channels):
        await layer.group_add("room", channel)
    await counted(own_redis, 2)
    await pair[0].group_send("room", {"type": "x", "n": -1})
    for layer, channel in zip(pair, channels):
        assert (await take(layer, channel))["n"] == -1
    return pair, channels


async def cut_and_back(proxy, own_redis, first):
    """Every connection is cut, and those that do not go through the proxy are back; it is still the same Redis."""
    proxy.hold()
    await in_thread(own_redis.kill_clients)
    await first.group_add("waits-for-redis", await first.new_channel())


@pytest.mark.parametrize("lose", [away_and_back, cut_and_back])
async def test_published_before_another_node_is_back(own_layers, own_redis, proxy, lose):
    """To a group, to a channel of the other node, and to a normal channel that it receives from."""
    (sender, reader), channels = await two_nodes(own_layers, own_redis, proxy)
    for number in range(3):
        receiving = asyncio.ensure_future(take(reader, "jobs"))
        await until(lambda: own_redis.command("PUBSUB", "NUMSUB", "jobs")[1] == 1, "it is subscribed to")
        await lose(proxy, own_redis, sender)
        group = asyncio.ensure_future(sender.group_send("room", {"type": "x", "n": number}))
        singles = [
            asyncio.ensure_future(sender.send(name, {"type": "y", "n": number})) for name in (channels[1], "jobs")
        ]
        done, _ = await asyncio.wait([group, *singles], timeout=HELD)
        proxy.release()
        assert not done, "it was published, and the other node was not there"
        await asyncio.gather(group, *singles)
        assert await take(sender, channels[0]) == {"type": "x", "n": number}
        assert await take(reader, channels[1]) == {"type": "x", "n": number}
        assert await take(reader, channels[1]) == {"type": "y", "n": number}
        assert await receiving == {"type": "y", "n": number}


async def test_a_subscriber_does_not_come_back(own_layers, own_redis, proxy):
    """It is waited for, but not for long, and only once."""
    (layer, _), (channel, _) = await two_nodes(own_layers, own_redis, proxy)
    await away_and_back(proxy, own_redis, layer)
    sending = asyncio.ensure_future(layer.group_send("room", {"type": "x", "n": 1}))
    done, _ = await asyncio.wait([sending], timeout=HELD)
    assert not done
    await asyncio.wait_for(sending, WHOLE_AGAIN + SLACK)
    assert await take(layer, channel) == {"type": "x", "n": 1}
    for number in range(2, 12):
        await asyncio.wait_for(layer.group_send("room", {"type": "x", "n": number}), WHOLE_AGAIN / 2)
        assert await take(layer, channel) == {"type": "x", "n": number}


async def test_a_subscriber_is_not_back_within_the_timeout(own_layers, own_redis, proxy):
    (layer, _), (channel, other) = await two_nodes(own_layers, own_redis, proxy, timeout=0.4)
    await away_and_back(proxy, own_redis, layer)
    for sending in (layer.group_send("room", {"type": "x", "n": 1}), layer.send(other, {"type": "x", "n": 1})):
        with pytest.raises(ConnectionError, match=r"not all nodes.*was not sent") as raised:
            await sending
        assert raised.value.maybe_sent is False

    async def is_sent():
        try:
            await layer.group_send("room", {"type": "x", "n": 2})
        except AWAY:
            return False
        return True

    await until(is_sent, "it goes on without the other", WHOLE_AGAIN + SLACK)
    assert await take(layer, channel) == {"type": "x", "n": 2}


async def test_only_the_own_connections_are_cut(own_layers, own_redis, proxy):
    """The other node never left: what is sent waits for the own connections, and then for nobody."""
    layers = own_layers([own_redis.url])
    (reader, sender), channels = await two_nodes(lambda hosts: layers, own_redis, proxy)
    node = layers.nodes.get("two", {"hosts": layers.hosts})
    for number in range(5):
        await in_thread(proxy.cut)
        # What is on its way when they are cut may be lost; this is about what is sent when both are there again.
        await until(
            lambda back=2 * number + 2: node.stats({"hosts": [proxy.url], **PUBSUB})["reconnects"] == back, "it is back"
        )
        await asyncio.wait_for(sender.group_send("room", {"type": "x", "n": number}), WHOLE_AGAIN / 4)
        for layer, channel in zip((reader, sender), channels):
            assert await take(layer, channel) == {"type": "x", "n": number}
