# SPDX-License-Identifier: BSD-3-Clause
"""What stands in Redis after an operation, of channels_redis and of channelsd, beside each other."""

import asyncio
import hashlib
import time

import msgpack
import pytest
from layer_rig import clear, keys, paused, take, take_until, until
from redis_server import RedisServer

both = pytest.mark.parametrize("who", ["stock", "ours"])
PREFIX = 12
END = {"type": "end"}
SOMEBODY = f"specific.{'5' * 31}e!"
MESSAGE = {
    "type": "chat.message",
    "text": "h\u00e9llo",
    "bytes": b"\x00\xff",
    "n": [1, -1, 1.5, None, True],
    "in": {"a": {}},
}


def members(redis, key):
    """[(member, score)] of a sorted set, in its order."""
    answer = redis.raw("ZRANGE", key, 0, -1, "WITHSCORES")
    return list(zip(answer[::2], map(float, answer[1::2])))


def snapshot(redis, random_prefix=PREFIX):
    """Everything in Redis but what differs by nature: key -> (type, seconds to live, members without their random prefix,
    and for groups as they are)."""
    found = {}
    for key in keys(redis):
        values = [member for member, _ in members(redis, key)]
        if ":group:" not in key:
            values = [value[random_prefix:] for value in values]
        found[key] = (redis.command("TYPE", key), redis.command("TTL", key), values)
    return found


async def stored_by(layers, redis, who, operations, **config):
    """The snapshot after the operations of a layer."""
    clear(redis)
    layer = layers.open(who, **config)
    started = time.time()
    for method, *arguments in operations:
        await getattr(layer, method)(*arguments)
    for key in keys(redis):
        scores = [score for _, score in members(redis, key)]
        # What ours adds to keep the order is a few microseconds.
        assert scores == sorted(scores) and all(started - 0.001 <= score <= time.time() + 0.001 for score in scores)
    return snapshot(redis, config.get("random_prefix_length", PREFIX))


OPERATIONS = {
    "send to a normal channel": [("send", "jobs.resize", MESSAGE)],
    "send to a specific channel": [("send", f"{SOMEBODY}abc", MESSAGE), ("send", f"{SOMEBODY}", MESSAGE)],
    "send to a name beyond ASCII": [("send", f"{SOMEBODY}caf\u00e9", MESSAGE)],
    "send of nothing much": [("send", "jobs", {"type": "x"})],
    "group_add of others": [("group_add", "room", f"{SOMEBODY}abc"), ("group_add", "room", "jobs.resize")],
    "group_discard of others": [
        ("group_add", "room", f"{SOMEBODY}abc"),
        ("group_add", "room", f"{SOMEBODY}def"),
        ("group_discard", "room", f"{SOMEBODY}abc"),
        ("group_discard", "room", f"{SOMEBODY}nobody"),
    ],
    "group_discard of the last": [
        ("group_add", "room", f"{SOMEBODY}abc"),
        ("group_discard", "room", f"{SOMEBODY}abc"),
    ],
    "group_send to several keys": [
        ("group_add", "room", f"{SOMEBODY}b"),
        ("group_add", "room", "jobs.resize"),
        ("group_add", "room", f"{SOMEBODY}a"),
        ("group_add", "room", "specific.other!x"),
        ("group_send", "room", MESSAGE),
    ],
    "group_send to nobody": [("group_send", "room", MESSAGE)],
    "send of a large message": [("send", "jobs", {"type": "x", "text": "x" * 70_000, "bytes": bytes(300)})],
    "group_send to many of one process": [
        *(("group_add", "room", f"{SOMEBODY}{number}") for number in range(20)),
        ("group_send", "room", MESSAGE),
    ],
}
CONFIGS = {
    "defaults": {},
    "prefix": {"prefix": "my-own:"},
    "empty prefix": {"prefix": ""},
    "expiry": {"expiry": 7, "group_expiry": 1234},
    "no random prefix": {"random_prefix_length": 0},
    "long random prefix": {"random_prefix_length": 20},
    "json": {"serializer_format": "json"},
}


def is_supported(config):
    import channels_redis

    return tuple(map(int, channels_redis.__version__.split(".")[:2])) >= (4, 2) or not (
        {"random_prefix_length", "serializer_format"} & config.keys()
    )


