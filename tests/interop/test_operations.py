# SPDX-License-Identifier: BSD-3-Clause
"""What one layer sends the other receives: each operation, from channels_redis to channelsd and back."""

import asyncio
import struct

import pytest
from channels.exceptions import ChannelFull
from layer_rig import MIXED, PAIRS, keys, take, take_until

END = {"type": "end"}
every_pair = pytest.mark.parametrize("kind", PAIRS)
both = pytest.mark.parametrize("who", ["stock", "ours"])


def nested(levels):
    value = "bottom"
    for level in range(levels):
        value = {"in": value} if level % 2 else [value]
    return value


MESSAGES = {
    "text": {"type": "chat.message", "text": "plain, h\u00e9llo, \u2713, \U0001f600, \0, \ufeff"},
    "bytes": {"type": "bytes", "bytes": bytes(range(256)), "empty": b""},
    "integers": {"type": "n", "n": [0, -1, 127, 128, -32, -33, 2**16, 2**31, -(2**31), 2**63, -(2**63), 2**64 - 1]},
    "floats": {"type": "n", "n": [0.0, -0.0, 0.1, 1e300, 5e-324, float("inf"), float("-inf")]},
    "others": {"type": "o", "values": [None, True, False, [], {}, [[]], {"": ""}]},
    "many keys": {"type": "m", **{f"key {number}": number for number in range(70_000)}},
    "long": {"type": "l", "text": "\u00fc" * 70_000, "bytes": bytes(70_000), "list": list(range(70_000))},
    "deep": {"type": "d", "value": nested(400)},
    "bytes as keys": {"type": "k", b"\xff": 1, "text": {b"": 2}},
    "no type": {"text": "for whoever reads without a consumer"},
    "order of keys": {"z": 1, "type": "order", "a": 2},
}


@every_pair
@pytest.mark.parametrize("name", MESSAGES)
async def test_message_arrives_as_it_was_sent(layers, kind, name):
    sender, reader = layers.pair(kind)
    channel = await reader.new_channel()
    message = MESSAGES[name]
    await sender.send(channel, message)
    await sender.send("jobs.resize", message)
    await reader.group_add("room", channel)
    for received in (await take(reader, channel), await take(reader, "jobs.resize")):
        assert received == message
        assert list(received) == list(message)
    await sender.group_send("room", message)
    assert await take(reader, channel) == message


@every_pair
async def test_float_is_bit_for_bit_what_was_sent(layers, kind):
    sender, reader = layers.pair(kind)
    channel = await reader.new_channel()
    bits = ("7ff8000000000000", "7ff8000000000001", "8000000000000000")
    sent = [struct.unpack(">d", bytes.fromhex(one))[0] for one in bits]
    await sender.send(channel, {"type": "x", "values": sent})
    received = (await take(reader, channel))["values"]
    assert [struct.pack(">d", value) for value in received] == [struct.pack(">d", value) for value in sent]


@every_pair
async def test_messages_of_one_sender_arrive_in_order(layers, kind):
    sender, reader = layers.pair(kind, capacity=1000)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    for number in range(0, 300, 3):
        await sender.send(channel, {"type": "x", "n": number})
        await sender.group_send("room", {"type": "x", "n": number + 1})
        await sender.send(channel, {"type": "x", "n": number + 2})
    await sender.send(channel, END)
    assert [message["n"] for message in await take_until(reader, channel, END)] == list(range(300))


@every_pair
async def test_group_message_reaches_each_member_once_and_nobody_else(layers, kind):
    sender, reader = layers.pair(kind)
    inside = [await reader.new_channel() for _ in range(5)]
    outside = await reader.new_channel()
    for channel in inside:
        await reader.group_add("room", channel)
        await reader.group_add("room", channel)  # once more is no second membership
    await sender.group_send("room", {"type": "x", "n": 1})
    await sender.group_send("elsewhere", {"type": "x", "n": 2})
    for channel in [*inside, outside]:
        await sender.send(channel, END)
    for channel in inside:
        assert await take_until(reader, channel, END) == [{"type": "x", "n": 1}]
    assert await take_until(reader, outside, END) == []


