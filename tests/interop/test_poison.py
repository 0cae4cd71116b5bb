# SPDX-License-Identifier: BSD-3-Clause
"""What stands in Redis and should not: a node of channelsd passes over it, and serves everybody else as before."""

import time

import msgpack
import pytest
from layer_rig import take, take_until

END = {"type": "end"}
PREFIX = b"\x00" * 12


def nested(depth, kind):
    """msgpack of a map with containers in each other."""
    head = b"\x82\xa4type\xa1x\xa1v"
    return head + {"array": b"\x91" * depth + b"\x01", "map": b"\x81\xa1k" * depth + b"\x01"}[kind]


def poison(channel):
    """Members that no decoder takes, or that name what nobody here has. In all of them the channel would be right."""
    packed = msgpack.packb
    good = packed({"type": "x", "__asgi_channel__": channel})
    names = packed("__asgi_channel__")
    yield from (
        b"",
        b"x",
        PREFIX[:-1],
        PREFIX,
        PREFIX + b"\xc1",
        PREFIX + good[:-1],
        PREFIX + good + b"\x00",
        PREFIX + b"not msgpack at all",
        PREFIX + b"\xc0",
        PREFIX + packed([1, 2]),
        PREFIX + packed("text"),
        PREFIX + packed(7),
        PREFIX + b"\x81" + names,
        PREFIX + b"\x82" + names + packed(channel) + b"\xa4type",
        PREFIX + b"\x82" + names + packed(channel) + b"\xa1t\xa1\xff",  # not UTF-8
        PREFIX + b"\x82" + names + packed(channel) + b"\x01\x02",  # an integer as key
        PREFIX + b"\x82" + names + packed(channel) + b"\xc0\x02",
        PREFIX + b"\x82" + names + packed(channel) + b"\x91\x01\x02",
        PREFIX + b"\xdf\xff\xff\xff\xff" + names + packed(channel),
        PREFIX + b"\x82" + names + packed(channel) + b"\xa1b\xc6\xff\xff\xff\xffx",
        PREFIX + b"\x82" + names + packed(channel) + b"\xa1b\xdd\xff\xff\xff\xff",
        PREFIX + b"\xdd\xff\xff\xff\xff" * 1000,
        PREFIX + nested(5000, "array"),
        PREFIX + nested(5000, "map"),
        PREFIX + b"\x91" * 200_000,
        *(PREFIX + packed({"type": "x", "__asgi_channel__": value}) for value in [*NO_NAMES, *NAMES]),
    )


NO_NAMES = [None, 7, 1.5, b"\xff", {"a": 1}, [None], [7], [[]]]
NAMES = [
    [],
    ["", "!", "x" * 1000],
    "",
    "!",
    "nobody",
    "specific.somebody-else!x",
    "x" * 70_000,
    "\0",
    ["specific.somebody-else!x"] * 5000,
]


@pytest.mark.parametrize("channel_is", ["specific", "normal"])
async def test_members_that_do_not_decode(layers, redis, channel_is):
    reader, sender = layers.open("ours"), layers.open("stock")
    own = await reader.new_channel()
    channel = own if channel_is == "specific" else "jobs"
    key = "asgi" + channel.partition("!")[0] + ("!" if "!" in channel else "")
    node = layers.nodes.get("one", {"hosts": layers.hosts})
    before = node.stats()
    now = time.time()
    members = [item for number, item in enumerate(poison(own)) for item in (now + number * 1e-5, item)]
    redis.command("ZADD", key, *members)
    await sender.send(channel, {"type": "good"})
    got = await take_until(reader, channel, {"type": "good"})
    # In a normal channel the names mean nothing, as long as they are names.
    decodable = [{"type": "x"}] * (len(NAMES) if channel_is == "normal" else 0)
    assert got == decodable
    await sender.send(own, END)
    assert await take_until(reader, own, END) == []
    after = node.stats()
    dropped = sum(after[name] - before[name] for name in ("dropped_undecodable", "dropped_unknown"))
    assert dropped >= len(members) // 2 - len(decodable)


async def test_names_nobody_has(layers, redis):
    """The channel of a client that left, and groups and control words made up by somebody."""
    reader, sender = layers.open("ours"), layers.open("stock")
    channel = await reader.new_channel()
    node, _, local = channel.partition("!")
    await reader.group_add("room", channel)
    for unknown in (
        "",
        "0" * 32,
        local[:13] + "0" * 19,
        "g.",
        "g.other",
        "G.",
        "G." + "0" * 40,
        "ctl",
        "x" * 50,
        "\u00e9",
    ):
        await sender.send(f"{node}!{unknown}", {"type": "x"})
        redis.command("ZADD", "asgi:group:room", 2**31, f"{node}!{unknown}")
    await sender.group_send("room", {"type": "y"})
    assert await take(reader, channel) == {"type": "y"}
    await sender.send(channel, END)
    assert await take_until(reader, channel, END) == []
    redis.command("DEL", "asgi:group:room")


