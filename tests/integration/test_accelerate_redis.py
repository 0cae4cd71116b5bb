# SPDX-License-Identifier: BSD-3-Clause
"""Channels consumers on a RedisChannelLayer behind the server: the same with acceleration and without it."""

import contextlib
import importlib.util
import json

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

if importlib.util.find_spec("channels_redis") is None:
    pytest.skip("channels_redis is not installed", allow_module_level=True)

import redis as redis_py

SECONDS = 10

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=["off", "exact"])
def server(request, serve, redis):
    redis.command("FLUSHALL")
    return serve("redis_groups:application", "--accelerate", request.param, env={"TEST_REDIS": redis.url})


class Clients:
    """Members of the group, in the order in which they joined."""

    def __init__(self, server, stack, count):
        self.all = [stack.enter_context(connect(server.ws_url, open_timeout=SECONDS)) for _ in range(count)]

    def tell(self, n, sender=0):
        self.put({"do": "group", "n": n}, sender)

    def put(self, message, sender=0):
        self.all[sender].send(json.dumps(message))

    def get(self, client):
        return json.loads(client.recv(SECONDS))


@pytest.fixture
def clients(server):
    with contextlib.ExitStack() as stack:
        yield lambda count: Clients(server, stack, count)


def test_100_members_are_told_each_message_once_and_in_order(clients, redis):
    members = clients(100)
    for n in range(3):
        members.tell(n)
        assert [members.get(client) for client in members.all] == [{"n": n}] * 100
    assert redis.command("ZCARD", "asgi:group:all") == 100
    members.put({"do": "state"})
    # Nothing came between: nobody was told twice.
    assert members.get(members.all[0]) == {"buffered": [], "receiving": True}


def test_members_leave(clients, redis):
    members = clients(3)
    members.tell(0)
    assert [members.get(client) for client in members.all] == [{"n": 0}] * 3
    members.all.pop().close()
    members.tell(1)
    assert [members.get(client) for client in members.all] == [{"n": 1}] * 2
    # Its disconnect was handled before the close was answered or soon after: the layer's only word about it is the group.
    while redis.command("ZCARD", "asgi:group:all") != 2:
        members.tell(1)
        assert [members.get(client) for client in members.all] == [{"n": 1}] * 2


def test_a_handler_that_raises_ends_its_own_client(clients):
    members = clients(3)
    members.put({"do": "raise"}, 1)
    with pytest.raises(ConnectionClosedError) as closed:
        members.get(members.all[1])
    assert closed.value.rcvd.code == 1011
    del members.all[1]
    members.tell(0)
    assert [members.get(client) for client in members.all] == [{"n": 0}] * 2


def test_a_member_that_hangs_keeps_the_newest_messages(clients):
    members = clients(2)
    first, second = members.all
    members.put({"do": "hang"}, 0)
    # Its own message about it is taken ahead, or it is the oldest in the queue.
    assert members.get(second) == {"hung": True}
    for n in range(8):
        members.tell(n, 1)
        assert members.get(second) == {"n": n}
    members.put({"do": "state"}, 1)
    assert members.get(second) == {"buffered": [5], "receiving": True}
    members.put({"do": "release"}, 1)
    assert [members.get(first) for _ in range(6)] == [{"hung": True}] + [{"n": n} for n in range(3, 8)]
    members.tell(8, 1)
    assert [members.get(client) for client in members.all] == [{"n": 8}] * 2


def test_a_cut_connection_ends_the_member_that_was_receiving(clients, redis):
    members = clients(3)
    members.tell(0)
    assert [members.get(client) for client in members.all] == [{"n": 0}] * 3
    redis.wait_blocked(1)
    redis.kill_blocked()
    # Another one receives now. The one that was cut is closed, or will be.
    redis.wait_blocked(1)
    closed = 0
    for client in members.all:
        try:
            client.send(json.dumps({"do": "state"}))
            assert members.get(client) == {"buffered": [], "receiving": True}
        except ConnectionClosedError:
            closed += 1
    assert closed == 1


@pytest.mark.parametrize("server", ["exact"], indirect=True)
def test_an_idle_member_lives(server, clients):
    members = clients(3)
    with pytest.raises(TimeoutError):
        members.all[0].recv(6.5)
    members.tell(0)
    assert [members.get(client) for client in members.all] == [{"n": 0}] * 3
    server.log_has(r"Accelerated: .*channels_redis\.core\.RedisChannelLayer")
    if int(redis_py.__version__.partition(".")[0]) >= 8:
        server.log_has(r"INFO .*default socket_timeout of 5 s, which ends idle consumers, is off")
    assert server.stderr.text().count("which ends idle consumers") <= 1
    assert "Not accelerated" not in server.stderr.text()