@every_pair
async def test_who_left_a_group_gets_nothing_of_it(layers, kind):
    sender, reader = layers.pair(kind)
    stays, leaves = await reader.new_channel(), await reader.new_channel()
    for channel in (stays, leaves):
        await reader.group_add("room", channel)
    await reader.group_discard("room", leaves)
    await reader.group_discard("room", leaves)
    await reader.group_discard("nobody-is-here", leaves)
    await sender.group_send("room", {"type": "x"})
    for channel in (stays, leaves):
        await sender.send(channel, END)
    assert await take_until(reader, leaves, END) == []
    assert await take_until(reader, stays, END) == [{"type": "x"}]
    await reader.group_add("room", leaves)
    await sender.group_send("room", {"type": "again"})
    assert await take(reader, leaves) == {"type": "again"}


@every_pair
async def test_others_can_put_a_channel_into_a_group_and_take_it_out(layers, kind):
    """As a view does that lets a user's sockets into a room and throws them out."""
    manager, reader = layers.pair(kind)
    channel, other = await reader.new_channel(), await reader.new_channel()
    await manager.group_add("room", channel)
    await manager.group_add("room", channel)
    await manager.group_send("room", {"type": "x", "n": 1})
    await reader.group_send("room", {"type": "x", "n": 2})
    got = [await take(reader, channel), await take(reader, channel)]
    assert sorted(message["n"] for message in got) == [1, 2]
    await manager.group_discard("room", channel)
    for sender in (manager, reader):
        await sender.group_send("room", {"type": "x", "n": 3})
        await sender.send(channel, END)
        assert await take_until(reader, channel, END) == []
    await manager.group_add("room", other)
    await reader.group_discard("room", other)
    await manager.group_send("room", {"type": "x", "n": 4})
    await manager.send(other, END)
    assert await take_until(reader, other, END) == []


@every_pair
async def test_member_that_was_added_by_itself_and_by_another_is_one_member(layers, kind):
    other, reader = layers.pair(kind)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    await other.group_add("room", channel)
    for sender in (other, reader):
        await sender.group_send("room", {"type": "x"})
        await sender.send(channel, END)
        assert await take_until(reader, channel, END) == [{"type": "x"}]
    await reader.group_discard("room", channel)
    for sender in (other, reader):
        await sender.group_send("room", {"type": "y"})
        await sender.send(channel, END)
        assert await take_until(reader, channel, END) == []


@every_pair
async def test_discarding_somebody_elses_own_membership(layers, kind):
    """wire-format §12.1: the members of a channelsd node stand in Redis as one, so that channels_redis cannot take out a
    single one of them; channelsd can, wherever the channel is."""
    manager, reader = layers.pair(kind)
    channel, stays = await reader.new_channel(), await reader.new_channel()
    for member in (channel, stays):
        await reader.group_add("room", member)
    await manager.group_discard("room", channel)
    # What the manager sends comes behind what it said before.
    await manager.send(channel, END)
    assert await take_until(reader, channel, END) == []
    await manager.group_send("room", {"type": "x"})
    await manager.send(channel, END)
    assert await take_until(reader, channel, END) == ([{"type": "x"}] if kind == "stock-to-ours" else [])
    assert await take(reader, stays) == {"type": "x"}


@pytest.mark.parametrize("kind", ["stock-to-stock", "stock-to-ours", "ours-to-stock", "ours-to-ours"])
async def test_group_of_both_makes_and_of_normal_channels(layers, kind):
    """Members of three processes and a normal channel; each of the senders is a member too."""
    one, two = layers.pair(kind)
    third = layers.open("stock")
    members = [(layer, await layer.new_channel()) for layer in (one, two, third, one)]
    for layer, channel in members:
        await layer.group_add("room", channel)
    await third.group_add("room", "jobs.of-the-room")
    for number, (sender, _) in enumerate(members):
        message = {"type": "x", "n": number}
        await sender.group_send("room", message)
        for layer, channel in members:
            assert await take(layer, channel) == message
        assert await take(two, "jobs.of-the-room") == message


