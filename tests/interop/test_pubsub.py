# SPDX-License-Identifier: BSD-3-Clause
"""channels_redis.pubsub and the pubsub backend of channelsd with each other: nothing is stored, everything is published."""

import asyncio

import pytest
from layer_rig import keys, take, take_until, until
from redis_server import RedisServer

END = {"type": "end"}
OURS = {"backend": "pubsub"}
PAIRS = ["stock-to-stock", "stock-to-ours", "ours-to-stock", "ours-to-ours", "ours-beside"]
every_pair = pytest.mark.parametrize("kind", PAIRS)


@pytest.fixture
def pair(layers):
    def make(kind, **config):
        sender, _, reader = kind.replace("-beside", "-to-ours").partition("-to-")
        opened = []
        for who, node in ((sender, "one" if kind.endswith("-beside") else "two"), (reader, "one")):
            more = {"backend": "pubsub"} if who == "ours" else {}
            opened.append(layers.open("stock-pubsub" if who == "stock" else "ours", node, **more, **config))
        return opened

    return make


@every_pair
async def test_messages_arrive_as_they_were_sent(pair, kind):
    sender, reader = pair(kind)
    channel = await reader.new_channel()
    message = {"type": "x", "text": "\u2713", "bytes": bytes(range(256)), "n": [1, -1, 2**63, 1.5, None, {"": []}]}
    await sender.send(channel, message)
    assert await take(reader, channel) == message
    await reader.group_add("room", channel)
    await sender.group_send("room", message)
    assert await take(reader, channel) == message


@every_pair
async def test_group_members_get_it_once_and_who_left_does_not(pair, kind):
    sender, reader = pair(kind)
    channels = [await reader.new_channel() for _ in range(3)]
    for channel in channels:
        await reader.group_add("room", channel)
        await reader.group_add("room", channel)
    await reader.group_discard("room", channels[2])
    await sender.group_send("room", {"type": "x"})
    for channel in channels:
        await sender.send(channel, END)
    got = [await take_until(reader, channel, END) for channel in channels]
    assert got == [[{"type": "x"}], [{"type": "x"}], []]


@every_pair
async def test_messages_of_one_sender_arrive_in_order(pair, kind):
    sender, reader = pair(kind)
    channel = await reader.new_channel()
    for number in range(200):
        await sender.send(channel, {"type": "x", "n": number})
    assert [(await take(reader, channel))["n"] for _ in range(200)] == list(range(200))


@pytest.mark.parametrize("kind", ["stock-to-ours", "ours-to-stock"])
async def test_encrypted_and_with_a_prefix(pair, kind):
    pytest.importorskip("channels_redis.serializers", reason="this channels_redis.pubsub does not encrypt")
    config = {"symmetric_encryption_keys": ["new", "old"], "prefix": "my-own:"}
    sender, reader = pair(kind, **config)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    await sender.send(channel, {"type": "x"})
    assert await take(reader, channel) == {"type": "x"}
    await sender.group_send("room", END)
    assert await take(reader, channel) == END


async def test_redis_is_asked_once_for_a_group(pair, redis):
    """One subscription for all of a node's clients, and one command for a message to them."""
    sender, reader = pair("ours-to-ours")
    channels = [await reader.new_channel() for _ in range(50)]
    await sender.new_channel()
    await until(lambda: redis.command("PUBSUB", "NUMSUB", "asgichannelsd:nodes")[1] >= 2, "both nodes are there")
    redis.command("CONFIG", "RESETSTAT")
    await asyncio.gather(*(reader.group_add("room", channel) for channel in channels))
    await sender.group_send("room", END)
    assert await asyncio.gather(*(take(reader, channel) for channel in channels)) == [END] * 50
    calls = redis.calls()
    assert calls["subscribe"] == 1 and calls["publish"] == 1
    assert redis.command("PUBSUB", "CHANNELS", "asgi__group__*") == ["asgi__group__room"]
    await asyncio.gather(*(reader.group_discard("room", channel) for channel in channels))
    await until(lambda: redis.command("PUBSUB", "CHANNELS", "asgi__group__*") == [], "the subscription is gone")
    assert keys(redis) == []


