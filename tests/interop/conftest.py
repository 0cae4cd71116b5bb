# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the interop tests: a Redis, and layers of channels_redis and of channelsd on it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from layer_rig import Layers, Nodes, clear
from redis_server import RedisServer


@pytest.fixture(scope="session")
def shared_redis():
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_nodes(shared_redis):
    """Nodes "one", "two", … on the shared Redis, used by one test after the other as by one program after the other."""
    nodes = Nodes()
    yield nodes
    nodes.stop()


@pytest.fixture
def redis(shared_redis):
    """An empty Redis that nothing bad happens to."""
    clear(shared_redis)
    return shared_redis


FAILED = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


async def close(request, opened, end_nodes):
    """Ends the layers; after a failure their nodes too, since nobody knows what state they are in."""
    try:
        if request.node.stash[FAILED]:
            await opened.abandon()
        else:
            await opened.close()
            end_nodes()
    except BaseException:
        await opened.abandon()
        raise


@pytest.fixture
async def layers(request, redis, shared_nodes):
    """Layers on the shared Redis and the shared nodes."""
    opened = Layers([redis.url], shared_nodes)
    yield opened
    await close(request, opened, lambda: None)


@pytest.fixture
async def own_layers(request):
    """own_layers(hosts) -> Layers on them with nodes of their own, which end with the test."""
    made = []

    def make(hosts):
        made.append(Layers(hosts, Nodes()))
        return made[-1]

    yield make
    for opened in made:
        await close(request, opened, opened.nodes.stop)
