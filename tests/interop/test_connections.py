# SPDX-License-Identifier: BSD-3-Clause
"""Every way to a Redis that CONFIG["hosts"] can name, with both makes of layer on it."""

import asyncio
import contextlib
import gc
from pathlib import Path

import pytest
from layer_rig import MIXED, take, until
from redis_proxy import RedisProxy
from redis_rig import Certificates, Failover, TlsRedis
from redis_server import RedisServer, has_tls, need, version

from channelsd.layer import ChannelLayerTimeout, ChannelLayerUnavailable

MESSAGE = {"type": "x", "text": "\u2713"}


@pytest.fixture(scope="module")
def tls():
    need(has_tls(), "TLS")
    certificates = Certificates()
    with TlsRedis(certificates) as server:
        yield server
    certificates.cleanup()


@pytest.fixture(scope="module")
def guarded():
    """A Redis with users: "app" with a password that needs escaping, and a default user with one."""
    need(version() >= (6, 0), "users")
    with RedisServer() as server:
        set_user(server, "app", ">p@ss/w:rd", "~asgi*", "+@all")
        set_user(server, "reader", ">x", "~asgi*", "-@all", "+ping", "+select", "+hello")
        yield server


def set_user(server, name, *rights):
    """A user who may use every channel of pub/sub, for which there is no right before 6.2."""
    server.command("ACL", "SETUSER", name, "on", *rights, *(["&*"] if version() >= (6, 2) else []))


async def exchange(layers, kind, **config):
    """Each operation once."""
    sender, reader = layers.pair(kind, **config)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    for call in (sender.send(channel, MESSAGE), sender.group_send("room", MESSAGE)):
        await call
        assert await take(reader, channel) == MESSAGE
    await sender.send("jobs", MESSAGE)
    assert await take(reader, "jobs") == MESSAGE


HOSTS = {
    "url": lambda redis: f"redis://127.0.0.1:{redis.port}",
    "url with a database": lambda redis: f"redis://localhost:{redis.port}/3",
    "url whose query wins": lambda redis: f"redis://127.0.0.1:{redis.port}/4?db=3",
    "pair": lambda redis: ("127.0.0.1", redis.port),
    "list": lambda redis: ["127.0.0.1", redis.port],
    "dict": lambda redis: {"host": "127.0.0.1", "port": redis.port, "db": 3},
    "address": lambda redis: {"address": f"redis://127.0.0.1:{redis.port}", "db": 3},
    "address that wins": lambda redis: {"address": f"redis://127.0.0.1:{redis.port}/3", "db": 4},
    "patient": lambda redis: {"address": f"redis://127.0.0.1:{redis.port}/3", "socket_timeout": None},
    "unix socket": lambda redis: f"unix://{redis.path}",
    "unix socket with a database": lambda redis: f"unix://{redis.path}?db=3",
}
DATABASE = {"url": 0, "pair": 0, "list": 0, "unix socket": 0}


@pytest.mark.parametrize("kind", ["stock-to-ours", "ours-to-stock"])
@pytest.mark.parametrize("form", HOSTS)
async def test_forms_of_hosts(own_layers, redis, form, kind):
    redis.command("FLUSHALL")
    await exchange(own_layers([HOSTS[form](redis)]), kind)
    there = [redis.pipeline([("SELECT", db), ("EXISTS", "asgi:group:room")])[1] for db in range(5)]
    assert there.index(1) == DATABASE.get(form, 3) and sum(there) == 1, "the member of the group is still there"


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize(
    "host",
    [
        lambda tls: f"rediss://127.0.0.1:{tls.tls_port}?ssl_ca_certs={tls.certificates.ca}",
        lambda tls: {"address": f"rediss://localhost:{tls.tls_port}/2", "ssl_ca_certs": str(tls.certificates.ca)},
        lambda tls: {
            "address": f"rediss://localhost:{tls.tls_port}",
            "ssl_ca_data": Path(tls.certificates.ca).read_text(),
        },
        lambda tls: f"rediss://127.0.0.1:{tls.tls_port}?ssl_cert_reqs=none",
    ],
    ids=["authority in the url", "authority beside it", "authority itself", "unverified"],
)
async def test_tls(own_layers, tls, host, kind):
    tls.command("FLUSHALL")
    await exchange(own_layers([host(tls)]), kind)


