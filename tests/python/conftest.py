# SPDX-License-Identifier: BSD-3-Clause
"""Workers that the tests of a module share, one for each event loop; nodes of the channel layer."""

import importlib.util

import pytest

from fake_edge import Edge
from fake_node import Node

LOOPS = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") else [])


@pytest.fixture(scope="module", params=LOOPS)
def edge(request):
    """A worker of apps/probe.py with a close timeout of 0.3 s."""
    with Edge("probe:application", "--loop", request.param, "--application-close-timeout", "0.3") as edge:
        yield edge


@pytest.fixture
def node(tmp_path):
    with Node(tmp_path / "layer.sock") as node:
        yield node


@pytest.fixture
def notes(edge):
    """Callable: what the applications noted since the last call, once at least `count` notes are there."""

    def take(count=0):
        found = []
        while True:
            found += eval(edge.text("/notes"))
            if len(found) >= count:
                return found

    take()
    return take
