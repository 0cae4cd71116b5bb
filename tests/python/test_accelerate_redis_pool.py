# SPDX-License-Identifier: BSD-3-Clause
"""Pools of RedisChannelLayer under redis-py's defaults, which from version 8 on end idle consumers."""

import asyncio
import importlib.util
import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

if importlib.util.find_spec("channels_redis") is None:
    pytest.skip("channels_redis is not installed", allow_module_level=True)

import redis
from channels_redis import core
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis_server import RedisServer

from channelsd.accelerate import redis_pool

LIMITED = int(redis.__version__.partition(".")[0]) >= 8
URL = "redis://127.0.0.1:1/0"
OWN_DICT = importlib.util.find_spec("channels_redis.utils") and hasattr(core, "create_pool")  # not in 4.0

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture
def cured(monkeypatch):
    """RedisChannelLayer with the replacement, for this test only."""
    stock = core.RedisChannelLayer.create_pool
    monkeypatch.setattr(core.RedisChannelLayer, "create_pool", getattr(stock, "__wrapped__", stock))
    redis_pool.install_pool(core)
    monkeypatch.setattr(redis_pool, "_said", set())
    return core.RedisChannelLayer


@pytest.fixture
def said(caplog):
    """Callable: what was logged, as pairs of a level and a text."""
    caplog.set_level(logging.INFO, "channelsd.accelerate")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


async def test_defaults_are_taken_off_and_said_once(cured, said):
    layer = cured(hosts=[URL, ("127.0.0.1", 2)])
    pools = [layer.create_pool(index) for index in (0, 1, 0)]
    for pool in pools:
        connection = pool.make_connection()
        assert connection.socket_timeout is None
        assert pool.max_connections == redis_pool.UNLIMITED
    if LIMITED:
        assert [connection.orig_socket_timeout for connection in [pools[0].make_connection()]] == [None]
        assert [level for level, _ in said()] == ["INFO", "INFO"]
        assert "socket_timeout of 5 s" in said()[0][1]
        assert "limit of 100 connections" in said()[1][1]
    else:
        assert said() == []
        assert "socket_timeout" not in pools[0].connection_kwargs


@pytest.mark.skipif(not OWN_DICT, reason="channels_redis 4.0 knows no more of such a host than its address")
@pytest.mark.parametrize("timeout", [None, 6, 30.5])
async def test_what_a_host_says_of_socket_timeout_stays(cured, said, timeout):
    pool = cured(hosts=[{"address": URL, "socket_timeout": timeout, "max_connections": 100}]).create_pool(0)
    assert pool.make_connection().socket_timeout == timeout
    assert pool.max_connections == 100
    assert said() == []


@pytest.mark.parametrize("timeout", [0.5, 5])
async def test_a_socket_timeout_that_is_too_short_stays_and_is_warned_of_once(cured, said, timeout):
    layer = cured(hosts=[f"{URL}?socket_timeout={timeout}&max_connections=7"])
    for _ in range(2):
        pool = layer.create_pool(0)
        assert pool.make_connection().socket_timeout == timeout
        assert pool.max_connections == 7
    ((level, text),) = said()
    assert level == "WARNING"
    assert f"socket_timeout of a Redis host is {float(timeout)} s, not more than the 5 s" in text
    assert 'Set "socket_timeout": None' in text


async def test_the_layers_own_waiting_time_counts(cured, said):
    class Patient(cured):
        brpop_timeout = 1

    pool = Patient(hosts=[f"{URL}?max_connections=7"]).create_pool(0)
    connection = pool.make_connection()
    assert connection.socket_timeout == (5 if LIMITED else None)
    assert said() == []


async def test_sentinels(cured):
    host = {"sentinels": [("127.0.0.1", 1)], "master_name": "master"}
    pool = cured(hosts=[host]).create_pool(0)
    assert pool.make_connection().socket_timeout is None
    assert pool.max_connections == redis_pool.UNLIMITED


async def test_an_unknown_version_is_told_what_to_set(monkeypatch, said):
    monkeypatch.setattr(redis_pool, "_said", set())
    redis_pool.warn_of_defaults(core.RedisChannelLayer)
    if LIMITED:
        ((level, text),) = said()
        assert level == "WARNING"
        assert '"socket_timeout": None' in text
    else:
        assert said() == []


async def test_receive_outlives_the_default_timeout(cured, server):
    """Stock's own receive(): the cure is of the pool, and not of who reads."""
    layer = cured(hosts=[server.url])
    channel = await layer.new_channel()
    receiving = asyncio.ensure_future(layer.receive(channel))
    done, _ = await asyncio.wait([receiving], timeout=6.5)
    assert not done
    await layer.send(channel, {"n": 0})
    assert await asyncio.wait_for(receiving, 10) == {"n": 0}
    await layer.close_pools()


async def test_400_commands_at_once(cured, server):
    layer = cured(hosts=[server.url], capacity=400)
    await asyncio.gather(*[layer.send("channel", {"n": n}) for n in range(400)])
    assert server.command("ZCARD", "asgichannel") == 400
    await layer.close_pools()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_the_pubsub_layer_needs_no_cure(server):
    layer = RedisPubSubChannelLayer(hosts=[server.url])
    channel = await layer.new_channel()
    receiving = asyncio.ensure_future(layer.receive(channel))
    done, _ = await asyncio.wait([receiving], timeout=6.5)
    assert not done
    await asyncio.gather(*[layer.send(channel, {"n": n}) for n in range(400)])
    assert await asyncio.wait_for(receiving, 10) == {"n": 0}
    for n in range(1, 400):
        assert await asyncio.wait_for(layer.receive(channel), 10) == {"n": n}
    await layer.flush()