async def test_what_does_not_decode_is_passed_over(pair, redis):
    _, reader = pair("ours-beside")
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    for payload in (b"", b"\xc1", b"\x93\x01\x02", b"\x81\xa1", b"text", b"\x81\x01\x02"):
        redis.command("PUBLISH", channel, payload)
        redis.command("PUBLISH", "asgi__group__room", payload)
    redis.command("PUBLISH", channel, b"\x81\xa4type\xa3end")
    assert await take(reader, channel) == END


async def test_connections_killed_and_the_groups_are_there_again(pair, redis):
    sender, reader = pair("ours-to-ours")
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    await sender.group_send("room", {"type": "x"})
    assert await take(reader, channel) == {"type": "x"}
    await asyncio.get_running_loop().run_in_executor(None, redis.kill_clients)
    await until(lambda: redis.command("PUBSUB", "NUMSUB", "asgi__group__room")[1] == 1, "it is subscribed again")
    await sender.group_send("room", END)
    assert await take(reader, channel) == END


@pytest.mark.parametrize("kind", ["stock-to-ours", "ours-to-ours"])
async def test_a_channel_is_reached_as_soon_as_it_is_made(pair, kind):
    """Nothing is stored: new_channel() returns when Redis knows who listens. Each round is a layer with connections of its
    own, which are made in that very moment."""
    for number in range(10):
        sender, reader = pair(kind, prefix=f"round{number}")
        await sender.send("nobody", END)  # its connection is there
        channel = await reader.new_channel()
        await sender.send(channel, {"type": "x", "n": number})
        assert (await take(reader, channel))["n"] == number


@every_pair
async def test_a_normal_channel_is_received_by_whoever_asks(pair, redis, kind):
    sender, reader = pair(kind)
    jobs = f"jobs.{kind}"  # a node stays subscribed for a while
    receiving = asyncio.ensure_future(take(reader, jobs))
    await until(lambda: redis.command("PUBSUB", "NUMSUB", jobs)[1] == 1, "it is subscribed to")
    for number in range(3):
        await sender.send(jobs, {"type": "x", "n": number})
    received = [await receiving, await take(reader, jobs), await take(reader, jobs)]
    assert [message["n"] for message in received] == [0, 1, 2]


async def test_every_process_gets_what_is_sent_to_a_normal_channel(layers, redis):
    """Those of channels_redis, and each node."""
    readers = [
        layers.open("stock-pubsub"),
        layers.open("ours", "one", backend="pubsub"),
        layers.open("ours", "two", backend="pubsub"),
    ]
    receiving = [asyncio.ensure_future(take(reader, "jobs.everywhere")) for reader in readers]
    await until(lambda: redis.command("PUBSUB", "NUMSUB", "jobs.everywhere")[1] == 3, "all are subscribed")
    await readers[1].send("jobs.everywhere", END)
    assert await asyncio.gather(*receiving) == [END] * 3


@pytest.mark.parametrize("who", ["stock-pubsub", "ours"])
async def test_only_own_channels_are_added_to_groups(layers, who):
    """channels_redis raises RuntimeError, and so does channelsd (its error is one). Discarding is no error with either."""
    layer = layers.open(who, **({"backend": "pubsub"} if who == "ours" else {}))
    await layer.new_channel()
    theirs = "asgispecific.0123456789abcdef0123456789abcdef"
    with pytest.raises(RuntimeError):
        await layer.group_add("room", theirs)
    await layer.group_discard("room", theirs)


@pytest.mark.parametrize("kind", [kind for kind in PAIRS if kind != "stock-to-stock"])
async def test_two_servers(own_layers, kind):
    """Channels and groups are on the server that the sender's checksum names."""
    with RedisServer() as first, RedisServer() as second:
        layers = own_layers([first.url, second.url])
        sender, _, reader = kind.replace("-beside", "-to-ours").partition("-to-")
        opened = [
            layers.open("stock-pubsub" if who == "stock" else "ours", node, **({} if who == "stock" else OURS))
            for who, node in ((sender, "one" if kind.endswith("-beside") else "two"), (reader, "one"))
        ]
        sender, reader = opened
        channels = [await reader.new_channel() for _ in range(20)]
        for number, channel in enumerate(channels):
            await reader.group_add(f"room{number}", channel)
            await sender.send(channel, {"type": "x", "n": number})
            assert (await take(reader, channel))["n"] == number
            await sender.group_send(f"room{number}", END)
            assert await take(reader, channel) == END
        await layers.close()
