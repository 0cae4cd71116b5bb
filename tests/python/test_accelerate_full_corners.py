# SPDX-License-Identifier: BSD-3-Clause
"""Mode full: responses, caches, connections and middleware with code of their own in unusual places do what they do under
stock Django. The requests are in apps/full_corners.py, served with and without it in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_full_equal import ROOT, pytestmark

__all__ = ["pytestmark"]  # pytest's: the versions that are tested

PROGRAM = Path(__file__).resolve().parent / "apps" / "full_corners.py"


def run(mode, database):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), mode, str(database)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corners")
    return run("off", folder / "off.sqlite3"), run("full", folder / "full.sqlite3")


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"{way} {kind}, {middleware}"
            for way in ("sync", "async")
            for kind in ("plain", "spoilt", "cached", "database", "headers", "named")
            for middleware in ("no middleware", "middleware of the loop")
        ),
        *(f"{way}, a cache used outside" for way in ("sync", "async")),
        *(
            f"{way}, process_view of {names}"
            for way in ("sync", "async")
            for names in (["FalsyFalse"], ["FalsyText"], ["FalsyFalse", "Falsy"], ["Falsy", "FalsyFalse"])
        ),
        *(
            f"{way}, chain of {names}"
            for way in ("sync", "async")
            for names in (
                ["Own", "Other"],
                ["Other", "Own", "Own"],
                ["Own", "Falsy", "Other", "Own"],
                ["AsynchronousStep"],
            )
        ),
        *(f"{way}, get_response replaced" for way in ("sync", "async")),
    ],
)
def test_same_as_stock(pair, name):
    off, full = pair
    assert full["traces"][name] == off["traces"][name]


def test_every_request_was_compared(pair):
    assert {len(side["traces"]) for side in pair} == {44}


def test_a_connection_that_cannot_be_closed_spoils_no_response(pair):
    for side in pair:
        trace = side["traces"]["sync spoilt, no middleware"]
        assert ["sent", 200, "", False, "loop"] in trace
        assert ["raised", "RuntimeError: cannot be closed"] in trace


def test_what_cannot_be_taken_apart_is_all_that_took_stocks_way(pair):
    _, full = pair
    served = {name: count for name, count in full["counters"].items() if count and not name.startswith("served")}
    assert served == {"middleware __main__.serve_replaced": 2}


def test_middleware_of_its_own_next_to_another_is_called(pair):
    for side in pair:
        trace = side["traces"]["sync, chain of ['Own', 'Other']"]
        assert trace.count(["own", "in", "loop"]) == 2
        assert ["sent", 200, "", False, "loop"] in trace


def test_a_response_with_a_status_of_its_own_needs_no_thread(pair):
    _, full = pair
    for middleware in ("no middleware", "middleware of the loop"):
        assert f"async named, {middleware}" in full["without a thread"]