async def test_group_member_that_is_no_text(layers, redis):
    """channels_redis sends to nobody then; channelsd to all the others."""
    ours, other, stock = layers.open("ours"), layers.open("ours", "two"), layers.open("stock")
    members = [(layer, await layer.new_channel()) for layer in (ours, other, stock)]
    for layer, channel in members:
        await layer.group_add("room", channel)
    for number, bad in enumerate((b"\xff\xfe", b"", b"specific.\xc3!x", b"!", b"x" * 100_000, b"no name", b"a!b!c")):
        redis.command("ZADD", "asgi:group:room", time.time() + number, bad)
    with pytest.raises(UnicodeDecodeError):
        await stock.group_send("room", {"type": "x"})
    for sender in (ours, other):
        await sender.group_send("room", {"type": "x"})
        for layer, channel in members:
            assert await take(layer, channel) == {"type": "x"}


@pytest.mark.parametrize("value", ["string", "list", "hash", "stream"])
async def test_keys_of_a_wrong_type(layers, redis, value):
    """One clear error that names the key; every other key works."""
    command = {
        "string": lambda key: ("SET", key, "x"),
        "list": lambda key: ("RPUSH", key, "x"),
        "hash": lambda key: ("HSET", key, "x", "y"),
        "stream": lambda key: ("XADD", key, "*", "x", "y"),
    }[value]
    layer, other = layers.open("ours"), layers.open("ours", "two")
    channel = await layer.new_channel()
    await layer.group_add("good", channel)
    redis.command(*command("asgi:group:bad"))
    redis.command(*command("asgijobs"))
    for call in (
        other.group_send("bad", {"type": "x"}),
        other.group_add("bad", "jobs"),
        other.group_add("bad", await other.new_channel()),
        other.send("jobs", {"type": "x"}),
    ):
        with pytest.raises(Exception, match="WRONGTYPE"):
            await call
    await other.group_send("good", {"type": "x"})
    assert await take(layer, channel) == {"type": "x"}
    redis.command("DEL", "asgi:group:bad", "asgijobs")


async def test_own_key_of_a_wrong_type(layers, redis):
    """Somebody overwrites what the node reads: it goes on as soon as that is gone."""
    layer, stock = layers.open("ours"), layers.open("stock")
    channel = await layer.new_channel()
    await stock.send(channel, {"type": "x"})
    assert await take(layer, channel) == {"type": "x"}
    key = "asgi" + channel.partition("!")[0] + "!"
    redis.command("SET", key, "x")
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "local"})
    assert await take(layer, channel) == {"type": "local"}
    redis.command("DEL", key)
    await stock.send(channel, END)
    assert await take(layer, channel) == END


async def test_target_of_a_group_of_a_wrong_type(layers, redis):
    """It is passed over, counted and logged: the others in the group get their message, and the sender hears of no error."""
    ours, stock = layers.open("ours"), layers.open("stock")
    channel = await stock.new_channel()
    await stock.group_add("room", "jobs.before")
    await stock.group_add("room", channel)
    await stock.group_add("room", "jobs.behind")
    redis.command("SET", "asgijobs.before", "x")
    node = layers.nodes.get("one", {"hosts": layers.hosts})
    before = node.stats()
    await ours.group_send("room", {"type": "x"})
    after = node.stats()
    assert [after[name] - before[name] for name in ("group_sent", "group_skipped")] == [1, 1]
    for name in (channel, "jobs.behind"):
        assert await take(stock, name) == {"type": "x"}
    redis.command("DEL", "asgijobs.before")
    await ours.group_send("room", END)
    for name in ("jobs.before", channel, "jobs.behind"):
        assert await take(stock, name) == END


async def test_message_of_sixteen_mebibytes_and_one_more(layers):
    """The largest goes through; what is larger is refused by the sender and harms nobody."""
    sender, reader = layers.open("ours", "two"), layers.open("ours")
    channel = await reader.new_channel()
    large = {"type": "x", "bytes": bytes(15 << 20)}
    await sender.send(channel, large)
    assert await take(reader, channel) == large
    for call in (
        sender.send(channel, {"type": "x", "bytes": bytes(16 << 20)}),
        sender.group_send("room", {"type": "x", "bytes": bytes(17 << 20)}),
    ):
        with pytest.raises(Exception, match=r"(?i)(long|large|big|bytes|MiB)"):
            await call
    await sender.send(channel, END)
    assert await take(reader, channel) == END
