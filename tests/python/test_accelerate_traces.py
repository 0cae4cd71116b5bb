# SPDX-License-Identifier: BSD-3-Clause
"""--accelerate exact is equal to stock in all that an application can observe: the scenarios in accelerated/ leave the same
traces with it and without it.

What is not compared, because it may differ: the number of loop turns (and with it the order in which events of different
clients are handled), and the tasks that Channels makes for itself.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import LOOPS
from fake_edge import NOT_INHERITED

pytest.importorskip("channels")

RUNNER = Path(__file__).resolve().parent / "accelerated" / "runner.py"
SECONDS = 240  # for all scenarios of one loop
pytestmark = pytest.mark.timeout(SECONDS)
MODULES = (
    "turns",
    "sources",
    "kinds",
    "layers",
    "messages",
    "endings",
    "databases",
    "projects",
    "fanning",
    "fanning_own",
)


def run(mode, loop):
    """What the runner prints."""
    env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    result = subprocess.run(
        [sys.executable, str(RUNNER), mode, loop], env=env, capture_output=True, check=False, text=True
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module", params=LOOPS)
def results(request):
    """What the runner printed with acceleration off and on."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield tuple(pool.map(run, ("off", "exact"), (request.param,) * 2))


def difference(off, exact):
    """Where two traces part, as text; None if they do not."""
    for index, (left, right) in enumerate(zip(off, exact)):
        if left != right:
            return f"note {index}: stock {left}, exact {right}"
    if len(off) != len(exact):
        return f"notes: stock {len(off)}, exact {len(exact)}: {(off if len(off) > len(exact) else exact)[-3:]}"
    return None


def differences(off, exact):
    """The scenarios of two results whose traces part, with where."""
    assert off.keys() == exact.keys()
    found = {name: difference(off[name], exact[name]) for name in off}
    return {name: text for name, text in found.items() if text is not None}


def test_everything_was_replaced(results):
    """With versions that are known, which those of the suites are, it is acceleration that is tested here."""
    off, exact = results
    assert off["replacements"] == off["skipped"] == exact["skipped"] == []
    assert {
        "channels.consumer.await_many_dispatch",
        "channels.consumer.AsyncConsumer.dispatch",
        "channels.layers.InMemoryChannelLayer",
    } <= set(exact["replacements"])


@pytest.mark.parametrize("module", MODULES)
def test_traces_are_equal(results, module):
    off, exact = (result["traces"][module] for result in results)
    assert len(off) > 5
    for name, trace in (*off.items(), *exact.items()):
        assert [note for note in trace if note[0] == "failed"] == [], name
        # The last note tells that nothing is left of the applications, nor of their tasks.
        assert ["applications left", 0, "tasks left", 0] in trace, name
        assert len(trace) > 1, name
    found = differences(off, exact)
    assert not found, "\n".join(f"{name}: {text}" for name, text in found.items())


def test_difference_is_told():
    assert difference([[1], [2]], [[1], [2]]) is None
    assert difference([[1], [2]], [[1], [3]]) == "note 1: stock [2], exact [3]"
    assert difference([[1], [2]], [[1]]).startswith("notes: stock 2, exact 1")
