# SPDX-License-Identifier: BSD-3-Clause
"""Many groups and many members: all are served, and nothing is left behind."""

import asyncio
from functools import partial

import pytest
from layer_rig import keys, long_dead, take, take_until, until
from redis_server import RedisServer

END = {"type": "end"}


@pytest.fixture
def own_redis():
    with RedisServer() as server:
        yield server


async def in_parts(calls, size=500):
    """Awaits many calls, some hundred at a time."""
    calls = list(calls)
    for at in range(0, len(calls), size):
        await asyncio.gather(*(call() for call in calls[at : at + size]))


@pytest.mark.timeout(90)
async def test_ten_thousand_groups(own_layers, own_redis):
    layers = own_layers([own_redis.url])
    layer, ours, stock = layers.open("ours"), layers.open("ours", "two"), layers.open("stock")
    channels = [await layer.new_channel() for _ in range(10)]
    groups = [f"room.{number}" for number in range(10_000)]
    await in_parts(partial(layer.group_add, group, channels[number % 10]) for number, group in enumerate(groups))
    assert len(own_redis.command("KEYS", "asgi:group:*")) == 10_000
    for number in (0, 1, 5000, 7777, 9999):
        for sender in (stock, ours, layer):
            await sender.group_send(groups[number], {"type": "x", "n": number})
            assert await take(layer, channels[number % 10]) == {"type": "x", "n": number}
    await in_parts(partial(layer.group_discard, group, channels[number % 10]) for number, group in enumerate(groups))
    await until(lambda: not keys(own_redis), "nothing is left")
    await ours.send(channels[0], END)
    assert await take_until(layer, channels[0], END) == []


@pytest.mark.timeout(90)
async def test_hundred_thousand_members_join_and_leave(own_layers, own_redis):
    """A thousand channels in a hundred groups, on two nodes. Redis hears of the first and of the last only."""
    layers = own_layers([own_redis.url])
    nodes = [layers.open("ours"), layers.open("ours", "two")]
    stock = layers.open("stock")
    members = [(layer, [await layer.new_channel() for _ in range(500)]) for layer in nodes]
    groups = [f"room.{number}" for number in range(100)]
    own_redis.command("CONFIG", "RESETSTAT")
    for layer, channels in members:
        await in_parts(partial(layer.group_add, group, channel) for group in groups for channel in channels)
    calls = own_redis.calls()
    assert calls["zadd"] < 3 * len(groups) * len(nodes), calls
    assert all(own_redis.command("ZCARD", f"asgi:group:{group}") == 2 for group in groups)
    await stock.group_send(groups[50], {"type": "x"})
    for layer, channels in members:
        assert await asyncio.gather(*(take(layer, channel) for channel in channels)) == [{"type": "x"}] * 500
    for layer, channels in members:
        await in_parts(partial(layer.group_discard, group, channel) for group in groups for channel in channels)
    await until(lambda: not keys(own_redis), "nothing is left")
    await stock.group_send(groups[50], {"type": "y"})
    await stock.send(members[0][1][0], END)
    assert await take_until(members[0][0], members[0][1][0], END) == []


@pytest.mark.parametrize("ending", ["close", "kill"])
async def test_process_that_ends_leaves_its_groups(own_layers, own_redis, ending):
    """Whether it says goodbye or not: its node knows."""
    layers = own_layers([own_redis.url])
    puppet, stays = await layers.puppet("ours"), layers.open("ours")
    own, channel = await stays.new_channel(), await puppet.new_channel()
    groups = [f"room.{number}" for number in range(200)]
    await asyncio.gather(*(puppet.group_add(group, channel) for group in groups))
    await stays.group_add(groups[0], own)
    assert len(keys(own_redis)) == 200
    await getattr(puppet, ending)()
    await until(lambda: keys(own_redis) == [f"asgi:group:{groups[0]}"], "only the other's group is left")
    await stays.group_send(groups[0], END)
    assert await take(stays, own) == END


async def test_node_that_ends_leaves_nothing(own_layers, own_redis):
    layers = own_layers([own_redis.url])
    layer = layers.open("ours", "two")
    channel = await layer.new_channel()
    for number in range(50):
        await layer.group_add(f"room.{number}", channel)
    node = layers.nodes.get("two", {"hosts": layers.hosts})
    await asyncio.get_running_loop().run_in_executor(None, node.stop)
    assert own_redis.command("KEYS", "*") == []


async def test_dead_node_is_swept_by_its_neighbour(own_layers, own_redis):
    """Killed: its memberships are nobody's, and are taken out by another node when it has not been heard of for long."""
    layers = own_layers([own_redis.url])
    dead, alive = layers.open("ours", "two"), layers.open("ours")
    channel, own = await dead.new_channel(), await alive.new_channel()
    for layer, member in ((dead, channel), (alive, own)):
        await layer.group_add("room", member)
    await dead.group_add("room-of-the-dead", channel)
    assert own_redis.command("ZCARD", "asgi:group:room") == 2
    layers.nodes.get("two", {"hosts": layers.hosts}).kill()
    long_dead(own_redis, channel)
    await until(lambda: keys(own_redis) == ["asgi:group:room"], "only the living node's group is left")
    assert own_redis.command("ZCARD", "asgi:group:room") == 1
    await layers.open("stock").group_send("room", END)
    assert await take(alive, own) == END
