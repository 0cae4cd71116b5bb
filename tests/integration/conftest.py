# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the integration tests: `serve` starts servers that are stopped and checked at the end of the test."""

import contextlib
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from layer_tool import a_place
from redis_server import RedisServer
from server import Channelsd

# Under nohup the programs of the tests would be born with it ignored, and heed that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def serve():
    """serve("module:application", *arguments, **keywords of Channelsd) -> Channelsd."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Channelsd(*args, **kwargs))


@pytest.fixture(scope="module")
def scripted():
    """A server of apps/scripted.py that the tests of a file share."""
    with Channelsd("scripted:application") as server:
        yield server


@pytest.fixture(scope="module")
def redis():
    """A Redis that the tests of a file share."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["node", "redis"])
def place(request, tmp_path):
    """The arguments by which `channelsd layer …` finds a layer, of either kind."""
    with a_place(request, tmp_path) as arguments:
        yield arguments
