# SPDX-License-Identifier: BSD-3-Clause
"""Mode full: the same requests with and without it, through the same project, give the same traces.

The project and its scenarios are in tests/conformance/full/project; each side runs in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

django = pytest.importorskip("django")

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = ROOT / "tests" / "conformance" / "full" / "project"

# Versions that mode full knows; it leaves others alone, and says so.
pytestmark = pytest.mark.skipif(
    django.VERSION[:2] not in ((4, 2), (5, 0), (5, 1), (5, 2), (6, 0), (6, 1)), reason="Django is not accelerated"
)


def run(program, *arguments, **env):
    """What a program of the project printed, decoded."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROJECT / program), *arguments],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=[{}, {"TRACED_ATOMIC": "1"}], ids=["", "ATOMIC_REQUESTS"])
def pair(request):
    """(off, full): the reports of both sides."""
    return run("drive.py", "off", **request.param), run("drive.py", "full", **request.param)


@pytest.mark.timeout(200)
def test_traces_are_equal(pair):
    off, full = pair
    assert full["replaced"] == "django.core.handlers.asgi.ASGIHandler.handle"
    assert off["traces"].keys() == full["traces"].keys()
    different = {
        name: {"off": trace, "full": full["traces"][name]}
        for name, trace in off["traces"].items()
        if trace != full["traces"][name]
    }
    assert not different, json.dumps(different, indent=1)


def test_each_middleware_is_made_once(pair):
    off, full = pair
    assert off["made"] == full["made"]


def test_only_what_cannot_be_taken_apart_takes_stocks_way(pair, request):
    _, full = pair
    counters = full["counters"]
    assert counters["served in one hop"] > 500
    assert counters["served around asynchronous middleware"] > 100
    # No asynchronous view is called with ATOMIC_REQUESTS.
    assert "ATOMIC_REQUESTS" in request.node.name or counters["served without a thread"] >= 15
    reasons = {name for name, count in counters.items() if count and name.startswith(("middleware", "handler", "Base"))}
    assert reasons == {
        "middleware middleware.AsyncHooks.process_view",
        "middleware middleware.async_only: what it calls was not found",
    }
