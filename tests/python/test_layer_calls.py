# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer.ChannelLayer: what its methods do, send and raise."""

import asyncio

import msgpack
import pytest
from channels.exceptions import ChannelFull

import fake_node
from channelsd.layer import (
    ChannelLayer,
    ChannelLayerError,
    ChannelLayerRefused,
    ChannelLayerTimeout,
    ChannelLayerUnavailable,
    ChannelLayerUnsupported,
)
from fake_node import SETTINGS, Node, within

MESSAGE = {"type": "a.b", "text": "grüße", "bytes": b"\0\xff", "list": [1, 2.5, None, True]}


@pytest.fixture
async def layer(node):
    layer = ChannelLayer(socket=node.path)
    yield layer
    await layer.close()


@pytest.fixture
async def other(node):
    """In effect another process: it has connections of its own."""
    layer = ChannelLayer(socket=node.path)
    yield layer
    await layer.close()


async def test_own_channel_gets_what_was_sent_without_the_node(node, layer):
    channel = await layer.new_channel()
    await layer.send(channel, MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE
    assert not node.ops(fake_node.SEND)


async def test_names_of_channels_follow_from_the_base(layer):
    names = [await layer.new_channel() for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        prefix, local = name.split("!")
        assert prefix == f"specific.{fake_node.NODE}"
        assert len(local) == 32 and set(local) <= set("0123456789abcdef")


async def test_channel_of_another_process_gets_what_was_sent(layer, other):
    channel = await layer.new_channel()
    await other.send(channel, MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE


async def test_normal_channel_is_received_once_and_in_order(node, layer, other):
    for number in range(5):
        await other.send("jobs", {"number": number})
    assert [(await within(layer.receive("jobs")))["number"] for _ in range(5)] == list(range(5))
    await node.seen(fake_node.TAKEN, 5)


async def test_messages_of_a_group_reach_each_member_once_with_a_copy_of_its_own(node, layer, other):
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("room", channel)
        await layer.group_add("room", channel)
    await other.group_send("room", MESSAGE)
    got = [await within(layer.receive(channel)) for channel in channels]
    assert got == [MESSAGE] * 3
    got[0]["list"].append("mine")
    assert got[1] == MESSAGE
    assert len(node.ops(fake_node.JOIN)) == 1
    await layer.group_send("room", {"type": "second"})
    assert [await within(layer.receive(channel)) for channel in channels] == [{"type": "second"}] * 3


async def test_union_of_groups_and_channels_is_delivered_once_each(node, layer):
    one, two, three = [await layer.new_channel() for _ in range(3)]
    await layer.group_add("a", one)
    await layer.group_add("b", one)
    await layer.group_add("b", two)
    peer = node.group("a")[0]
    body = msgpack.packb({"type": "x"})
    node.put(peer, [fake_node.DELIVER, 0, None, ["a", "b"], [two, three], body])
    for channel in (one, two, three):
        assert await within(layer.receive(channel)) == {"type": "x"}
    node.put(peer, [fake_node.DELIVER, 0, 7, [], [one], msgpack.packb({"type": "end"})])
    assert (await node.seen(fake_node.ACCEPTED))[0][1] == [fake_node.ACCEPTED, 0, 7, False]
    assert await within(layer.receive(one)) == {"type": "end"}
    owner = layer.channels(one)
    assert not owner.queues[two]._queue and not owner.queues[three]._queue


async def test_first_join_is_awaited_by_all_and_last_leave_is_told(node, layer):
    channels = [await layer.new_channel() for _ in range(20)]
    await asyncio.gather(*[layer.group_add("room", channel) for channel in channels])
    assert len(node.ops(fake_node.JOIN)) == 1
    await asyncio.gather(*[layer.group_discard("room", channel) for channel in channels])
    assert len(node.ops(fake_node.LEAVE)) == 1
    assert not node.group("room")
    await layer.group_add("room", channels[0])
    assert node.group("room")


async def test_join_and_leave_at_once_end_as_the_last_of_them(node, layer):
    channel = await layer.new_channel()
    for _ in range(3):
        calls = []
        for _ in range(5):
            calls += [layer.group_add("room", channel), layer.group_discard("room", channel)]
        await asyncio.gather(*calls)
        assert not node.group("room")
        await asyncio.gather(*calls_of(layer, channel))
        assert node.group("room")
        await layer.group_discard("room", channel)
        assert not node.group("room")


def calls_of(layer, channel):
    return [
        layer.group_add("room", channel),
        layer.group_discard("room", channel),
        layer.group_add("room", channel),
    ]


async def test_join_that_fails_raises_for_all_and_leaves_no_member(node, layer):
    channels = [await layer.new_channel() for _ in range(3)]
    node.answers[fake_node.JOIN] = (fake_node.UNAVAILABLE, "Redis at h:1 is away")
    results = await asyncio.gather(*[layer.group_add("room", channel) for channel in channels], return_exceptions=True)
    assert [type(result) for result in results] == [ChannelLayerUnavailable] * 3
    assert "Redis at h:1 is away" in str(results[0])
    assert layer.channels(channels[0]).groups == {}
    del node.answers[fake_node.JOIN]
    await layer.group_add("room", channels[0])
    assert list(layer.channels(channels[0]).groups["room"]) == [channels[0]]


async def test_leave_that_fails_raises(node, layer):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    node.answers[fake_node.LEAVE] = (fake_node.FAILED, "no")
    with pytest.raises(ChannelLayerError, match="no"):
        await layer.group_discard("room", channel)
    assert layer.channels(channel).groups == {}


async def test_channels_that_others_add_and_discard_are_members(node, layer, other):
    channel = await layer.new_channel()
    await other.group_add("room", channel)
    await other.group_send("room", MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE
    await other.group_discard("room", channel)
    await node.seen(fake_node.LEAVE)
    assert not node.group("room")


async def test_addition_that_crosses_a_leave_is_joined_again(node, layer):
    one, two = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", one)
    peer = node.group("room")[0]
    node.answers[fake_node.LEAVE] = None
    leaving = asyncio.ensure_future(layer.group_discard("room", one))
    req = (await node.seen(fake_node.LEAVE))[0][1][2]
    node.put(peer, [fake_node.ADD, 0, "room", two], [fake_node.REPLY, req, 0, None])
    await within(leaving)
    await node.seen(fake_node.JOIN, 2)
    await layer.group_send("room", MESSAGE)
    assert await within(layer.receive(two)) == MESSAGE


async def test_addition_of_a_forgotten_channel_is_left_at_once(node, layer, other):
    channel = await layer.new_channel()
    layer.channels(channel).forget(channel)
    await other.group_add("room", channel)
    await node.seen(fake_node.LEAVE)
    assert not node.group("room")


async def test_forgotten_channel_leaves_its_groups(node, layer):
    one, two = await layer.new_channel(), await layer.new_channel()
    for group in [f"g{number}" for number in range(12)]:
        await layer.group_add(group, one)
    await layer.group_add("g0", two)
    channels = layer.channels(one)
    channels.forget(one)
    await node.seen(fake_node.LEAVE, 11)
    assert list(channels.groups) == ["g0"]
    assert one not in channels.queues
    await layer.send(one, MESSAGE)
    dropped = (await node.seen(fake_node.DROPPED))[0][1]
    assert dropped == [fake_node.DROPPED, 0, 1, None]


async def test_discard_of_an_own_channel_that_is_no_member_asks_the_node(node, layer):
    channel = await layer.new_channel()
    await layer.group_discard("room", channel)
    assert node.ops(fake_node.GROUP_DISCARD)[0][3:] == ["room", channel]


async def test_full_own_channel_raises_and_a_full_member_drops_the_newest(tmp_path):
    settings = list(SETTINGS)
    settings[5:7] = [2, [["special*", 1]]]
    with Node(tmp_path / "layer.sock", settings) as node:
        layer = ChannelLayer(socket=node.path)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for number in range(2):
            await layer.send(channel, {"number": number})
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"number": 2})
        await layer.group_send("room", {"number": 3})
        await layer.group_send("room", {"number": 4})
        dropped = (await node.seen(fake_node.DROPPED))[0][1]
        assert dropped == [fake_node.DROPPED, 0, 2, channel]
        node.put(node.peers[0], [fake_node.DELIVER, 0, 9, [], [channel], msgpack.packb({})])
        assert (await node.seen(fake_node.ACCEPTED))[0][1][2:] == [9, True]
        assert [(await within(layer.receive(channel)))["number"] for _ in range(2)] == [0, 1]
        special = await layer.new_channel("special")
        await layer.send(special, {})
        with pytest.raises(ChannelFull):
            await layer.send(special, {})
        for number in range(2):
            await layer.send("jobs", {"number": number})
        with pytest.raises(ChannelFull):
            await layer.send("jobs", {})
        await layer.close()


async def test_prefixes_never_hold_each_other_up(node, layer, other):
    one, two = await layer.new_channel("one"), await layer.new_channel("two")
    assert one.startswith("one.") and two.startswith("two.")
    first = asyncio.ensure_future(layer.receive(one))
    for number in range(3):
        await other.send(two, {"number": number})
        assert await within(layer.receive(two)) == {"number": number}
    assert not first.done()
    await other.send(one, MESSAGE)
    assert await within(first) == MESSAGE
    assert (await layer.new_channel("one")).startswith(one[:-19])
    assert len(node.ops(fake_node.MAILBOX)) == 2


async def test_several_receivers_share_a_channel(layer):
    channel = await layer.new_channel()
    receivers = [asyncio.ensure_future(layer.receive(channel)) for _ in range(3)]
    await asyncio.sleep(0)
    receivers[0].cancel()
    for number in range(2):
        await layer.send(channel, {"number": number})
    got = await within(asyncio.gather(*receivers, return_exceptions=True))
    assert isinstance(got[0], asyncio.CancelledError)
    assert sorted(message["number"] for message in got[1:]) == [0, 1]


async def test_cancelled_receive_of_a_normal_channel_loses_nothing(node, layer, other):
    for number in range(50):
        receiver = asyncio.ensure_future(layer.receive("jobs"))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        sending = asyncio.ensure_future(other.send("jobs", {"number": number}))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        receiver.cancel()
        await sending
        (result,) = await asyncio.gather(receiver, return_exceptions=True)
        if isinstance(result, asyncio.CancelledError):
            result = await within(layer.receive("jobs"))
        assert result == {"number": number}


async def test_message_that_crosses_a_cancel_is_returned(node, layer):
    receiver = asyncio.ensure_future(layer.receive("jobs"))
    peer, record = (await node.seen(fake_node.RECEIVE))[0]
    peer.untaken[record[2]] = ("jobs", msgpack.packb(MESSAGE))
    receiver.cancel()
    node.put(peer, [fake_node.MESSAGE, 0, record[2], msgpack.packb(MESSAGE)])
    await asyncio.gather(receiver, return_exceptions=True)
    await node.seen(fake_node.RETURN)
    assert await within(layer.receive("jobs")) == MESSAGE


async def test_held_message_goes_back_or_is_taken(node, layer, other):
    await other.send("jobs", MESSAGE)
    held = await within(layer.receive_held("jobs"))
    assert held.message == MESSAGE and not node.ops(fake_node.TAKEN)
    held.put_back()
    held = await within(layer.receive_held("jobs"))
    held.taken()
    await node.seen(fake_node.TAKEN)


async def test_messages_that_do_not_decode_are_passed_over(node, layer, other, caplog):
    channel = await layer.new_channel()
    bad = [b"\xc1", b"", msgpack.packb([1]), msgpack.packb({1: 2}), msgpack.packb({}) + b"x"]
    peer = node.peers[0]
    for body in bad:
        node.put(peer, [fake_node.DELIVER, 0, None, [], [channel], body])
    await layer.send(channel, MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE
    receiver = asyncio.ensure_future(layer.receive("jobs"))
    for number, body in enumerate(bad):
        waiting = (await node.seen(fake_node.RECEIVE, number + 1))[-1][1]
        peer.untaken[waiting[2]] = ("jobs", body)
        node.do(node.waiting["jobs"].popleft)
        node.put(peer, [fake_node.MESSAGE, 0, waiting[2], body])
    await node.seen(fake_node.RECEIVE, len(bad) + 1)
    await other.send("jobs", MESSAGE)
    assert await within(receiver) == MESSAGE
    assert "does not decode" in caplog.text


async def test_flush_forgets_groups_and_messages(layer, other):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.send(channel, MESSAGE)
    await layer.flush()
    assert layer.channels(channel).groups == {}
    await layer.send(channel, {"type": "after"})
    assert await within(layer.receive(channel)) == {"type": "after"}
    await layer.group_add("room", channel)
    await other.group_send("room", MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE


@pytest.mark.parametrize("channel", ["own", "jobs"])
async def test_arguments_are_checked_as_in_channels_redis(layer, channel):
    channel = await layer.new_channel() if channel == "own" else channel
    with pytest.raises(AssertionError, match="message is not a dict"):
        await layer.send(channel, [1])
    with pytest.raises(AssertionError):
        await layer.send(channel, {"__asgi_channel__": "x"})
    with pytest.raises(TypeError):
        await layer.send(channel, {"x": object()})
    with pytest.raises((TypeError, OverflowError)):
        await layer.send(channel, {"x": 1 << 70})
    with pytest.raises(ValueError):
        await layer.send(channel, {"x": "\ud800"})


@pytest.mark.parametrize("name", ["a b", "a!b!c", "", "x" * 100, b"bytes", None, "!a"])
async def test_names_are_checked_as_channels_does(layer, name):
    for call in (
        lambda: layer.send(name, {}),
        lambda: layer.receive(name),
        lambda: layer.group_add("room", name),
        lambda: layer.group_discard("room", name),
        lambda: layer.group_send(name, {}),
        lambda: layer.group_add(name, "x"),
        lambda: layer.group_discard(name, "x"),
    ):
        with pytest.raises(TypeError):
            await call()


async def test_group_message_with_a_reserved_key_loses_it(layer):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "x", "__asgi_channel__": "y"})
    assert await within(layer.receive(channel)) == {"type": "x"}


async def test_channels_of_other_processes_cannot_be_received(layer, other):
    channel = await other.new_channel()
    with pytest.raises(AssertionError, match="Wrong client prefix"):
        await layer.receive(channel)


async def test_map_keys_that_no_receiver_takes_are_refused(layer):
    channel = await layer.new_channel()
    with pytest.raises(ValueError):
        await layer.send(channel, {1: 2})


async def test_message_over_the_ceiling_is_refused_here(node, layer):
    with pytest.raises(ValueError, match="16777216"):
        await layer.send("jobs", {"x": b"\0" * (1 << 24)})
    await layer.send("jobs", {"x": b"\0" * ((1 << 24) - 100)})
    assert len((await within(layer.receive("jobs")))["x"]) == (1 << 24) - 100


@pytest.mark.parametrize(
    "code, kind",
    [
        (fake_node.FULL, ChannelFull),
        (fake_node.INVALID, ChannelLayerRefused),
        (fake_node.UNAVAILABLE, ChannelLayerUnavailable),
        (fake_node.TIMED_OUT, ChannelLayerTimeout),
        (fake_node.CLOSED, ChannelLayerUnavailable),
        (fake_node.UNSUPPORTED, ChannelLayerUnsupported),
        (fake_node.FAILED, ChannelLayerError),
    ],
)
@pytest.mark.parametrize("way", ["leased", "connected"])
async def test_codes_are_exceptions(node, layer, code, kind, way):
    if way == "connected":
        await layer.new_channel()
    node.answers[fake_node.SEND] = (code, "in words")
    with pytest.raises(kind) as caught:
        await layer.send("jobs", {})
    if code != fake_node.FULL:
        assert str(caught.value) == "in words"
    del node.answers[fake_node.SEND]
    await layer.send("jobs", {})


async def test_exceptions_are_of_the_kinds_that_callers_know():
    assert issubclass(ChannelLayerUnavailable, ConnectionError)
    assert issubclass(ChannelLayerTimeout, TimeoutError)
    assert issubclass(ChannelLayerRefused, TypeError) and issubclass(ChannelLayerRefused, ValueError)


async def test_settings_that_the_node_refuses_are_told(node):
    node.answers[fake_node.OPEN] = (fake_node.INVALID, "hosts: what is that?")
    layer = ChannelLayer(hosts=["x"], socket=node.path)
    with pytest.raises(ValueError, match="what is that"):
        await layer.send("jobs", {})
    with pytest.raises(ValueError, match="what is that"):
        await layer.new_channel()
    del node.answers[fake_node.OPEN]
    await layer.new_channel()
    await layer.close()


async def test_receivers_with_settings_that_the_node_refuses_are_told(node):
    node.answers[fake_node.OPEN] = (fake_node.INVALID, "hosts: what is that?")
    layer = ChannelLayer(hosts=["x"], socket=node.path)
    receivers = [asyncio.ensure_future(layer.receive("jobs")) for _ in range(2)]
    for receiver in receivers:
        with pytest.raises(ChannelLayerRefused, match="what is that"):
            await within(receiver)
    with pytest.raises(ChannelLayerRefused, match="what is that"):
        await within(layer.receive("jobs"))
    # Another node may think otherwise.
    del node.answers[fake_node.OPEN]
    node.cut()
    while layer._connections[0].is_up:
        await asyncio.sleep(0.01)
    receiver = asyncio.ensure_future(layer.receive("jobs"))
    await node.seen(fake_node.RECEIVE)
    await layer.send("jobs", MESSAGE)
    assert await within(receiver) == MESSAGE
    await layer.close()


async def test_json_layers_carry_json(tmp_path):
    settings = list(SETTINGS)
    settings[1] = "json"
    with Node(tmp_path / "layer.sock", settings) as node:
        layer = ChannelLayer(socket=node.path)
        await layer.send("jobs", {"a": "ü"})
        assert node.ops(fake_node.SEND)[0][4] == b'{"a": "\\u00fc"}'
        channel = await layer.new_channel()
        await layer.send(channel, {1: (2,)})
        assert await within(layer.receive(channel)) == {"1": [2]}
        with pytest.raises(TypeError):
            await layer.send(channel, {"a": b"bytes"})
        await layer.close()


async def test_forgotten_channel_that_is_read_again_is_forgotten_again(node, layer):
    channel = await layer.new_channel()
    channels = layer.channels(channel)
    channels.forget(channel)
    with pytest.raises(asyncio.TimeoutError):
        await within(layer.receive(channel), 0.01)
    channels._sweep()
    assert channel in channels.queues, "it was read just now"
    channels._idle[channel] -= 61
    channels._sweep()
    assert not channels.queues and not channels._idle


async def test_channel_that_nobody_reads_is_forgotten(node, layer):
    channel, member, waited, fed = [await layer.new_channel() for _ in range(4)]
    channels = layer.channels(channel)
    await layer.group_add("room", member)
    receiver = asyncio.ensure_future(layer.receive(waited))
    other = asyncio.ensure_future(layer.receive(waited))
    await asyncio.sleep(0)
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    channels.queues[fed] = type("Source", (type(channels.queues[waited]),), {})()
    for name in channels._idle:
        channels._idle[name] -= 61
    channels._sweep()
    assert set(channels.queues) == {member, waited, fed}
    channels._idle[member] -= 86400
    channels._sweep()
    assert set(channels.queues) == {waited, fed}
    await node.seen(fake_node.LEAVE)
    await layer.send(waited, MESSAGE)
    assert await within(receiver) == MESSAGE


async def test_receive_says_once_why_the_layer_is_not_opened(node, layer, caplog):
    """It waits on, as other layers may end."""
    node.answers[fake_node.OPEN] = (fake_node.UNSUPPORTED, "this node has 64 layers")
    receiving = asyncio.ensure_future(layer.receive("jobs"))
    await within(node.seen(fake_node.OPEN, 3))
    assert [record.getMessage() for record in caplog.records if record.name == "channelsd.layer"] == [
        "The channel layer cannot be opened; trying again: this node has 64 layers"
    ]
    del node.answers[fake_node.OPEN]
    await within(node.seen(fake_node.RECEIVE))
    await layer.send("jobs", MESSAGE)
    assert await within(receiving) == MESSAGE
