# SPDX-License-Identifier: BSD-3-Clause
"""channels_redis.pubsub and the pubsub backend of channelsd with each other: nothing is stored, everything is published."""

import asyncio

import pytest
from layer_rig import take, take_until, until

END = {"type": "end"}
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
    redis.command("CONFIG", "RESETSTAT")
    await asyncio.gather(*(reader.group_add("room", channel) for channel in channels))
    await sender.group_send("room", END)
    assert await asyncio.gather(*(take(reader, channel) for channel in channels)) == [END] * 50
    calls = redis.calls()
    assert calls["subscribe"] == 1 and calls["publish"] == 1
    assert redis.command("PUBSUB", "CHANNELS", "asgi__group__*") == ["asgi__group__room"]
    await asyncio.gather(*(reader.group_discard("room", channel) for channel in channels))
    await until(lambda: redis.command("PUBSUB", "CHANNELS", "asgi__group__*") == [], "the subscription is gone")
    assert redis.command("DBSIZE") == 0


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