@every_pair
async def test_caller_keeps_its_message(layers, kind):
    sender, reader = layers.pair(kind)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    message = {"type": "x", "list": [1]}
    await sender.send(channel, message)
    await sender.group_send("room", message)
    assert message == {"type": "x", "list": [1]}
    for _ in range(2):
        received = await take(reader, channel)
        received["list"].append(2)
    assert message == {"type": "x", "list": [1]}


@every_pair
async def test_longest_names_and_all_characters(layers, kind):
    sender, reader = layers.pair(kind)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    channel = await reader.new_channel()
    for group in ("a", "-", "g" * 55, "g" * 56, "g" * 99, alphabet, alphabet[::-1] + "." * 34):
        await reader.group_add(group, channel)
        await sender.group_send(group, {"type": group})
        assert await take(reader, channel) == {"type": group}
        await reader.group_discard(group, channel)
        await sender.group_send(group, {"type": group})
        await sender.send(group, {"type": "to", "channel": group})  # a normal channel of that name
        assert await take(reader, group) == {"type": "to", "channel": group}
    await sender.send(channel, END)
    assert await take_until(reader, channel, END) == []


BAD_GROUPS = ["", "a b", "a!b", "\u00e9", "a/b", "a:b", "g" * 100, "a$", "a*"]
BAD_CHANNELS = ["", "!", "!a", "a!b!c", "a b", "a:b", "a/b!c", "c" * 100, "a!b c", "a!" + "b" * 98]


@both
async def test_bad_names_are_refused(layers, who):
    layer = layers.open(who)
    good = await layer.new_channel()
    for group in (*BAD_GROUPS, b"bytes", None, 7):
        for call in (layer.group_add(group, good), layer.group_discard(group, good), layer.group_send(group, END)):
            with pytest.raises(TypeError):
                await call
    for channel in (*BAD_CHANNELS, b"bytes", None, 7):
        for call in (layer.send(channel, END), layer.receive(channel), layer.group_add("room", channel)):
            with pytest.raises(TypeError):
                await call
    await layer.send(good, END)
    assert await take(layer, good) == END


@both
async def test_messages_that_cannot_be_sent_are_refused_by_the_sender(layers, who):
    layer = layers.open(who)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for error, value in (
        (TypeError, {1, 2}),
        (TypeError, object()),
        (OverflowError, 2**64),
        (UnicodeEncodeError, "\ud800"),
    ):
        for call in (
            layer.send(channel, {"type": "x", "v": value}),
            layer.group_send("room", {"type": "x", "v": value}),
        ):
            with pytest.raises(error):
                await call
    for message in (None, "text", ["type"]):
        with pytest.raises(AssertionError):
            await layer.send(channel, message)
    with pytest.raises(AssertionError):
        await layer.send(channel, {"type": "x", "__asgi_channel__": "other"})
    await layer.send(channel, END)
    assert await take(layer, channel) == END


async def test_what_would_break_a_reader_of_channels_redis_is_refused(layers):
    """wire-format §3.2 and §12.3/7: channels_redis sends these, and its readers raise for them."""
    ours, stock = layers.open("ours"), layers.open("stock")
    channel = await stock.new_channel()
    await stock.group_add("room", channel)
    for value in ({1: "integer key"}, [{None: "no key"}], nested(1000)):
        for call in (ours.send(channel, {"type": "x", "v": value}), ours.group_send("room", {"type": "x", "v": value})):
            with pytest.raises((TypeError, ValueError)):
                await call
    await ours.send(channel, END)
    assert await take(stock, channel) == END


