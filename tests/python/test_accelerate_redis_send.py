# SPDX-License-Identifier: BSD-3-Clause
"""RedisChannelLayer.group_send: what it leaves in Redis, logs and raises is what stock's leaves, logs and raises."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

if importlib.util.find_spec("channels_redis") is None:
    pytest.skip("channels_redis is not installed", allow_module_level=True)

import redis.exceptions
from channels_redis import core
from redis_server import RedisServer

from channelsd.accelerate import redis_send


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["stock", "accelerated"])
def cls(request, monkeypatch):
    stock = core.RedisChannelLayer.group_send
    stock = getattr(stock, "__wrapped__", stock)
    monkeypatch.setattr(core.RedisChannelLayer, "group_send", stock)
    if request.param == "accelerated":
        monkeypatch.setattr(core.RedisChannelLayer, "group_send", redis_send.make_group_send(core))
    return core.RedisChannelLayer


@pytest.fixture
async def make_layer(cls, server):
    server.command("FLUSHALL")
    layers = []

    def make(**options):
        options.setdefault("hosts", [server.socket_url])
        layers.append(cls(**options))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.close_pools()


def queued(layer, server, name):
    """How many messages wait in a queue."""
    return server.command("ZCARD", layer.prefix + name)


async def pop(layer, name):
    """The next message in a queue, with the channels that it is for."""
    _, member, _ = await layer.connection(0).bzpopmin(layer.prefix + name, timeout=5)
    return layer.deserialize(member)


async def test_each_process_gets_one_message_with_its_members(make_layer, server):
    layer = make_layer(expiry=30)
    for channel in ("specific.a!1", "jobs", "specific.b!1", "specific.a!2"):
        await layer.group_add("g", channel)
    await layer.group_send("g", {"type": "x", "data": b"\x00\xff", "list": [1, None, 2.5]})
    content = {"type": "x", "data": b"\x00\xff", "list": [1, None, 2.5]}
    for name, channels in (
        ("specific.a!", ["specific.a!1", "specific.a!2"]),
        ("specific.b!", ["specific.b!1"]),
        ("jobs", ["jobs"]),
    ):
        assert queued(layer, server, name) == 1
        assert 28 <= server.command("TTL", layer.prefix + name) <= 30
        assert await pop(layer, name) == {**content, "__asgi_channel__": channels}


async def test_a_group_of_5000(make_layer, server):
    layer = make_layer()
    channels = [f"specific.a!{n}" for n in range(5000)]
    await layer.connection(0).zadd("asgi:group:g", {channel: 1e10 + n for n, channel in enumerate(channels)})
    await layer.group_send("g", {"type": "x"})
    assert (await pop(layer, "specific.a!"))["__asgi_channel__"] == channels


async def test_an_empty_group_writes_nothing(make_layer, server):
    layer = make_layer()
    await layer.group_send("g", {"type": "x"})
    await layer.group_send("g", "no dictionary, which nobody looks at")
    assert server.command("KEYS", "*") == []


async def test_a_full_queue_is_skipped_and_logged(make_layer, server, caplog):
    caplog.set_level(logging.INFO, "channels_redis.core")
    layer = make_layer(capacity=2, channel_capacity={"jobs": 3})
    await layer.group_add("g", "specific.a!1")
    await layer.group_add("g", "specific.a!2")
    await layer.group_add("g", "jobs")
    for _ in range(4):
        await layer.group_send("g", {"type": "x"})
    assert queued(layer, server, "specific.a!") == 2
    assert queued(layer, server, "jobs") == 3
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 3 channels over capacity in group g",
        "2 of 3 channels over capacity in group g",
    ]


async def test_what_has_expired_makes_room(make_layer, server):
    layer = make_layer(capacity=2)
    await layer.group_add("g", "jobs")
    for n in range(2):
        server.command("ZADD", "asgijobs", "1000", f"old{n}")
    await layer.group_send("g", {"type": "x"})
    assert await pop(layer, "jobs") == {"type": "x", "__asgi_channel__": ["jobs"]}
    assert queued(layer, server, "jobs") == 0


async def test_members_that_joined_too_long_ago_are_dropped(make_layer, server):
    layer = make_layer(group_expiry=100)
    await layer.group_add("g", "jobs")
    server.command("ZADD", "asgi:group:g", "1000", "gone")
    await layer.group_send("g", {"type": "x"})
    assert server.command("ZRANGE", "asgi:group:g", 0, -1) == ["jobs"]
    assert server.command("EXISTS", "asgigone") == 0


async def test_wrong_groups_raise(make_layer, server):
    layer = make_layer()
    with pytest.raises(TypeError):
        await layer.group_send("no/name", {"type": "x"})
    server.command("SET", "asgi:group:g", "text")
    with pytest.raises(redis.exceptions.ResponseError, match=r"^WRONGTYPE Operation against a key"):
        await layer.group_send("g", {"type": "x"})


async def test_a_member_that_is_no_text_fails_the_group(make_layer, server):
    layer = make_layer()
    server.command("ZADD", "asgi:group:g", "1e10", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        await layer.group_send("g", {"type": "x"})


async def test_a_message_that_cannot_be_packed(make_layer, server):
    layer = make_layer()
    await layer.group_add("g", "jobs")
    with pytest.raises(TypeError):
        await layer.group_send("g", {"type": object()})
    assert queued(layer, server, "jobs") == 0


async def test_an_expiry_that_is_no_whole_number(make_layer, server):
    layer = make_layer(expiry=30.5)
    await layer.group_add("g", "jobs")
    with pytest.raises(redis.exceptions.ResponseError, match="value is not an integer"):
        await layer.group_send("g", {"type": "x"})
    assert queued(layer, server, "jobs") == 1


async def test_several_hosts(make_layer, server):
    layer = make_layer(hosts=[server.socket_url, f"{server.socket_url}?db=1"])
    channels = [f"specific.{n}!x" for n in range(20)]
    for channel in channels:
        await layer.group_add("g", channel)
    await layer.group_send("g", {"type": "x"})
    sizes = []
    for database in (0, 1):
        sizes.append(
            server.command("EVAL", f"redis.call('SELECT', {database}) return #redis.call('KEYS', 'asgisp*')", 0)
        )
    assert sum(sizes) == 20
    assert all(sizes)


@pytest.mark.parametrize("cls", ["accelerated"], indirect=True)
async def test_a_server_without_the_library_gets_stocks_commands(make_layer, server, monkeypatch):
    monkeypatch.setattr(redis_send, "_MEMBERS", "return cmsgpack_that_is_not_there.pack({})")
    layer = make_layer()
    await layer.group_add("g", "jobs")
    server.command("CONFIG", "RESETSTAT")
    for _ in range(2):
        await layer.group_send("g", {"type": "x"})
    assert "cmdstat_zrange:calls=2," in server.command("INFO", "commandstats")
    assert queued(layer, server, "jobs") == 2