def without_bytes(value):
    """The same for JSON."""
    if isinstance(value, dict):
        return {key: without_bytes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(without_bytes(item) for item in value)
    return '\u2713\U0001f600\x7f\n"\\/' if isinstance(value, bytes) else value


@pytest.mark.parametrize("config_name", CONFIGS)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_same_operations_leave_the_same(layers, redis, name, config_name):
    config, operations = CONFIGS[config_name], OPERATIONS[name]
    if not is_supported(config):
        pytest.skip("this channels_redis has no such setting")
    if config_name == "json":
        operations = without_bytes(operations)
    stock = await stored_by(layers, redis, "stock", operations, **config)
    ours = await stored_by(layers, redis, "ours", operations, **config)
    assert ours == stock
    if "nobody" not in name and "last" not in name:
        assert stock, "nothing was stored"


async def test_prefixes_of_ours_are_all_different(layers, redis):
    layer = layers.open("ours")
    for _ in range(50):
        await layer.send("jobs", {"type": "x"})
    prefixes = {member[:PREFIX] for member, _ in members(redis, "asgijobs")}
    assert len(prefixes) == 50


async def test_scores_of_ours_only_grow(layers, redis):
    """wire-format §12.3/5: equal scores would be read in the order of their random bytes."""
    layer = layers.open("ours")
    await asyncio.gather(*(layer.send("jobs", {"type": "x", "n": number}) for number in range(90)))
    stored = members(redis, "asgijobs")
    assert len({score for _, score in stored}) == 90
    assert [msgpack.unpackb(member[PREFIX:])["n"] for member, _ in stored] == list(range(90))


@both
async def test_members_of_a_process_in_a_group(layers, redis, who):
    """channels_redis stores each channel; channelsd one name for all of a node (wire-format §12.1), which channels_redis
    could have added itself."""
    layer = layers.open(who)
    channels = [await layer.new_channel() for _ in range(3)]
    long = "g" * 60
    for group in ("room", long):
        for channel in channels:
            await layer.group_add(group, channel)
    if who == "stock":
        for group in ("room", long):
            assert [member.decode() for member, _ in members(redis, f"asgi:group:{group}")] == channels
        return
    node = channels[0].partition("!")[0] + "!"
    assert [member.decode() for member, _ in members(redis, "asgi:group:room")] == [f"{node}g.room"]
    digest = hashlib.sha1(long.encode()).hexdigest()
    assert [member.decode() for member, _ in members(redis, f"asgi:group:{long}")] == [f"{node}G.{digest}"]
    assert redis.command("TTL", "asgi:group:room") == 86400


async def test_names_of_our_channels_are_names_like_those_of_channels_redis(layers):
    ours, stock = layers.open("ours"), layers.open("stock")
    newer = hasattr(stock, "require_valid_channel_name")
    is_valid = stock.require_valid_channel_name if newer else stock.valid_channel_name
    for prefix in ("specific", "my.prefix"):
        one, other = await ours.new_channel(prefix), await stock.new_channel(prefix)
        assert len(one) == len(other) and is_valid(one)
        head, _, local = one.partition("!")
        assert head.startswith(prefix + ".")
        assert set(head.rpartition(".")[2]) | set(local) <= set("0123456789abcdef")
        assert local[12] == "d" and other.partition("!")[2][12] == "4"


async def test_group_message_to_a_thousand_of_a_node_is_one_small_message(own_layers):
    """Sent by unchanged channels_redis. Nobody else is on this Redis, so that its commands can be counted."""
    with RedisServer() as redis:
        layers = own_layers([redis.url])
        await a_thousand_are_one_member(layers, redis)
        await layers.close()


async def a_thousand_are_one_member(layers, redis):
    ours, stock = layers.open("ours"), layers.open("stock")
    channels = [await ours.new_channel() for _ in range(1000)]
    redis.command("CONFIG", "RESETSTAT")
    await asyncio.gather(*(ours.group_add("room", channel) for channel in channels))
    calls = redis.calls()
    assert sum(calls.get(name, 0) for name in ("zadd", "expire", "evalsha", "eval", "zrem")) <= 12, calls
    message = {"type": "x", "text": "x" * 100}
    with paused(layers.nodes.get("one", {"hosts": layers.hosts})):
        await stock.group_send("room", message)
        key = f"asgi{channels[0].partition('!')[0]}!"
        # What the node waits with has taken it already if it could; then Redis has sent it in as many bytes.
        stored = [len(member) for member, _ in members(redis, key)]
    assert all(length <= 300 for length in stored) and len(stored) <= 1
    assert await asyncio.gather(*(take(ours, channel) for channel in channels)) == [message] * 1000
    await stock.send(channels[0], END)
    assert await take(ours, channels[0]) == END


@both
async def test_group_send_without_readers_stores_one_message_for_each_process(layers, redis, who):
    sender = layers.open(who)
    names = [f"{SOMEBODY}000", f"{SOMEBODY}001", f"{SOMEBODY}g.room"]  # the last stands for a node's members
    for number, name in enumerate(names):
        redis.command("ZADD", "asgi:group:room", time.time() + number / 1000, name)
    await sender.group_send("room", {"type": "x", "text": "x" * 100})
    ((stored, _),) = members(redis, f"asgi{SOMEBODY}")
    assert len(stored) <= 300
    assert msgpack.unpackb(stored[PREFIX:])["__asgi_channel__"] == names


@both
async def test_old_members_and_old_messages_are_trimmed_by_the_sender(layers, redis, who):
    sender = layers.open(who, expiry=10, group_expiry=100)
    now = time.time()
    redis.command("ZADD", "asgi:group:room", now - 101, "specific.gone!x", now - 98, "jobs", now, "more")
    redis.command("ZADD", "asgijobs", now - 12, "old", now - 8, "young", -1, "before the year 1970")
    redis.command("ZADD", "asgimore", now - 12, "old")
    await sender.group_send("room", {"type": "x"})
    assert redis.command("ZRANGE", "asgi:group:room", 0, -1) == ["jobs", "more"]
    assert [member for member, _ in members(redis, "asgijobs")][:2] == [b"before the year 1970", b"young"]
    assert redis.command("ZCARD", "asgijobs") == 3 and redis.command("ZCARD", "asgimore") == 1
    assert not redis.command("EXISTS", "asgispecific.gone!")
    redis.command("ZADD", "asgijobs", now - 12, "old")
    await sender.send("jobs", {"type": "x"})
    assert redis.command("ZCARD", "asgijobs") == 4


@both
async def test_message_that_is_too_old_and_was_not_trimmed(layers, redis, who):
    """No sender has come by since it expired: channels_redis delivers it, channelsd does not (wire-format §12.3/11)."""
    reader = layers.open(who)
    channel = await reader.new_channel()
    old = PREFIX * b"o" + msgpack.packb({"type": "old", "__asgi_channel__": channel})
    end = PREFIX * b"e" + msgpack.packb({**END, "__asgi_channel__": channel})
    key, now = "asgi" + channel.partition("!")[0] + "!", time.time()
    redis.pipeline([("ZADD", name, now - 100, old, now, end) for name in (key, "asgijobs")])
    expected = [{"type": "old"}] if who == "stock" else []
    for name in (channel, "jobs"):
        assert await take_until(reader, name, END) == expected


@both
async def test_capacity_of_a_key_is_that_of_its_first_member(layers, redis, who):
    capacities = {f"{SOMEBODY}a*": 1, f"{SOMEBODY}*": 3}
    sender = layers.open(who, channel_capacity=capacities)
    await sender.group_add("narrow", f"{SOMEBODY}a")
    await sender.group_add("narrow", f"{SOMEBODY}b")
    await sender.group_add("wide", f"{SOMEBODY}b")
    await sender.group_add("wide", f"{SOMEBODY}a")
    for group, stored in (("narrow", 1), ("narrow", 1), ("wide", 2), ("wide", 3), ("wide", 3), ("narrow", 3)):
        await sender.group_send(group, {"type": "x"})
        assert redis.command("ZCARD", f"asgi{SOMEBODY}") == stored


@both
async def test_patterns_of_capacities(layers, redis, who):
    """Python's globs: no escapes, no [^, the first that matches."""
    patterns = {"a?c": 1, "b*": 2, "c[xy]": 1, "c[!xy]": 2, "d[^e]": 1, "specific.*!d": 1}
    layer = layers.open(who, channel_capacity=patterns, capacity=3)
    for channel, capacity in (
        ("abc", 1),
        ("ac", 3),
        ("abbc", 3),
        ("b", 2),
        ("b.b.b", 2),
        ("cx", 1),
        ("cz", 2),
        ("de", 1),  # [^e] is "^" or "e"
        ("dx", 3),
        ("specific.x!d", 1),
        ("specific.x!e", 3),
    ):
        clear(redis)
        full = None
        for number in range(5):
            try:
                await layer.send(channel, {"type": "x"})
            except Exception as error:
                assert type(error).__name__ == "ChannelFull"
                full = number
                break
        assert full == capacity, channel


async def test_what_is_read_is_gone(layers, redis):
    """Nothing of a message is left behind: neither its key nor a backup."""
    sender, reader = layers.open("stock"), layers.open("ours")
    channel = await reader.new_channel()
    for name in (channel, "jobs"):
        await sender.send(name, {"type": "x"})
        await take(reader, name)
    await until(lambda: not keys(redis), "nothing is left")


async def test_group_is_gone_with_its_last_member(layers, redis):
    layer = layers.open("ours")
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    assert redis.command("ZCARD", "asgi:group:room") == 1
    await layer.group_discard("room", channel)
    await until(lambda: not redis.command("EXISTS", "asgi:group:room"), "the group is gone")


async def test_memberships_outlive_group_expiry_as_long_as_their_process(layers, redis):
    """wire-format §12.3/3: with channels_redis a socket that is open for longer than group_expiry misses everything."""
    ours, stock = layers.open("ours", group_expiry=2), layers.open("stock", group_expiry=2)
    channel = await ours.new_channel()
    await ours.group_add("room", channel)
    first = members(redis, "asgi:group:room")[0][1]
    await until(lambda: members(redis, "asgi:group:room")[0][1] >= first + 2, "the membership is made new")
    await stock.group_send("room", {"type": "x"})
    assert await take(ours, channel) == {"type": "x"}