async def test_certificate_of_nobody_known_is_refused(own_layers, tls):
    layer = own_layers([f"rediss://127.0.0.1:{tls.tls_port}"]).open("ours")

    async def is_named():
        # "not sent", or of a node that is held up by looking at the certificate: "did not answer"
        with pytest.raises((ChannelLayerUnavailable, ChannelLayerTimeout)) as error:
            await layer.send("jobs", MESSAGE)
        return "certificate" in str(error.value) and str(tls.tls_port) in str(error.value)

    await until(is_named, "the certificate is named")


async def test_plain_server_where_tls_is_spoken(own_layers, redis):
    layer = own_layers([f"rediss://127.0.0.1:{redis.port}?ssl_cert_reqs=none"]).open("ours")
    with pytest.raises(Exception, match=rf"{redis.port}"):
        await layer.send("jobs", MESSAGE)


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize(
    "host",
    [
        lambda guarded: f"redis://app:p%40ss%2Fw%3Ard@127.0.0.1:{guarded.port}/5",
        lambda guarded: {
            "host": "127.0.0.1",
            "port": guarded.port,
            "username": "app",
            "password": "p@ss/w:rd",
            "db": 5,
        },
        lambda guarded: f"unix://app:p%40ss%2Fw%3Ard@{guarded.path}?db=5",
    ],
    ids=["url", "dict", "unix socket"],
)
async def test_user_and_password(own_layers, guarded, host, kind):
    guarded.command("FLUSHALL")
    await exchange(own_layers([host(guarded)]), kind)


async def test_wrong_password_is_told_without_telling_it(own_layers, guarded):
    layers = own_layers([f"redis://app:not-the-secret@127.0.0.1:{guarded.port}"])
    layer = layers.open("ours")
    with pytest.raises(Exception, match="WRONGPASS") as error:
        await layer.send("jobs", MESSAGE)
    assert str(guarded.port) in str(error.value)
    log = layers.nodes.get("one", {"hosts": layers.hosts}).stderr.text()
    assert "not-the-secret" not in log + str(error.value)


@pytest.mark.parametrize("whose", ["a user's", "everybody's"])
async def test_right_password_given_later_is_enough(own_layers, whose):
    """Nobody starts the node again for a mistake on the other side."""
    need(whose == "everybody's" or version() >= (6, 0), "users")
    with RedisServer("--requirepass", "first") as server:
        name = "late" if whose == "a user's" else ""
        layer = own_layers([f"redis://{name}:secret@127.0.0.1:{server.port}"]).open("ours")
        with pytest.raises(Exception, match="WRONGPASS" if version() >= (6, 0) else "the password is refused"):
            await layer.send("jobs", MESSAGE)
        right = ("ACL", "SETUSER", name, "on", ">secret", "~*", "+@all")
        server.pipeline([("AUTH", "first"), right if name else ("CONFIG", "SET", "requirepass", "secret")])

        async def is_sent():
            with contextlib.suppress(Exception):
                await layer.send("jobs", MESSAGE)
                return True

        await until(is_sent, "the password is right now")


async def test_user_without_permission_is_told(own_layers, guarded):
    layer = own_layers([f"redis://reader:x@127.0.0.1:{guarded.port}"]).open("ours")
    for call in (layer.send("jobs", MESSAGE), layer.group_send("room", MESSAGE)):
        with pytest.raises(Exception, match=r"NOPERM|permission"):
            await call


async def test_nobody_listens(own_layers):
    with RedisServer() as server:
        pass
    layer = own_layers([server.url]).open("ours")
    with pytest.raises(Exception, match=rf"127\.0\.0\.1:{server.port}"):
        await layer.send("jobs", MESSAGE)


# What came with Redis 6 and 7 and a layer might use.
NEW_COMMANDS = [
    "HELLO",
    "ZMPOP",
    "BZMPOP",
    "LMPOP",
    "LMOVE",
    "GETEX",
    "GETDEL",
    "COPY",
    "ZRANGESTORE",
    "ZMSCORE",
    "FCALL",
]


