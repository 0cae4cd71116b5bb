# SPDX-License-Identifier: BSD-3-Clause
"""Two and three Redis servers side by side (wire-format §5)."""

import asyncio
import contextlib
import zlib
from collections import Counter

import pytest
from channels.exceptions import ChannelFull
from layer_rig import take, take_until
from redis_server import RedisServer

END = {"type": "end"}
KINDS = ["stock-to-stock", "stock-to-ours", "ours-to-stock", "ours-to-ours", "ours-beside"]
OURS = ["stock-to-ours", "ours-to-ours", "ours-beside"]


def shard(name, count):
    return int((zlib.crc32(name.encode()) & 0xFFF) / (4096.0 / count))


@pytest.fixture(params=[2, 3])
def shards(request):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RedisServer()) for _ in range(request.param)]


@pytest.fixture
def sharded(own_layers, shards):
    return own_layers([server.url for server in shards])


def test_names_are_spread_by_checksum():
    assert [shard(name, 3) for name in ("room", "chat_lobby", "a", "lobby")] == [0, 1, 2, 1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stock-to-stock"])
async def test_every_direct_message_arrives(sharded, kind):
    """channels_redis sends by the full name and reads by its first part: to itself about half are lost. A node of channelsd
    reads on every server, and sends to the one that is read."""
    sender, reader = sharded.pair(kind)
    channels = [await reader.new_channel() for _ in range(40)]
    for number, channel in enumerate(channels):
        await sender.send(channel, {"type": "x", "n": number})
    received = await asyncio.gather(*(take(reader, channel) for channel in channels))
    assert [message["n"] for message in received] == list(range(40))


async def test_channels_redis_itself_loses_direct_messages(sharded, shards):
    """So that the test above is one: its messages do lie where channels_redis does not look."""
    sender, reader = sharded.pair("stock-to-stock")
    channels = [await reader.new_channel() for _ in range(40)]
    for channel in channels:
        await sender.send(channel, {"type": "x"})
    key = "asgi" + channels[0].partition("!")[0] + "!"
    read = shard(key.removeprefix("asgi"), len(shards))
    lost = sum(server.command("ZCARD", key) for number, server in enumerate(shards) if number != read)
    assert lost == sum(shard(channel, len(shards)) != read for channel in channels) > 0


@pytest.mark.parametrize("kind", KINDS)
async def test_groups_of_every_server(sharded, shards, kind):
    sender, reader = sharded.pair(kind)
    other = sharded.open("stock")
    channel, elsewhere = await reader.new_channel(), await other.new_channel()
    groups = [f"room-{number}" for number in range(12)]
    assert {shard(group, len(shards)) for group in groups} == set(range(len(shards)))
    for group in groups:
        await reader.group_add(group, channel)
        await other.group_add(group, elsewhere)
        await sender.group_send(group, {"type": group})
        assert await take(reader, channel) == {"type": group}
        assert await take(other, elsewhere) == {"type": group}
    for group in groups:
        assert shards[shard(group, len(shards))].command("ZCARD", f"asgi:group:{group}") == 2
        await reader.group_discard(group, channel)
    for group in groups:
        await sender.group_send(group, {"type": group})
        assert await take(other, elsewhere) == {"type": group}
    await other.group_add("last", elsewhere)
    await reader.group_add("last", channel)
    await sender.group_send("last", END)
    assert await take_until(reader, channel, END) == []


@pytest.mark.parametrize("kind", OURS)
async def test_normal_channels_are_read_on_every_server(sharded, kind):
    """channels_redis waits at one server at a time (wire-format §5): a message at another may stay there."""
    sender, reader = sharded.pair(kind)
    for number in range(20):
        await sender.send("jobs", {"type": "x", "n": number})
    received = [(await take(reader, "jobs"))["n"] for _ in range(20)]
    assert sorted(received) == list(range(20))


async def test_normal_messages_of_ours_go_round(sharded, shards):
    """Readers of channels_redis go round too."""
    sender = sharded.open("ours")
    for number in range(6):
        await sender.send("jobs", {"type": "x", "n": number})
    assert [server.command("ZCARD", "asgijobs") for server in shards] == [6 // len(shards)] * len(shards)


async def test_group_send_stores_with_each_key_where_its_reader_looks(sharded, shards):
    counts = {}
    names = [f"specific.{number:032x}!x" for number in range(12)]
    for who in ("stock", "ours"):
        layer = sharded.open(who)
        for name in names:
            await layer.group_add("room", name)
        await layer.group_send("room", {"type": "x"})
        counts[who] = Counter(
            number for number, server in enumerate(shards) for _ in server.command("KEYS", "asgispecific*")
        )
        for name in names:
            nonlocal_name = name.partition("!")[0] + "!"
            assert shards[shard(nonlocal_name, len(shards))].command("ZCARD", "asgi" + nonlocal_name) == 1
        for server in shards:
            server.command("FLUSHALL")
    assert counts["ours"] == counts["stock"] and len(counts["ours"]) == len(shards)


async def test_one_of_two_servers_away(own_layers):
    """What lives on the other goes on; what lives on that one raises; both are whole when it is back."""
    with RedisServer() as one, RedisServer() as two:
        layers = own_layers([one.url, two.url])
        layer, sender = layers.open("ours"), layers.open("ours", "two")
        channel = await layer.new_channel()
        by_shard = [next(f"r{n}" for n in range(100) if shard(f"r{n}", 2) == index) for index in range(2)]
        for group in by_shard:
            await layer.group_add(group, channel)
        node_shard = shard(channel.partition("!")[0] + "!", 2)
        two_is_down = [one, two][1 - node_shard]  # the node's own key stays readable
        two_is_down.kill()
        up, down = by_shard[node_shard], by_shard[1 - node_shard]
        await sender.group_send(up, {"type": "up"})
        assert await take(layer, channel) == {"type": "up"}
        with pytest.raises(Exception, match=str(two_is_down.port)) as error:
            await sender.group_send(down, {"type": "down"})
        assert not isinstance(error.value, (ChannelFull, asyncio.TimeoutError))
        two_is_down.start_again()
        key = f"asgi:group:{down}"
        await asyncio.get_running_loop().run_in_executor(
            None, two_is_down.wait_until, lambda: two_is_down.command("EXISTS", key), "the group is whole again"
        )
        await sender.group_send(down, {"type": "down"})
        assert await take(layer, channel) == {"type": "down"}