@every_pair
async def test_full_channel_refuses_the_next_message(layers, redis, kind):
    """Nobody reads: what is stored for a process counts, and each of its channels."""
    config = {"capacity": 3, "channel_capacity": {"jobs.small*": 1, "jobs.*": 2}}
    sender = layers.open(kind.partition("-")[0], **config)
    for channel, room in (("other", 3), ("jobs.small-1", 1), ("jobs.large", 2), (f"specific.{'0' * 32}!x", 3)):
        for number in range(room):
            await sender.send(channel, {"type": "x", "n": number})
        with pytest.raises(ChannelFull):
            await sender.send(channel, {"type": "x"})
        key = f"asgi{channel.partition('!')[0]}" + ("!" if "!" in channel else "")
        assert redis.command("ZCARD", key) == room
    await sender.group_add("room", "jobs.large")
    await sender.group_add("room", "not-full")
    await sender.group_send("room", {"type": "x"})  # never raises: who is full misses it
    assert redis.command("ZCARD", "asgijobs.large") == 2
    assert redis.command("ZCARD", "asginot-full") == 1


@every_pair
async def test_channel_that_was_full_has_room_again_when_it_was_read(layers, kind):
    sender, reader = layers.pair(kind, capacity=2)
    for number in range(2):
        await sender.send("jobs", {"type": "x", "n": number})
    with pytest.raises(ChannelFull):
        await sender.send("jobs", {"type": "x", "n": 2})
    assert (await take(reader, "jobs"))["n"] == 0
    while True:  # the reader confirms beside what it does
        try:
            await sender.send("jobs", {"type": "x", "n": 3})
            break
        except ChannelFull:
            await asyncio.sleep(0.005)
    assert [(await take(reader, "jobs"))["n"] for _ in range(2)] == [1, 3]


@pytest.mark.parametrize("kind", ["stock-to-stock", *MIXED])
async def test_flush_forgets_all_groups_and_messages(layers, redis, kind):
    sender, reader = layers.pair(kind)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    await sender.send("jobs", {"type": "x"})
    await sender.send(f"specific.{'0' * 32}!x", {"type": "x"})
    redis.command("SET", "not-ours", "1")
    await sender.flush()
    assert keys(redis) == ["not-ours"]
    await sender.send("jobs", END)
    assert await take(reader, "jobs") == END


@every_pair
async def test_channel_with_a_prefix_of_its_own(layers, kind):
    sender, reader = layers.pair(kind)
    one, two = await reader.new_channel(), await reader.new_channel("worker")
    assert two.startswith("worker.")
    # Both at a time: channels_redis would hold one up (wire-format §13.1), and is given them one after the other.
    if "stock" in kind.partition("-to-")[2]:
        await sender.send(two, {"type": "two"})
        assert await take(reader, two) == {"type": "two"}
        return
    waits = [asyncio.ensure_future(take(reader, channel)) for channel in (one, two)]
    await sender.send(two, {"type": "two"})
    assert await waits[1] == {"type": "two"}
    await sender.send(one, {"type": "one"})
    assert await waits[0] == {"type": "one"}


@both
async def test_foreign_channel_cannot_be_received(layers, who):
    layer, other = layers.open(who), layers.open("stock")
    with pytest.raises(AssertionError):
        await layer.receive(await other.new_channel())


@every_pair
async def test_three_hundred_channels_wait_at_a_time(layers, kind):
    sender, reader = layers.pair(kind, capacity=1000)
    channels = [await reader.new_channel() for _ in range(300)]
    waits = [asyncio.ensure_future(take(reader, channel)) for channel in channels]
    for number, channel in enumerate(channels):
        await sender.send(channel, {"type": "x", "n": number})
    assert [message["n"] for message in await asyncio.gather(*waits)] == list(range(300))


@every_pair
async def test_receive_that_was_given_up_loses_nothing_that_comes_later(layers, kind):
    sender, reader = layers.pair(kind)
    channel = await reader.new_channel()
    for _ in range(3):
        waiting = asyncio.ensure_future(reader.receive(channel))
        await asyncio.sleep(0.02)  # until it waits, which nothing tells
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await sender.send(channel, END)
    assert await take(reader, channel) == END