@pytest.mark.parametrize("kind", ["ours-to-ours", "ours-beside"])
async def test_redis_5(own_layers, kind):
    """One that says it is, and has none of what came later."""
    with RedisServer() as server:
        known = server.pipeline([("COMMAND", "INFO", *NEW_COMMANDS)])[0]
    names = [name for name, info in zip(NEW_COMMANDS, known) if info]
    assert len(known) == len(NEW_COMMANDS) and ("HELLO" in names) == (version() >= (6, 0))
    gone = [word for name in names for word in ("--rename-command", name, "")]
    with RedisServer(*gone) as server:
        told = server.info("server")["redis_version"].encode()
        with RedisProxy(server.port, rewrite=(told, b"5" + told[1:])) as proxy:
            await exchange(own_layers([proxy.url]), kind)


@pytest.fixture
def cluster():
    """A Redis Cluster of one, which has all slots."""
    with RedisServer("--cluster-enabled", "yes") as server:
        server.command("CLUSTER", "ADDSLOTS", *range(16384))
        server.wait_until(lambda: "cluster_state:ok" in server.command("CLUSTER", "INFO"), "the cluster is up")
        yield server


async def to_three_keys(layer):
    channels = ("jobs-1", "jobs-2", "jobs-3")
    for channel in channels:
        await layer.group_add("all", channel)
    await layer.group_send("all", MESSAGE)
    for channel in channels:
        assert await take(layer, channel, 3) == MESSAGE


@pytest.mark.parametrize("kind", ["stock-to-ours", "ours-to-stock", "ours-to-ours"])
async def test_cluster_with_a_prefix_that_keeps_keys_together(own_layers, cluster, kind):
    """wire-format §12.4."""
    layers = own_layers([cluster.url])
    await exchange(layers, kind, prefix="{asgi}")
    await to_three_keys(layers.open("ours", prefix="{asgi}"))


async def test_cluster_without_one_works_or_says_that_it_does_not(own_layers, cluster):
    layers = own_layers([cluster.url])
    layer = layers.open("ours")
    node = layers.nodes.get("one", {"hosts": layers.hosts})
    try:
        await exchange(layers, "ours-to-ours")
        await to_three_keys(layer)
    except asyncio.TimeoutError:
        assert "Redis Cluster" in node.stderr.text()
    except (ConnectionError, NotImplementedError, RuntimeError) as error:
        assert "Redis Cluster" in str(error)


async def test_scripts_that_redis_forgot_are_sent_again(own_layers, redis):
    layers = own_layers([redis.url])
    await exchange(layers, "ours-to-ours")
    redis.command("SCRIPT", "FLUSH")
    await exchange(layers, "ours-to-ours")


@pytest.fixture
def leaks():
    """redis-py leaves its connections to a Sentinel open, whatever is closed: they are found here, and not counted."""
    yield
    gc.collect()


@pytest.fixture
def failover():
    with Failover() as rig:
        yield rig


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_sentinel_failover(leaks, own_layers, failover):
    """Reader and sender find the new master by themselves. What the sender was told was sent, and reached the new master,
    arrives; groups are whole without anybody joining again."""
    layers = own_layers([failover.host])
    reader, sender = layers.open("ours"), layers.open("ours", "two")
    stock = layers.open("stock")
    channel, stock_channel = await reader.new_channel(), await stock.new_channel()
    await reader.group_add("room", channel)
    await stock.group_add("room", stock_channel)
    await sender.group_send("room", {"type": "before"})
    assert await take(reader, channel) == {"type": "before"}
    await asyncio.get_running_loop().run_in_executor(None, failover.fail_over)
    # The replica has the group, so that a message is for everybody as soon as it can be sent.
    waiting = asyncio.ensure_future(take(reader, channel))

    async def is_sent():
        with contextlib.suppress(Exception):
            await sender.group_send("room", {"type": "after"})
            return True

    await until(is_sent, "the new master takes messages")
    assert await waiting == {"type": "after"}

    async def is_sent_by_stock():
        with contextlib.suppress(Exception):
            await stock.group_send("room", {"type": "of stock"})
            return True

    await until(is_sent_by_stock, "channels_redis finds the new master too")
    while (message := await take(reader, channel)) == {"type": "after"}:
        pass
    assert message == {"type": "of stock"}


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_sentinel_through_both_makes(leaks, own_layers, failover):
    for kind in MIXED:
        await exchange(own_layers([failover.host]), kind)


async def test_sentinel_that_knows_no_such_master(own_layers, failover):
    layer = own_layers([{**failover.host, "master_name": "other"}]).open("ours")
    with pytest.raises(Exception, match="other"):
        await layer.send("jobs", MESSAGE)
