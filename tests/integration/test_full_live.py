# SPDX-License-Identifier: BSD-3-Clause
"""Mode full behind the real server: many that wait, own calls, uploads, streams, disconnects, groups, connections."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("channels")
django = pytest.importorskip("django")

from server import ROOT, Channelsd  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

PROJECT = ROOT / "tests" / "conformance" / "full" / "project"

# Versions that mode full knows; it leaves others alone, and says so.
pytestmark = pytest.mark.skipif(
    django.VERSION[:2] not in ((4, 2), (5, 0), (5, 1), (5, 2), (6, 0), (6, 1)), reason="Django is not accelerated"
)

WAIT = 20  # seconds; a test that needs them fails
# One edge loop: disconnects come in the order in which they happened. The timeout is what ends an asynchronous view of
# Django 4.2 whose client left.
OPTIONS = ("--accelerate", "full", "--edge-loops", "1", "--application-close-timeout", "1")


def start(tmp_path_factory, *arguments, **env):
    database = tmp_path_factory.mktemp("live") / "db.sqlite3"
    env = {"PYTHONPATH": str(ROOT / "python"), "LIVE_DATABASE": str(database), "LIVE_SERVES": "1", **env}
    return Channelsd("live:application", *OPTIONS, *arguments, cwd=Path(PROJECT), env=env)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = start(tmp_path_factory)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=WAIT, limits=httpx.Limits(max_connections=None)) as client:
        yield client


@pytest.fixture
def notes(client):
    """Callable: waits until `count` notes were made since the last call; returns them."""

    def take(count=0):
        found = []
        while True:
            found += client.get("/notes/").json()
            if len(found) >= count:
                return found

    take()
    return take


def request_and_leave(server, path):
    """Sends a request; returns the socket, to be closed when the time has come."""
    sock = server.connect()
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return sock


def test_the_log_says_what_was_replaced(server):
    server.log_has(r"Accelerated: .*django.core.handlers.asgi.ASGIHandler.handle")


def test_synchronous_and_asynchronous_views(client):
    before = client.get("/counters/").json()
    assert client.get("/plain/").text == client.get("/plain-async/").text == "plain"
    after = client.get("/counters/").json()
    assert after["served in one hop"] >= before["served in one hop"] + 2
    assert client.get("/threads-async/").json() == {"same": True}


def test_fifty_views_that_wait_for_one_another(client):
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: client.get("/together/").text, range(50)))
    assert answers == ["together"] * 50


def test_a_view_that_asks_its_own_server(client):
    assert client.get("/ask/6/").text == "deep"


def test_upload(client):
    files = {"small": ("s.txt", b"s" * 10), "large": ("l.bin", b"l" * 3_000_000)}
    answer = client.post("/upload/", data={"a": "1"}, files=files).json()
    assert answer == {"files": {"small": 10, "large": 3_000_000}, "fields": {"a": "1"}}


def test_stream(client):
    assert client.get("/stream/").text == "0\n1\n2\n3\n4\n"


def test_a_view_tells_a_group_of_this_worker(server, client):
    with connect(f"{server.ws_url}/ws/", open_timeout=WAIT) as websocket:
        assert client.get("/tell/").text == "told"
        assert json.loads(websocket.recv(timeout=WAIT)) == {"type": "news", "text": "told"}


def test_client_leaves_an_asynchronous_view(server, notes):
    sock = request_and_leave(server, "/wait-async/")
    assert notes(1) == ["waits"]
    sock.close()
    assert notes(1) == ["cancelled"]


def test_client_leaves_a_stream(server, notes):
    sock = request_and_leave(server, "/stream-async/")
    while b"first" not in sock.recv(65536):
        pass
    sock.close()
    assert "stream ended" in notes(2)


def test_client_leaves_a_synchronous_view(server, client, notes):
    """From Django 5.0 on nothing runs after the view; 4.2 does not hear of it."""
    hears = django.VERSION >= (5,)
    sock = request_and_leave(server, "/wait/")
    assert notes(1) == ["waits"]
    sock.close()
    if hears:
        # When a disconnect that was sent later has arrived, so has this one.
        other = request_and_leave(server, "/wait-async/")
        assert notes(1) == ["waits"]
        other.close()
        assert notes(1) == ["cancelled"]
    client.get("/left/")
    expected = ["/left/ 200", "waited"] if hears else ["/left/ 200", "/wait/ 200", "waited"]
    assert sorted(notes(len(expected))) == expected


def test_system_exit_of_a_view_ends_neither_worker_nor_thread(server, client):
    before = server.worker_pids()
    assert client.get("/leave/").status_code == 500
    assert client.get("/plain/").text == "plain"
    assert server.worker_pids() == before


def test_connections_are_closed_after_each_request_or_kept(tmp_path_factory, client):
    first, second = (client.get("/database/").json() for _ in range(2))
    assert first["thread"] == second["thread"]
    running = start(tmp_path_factory, LIVE_MAX_AGE="600")
    try:
        with httpx.Client(base_url=running.url, timeout=WAIT) as keeping:
            first, second = (keeping.get("/database/").json() for _ in range(2))
        assert first == second
    finally:
        running.stop()


def test_the_end_is_told_with_numbers(tmp_path_factory):
    running = start(tmp_path_factory)
    httpx.get(f"{running.url}/plain/")
    running.stop()
    assert "Django's HTTP requests: 1 served in one hop" in running.stderr.text()


def test_more_that_wait_than_threads(tmp_path_factory):
    running = start(tmp_path_factory, "--threads", "4")
    try:
        with httpx.Client(base_url=running.url, timeout=WAIT, limits=httpx.Limits(max_connections=None)) as client:
            with ThreadPoolExecutor(50) as clients:
                assert len(list(clients.map(lambda _: client.get("/together/").text, range(50)))) == 50
            own = "served by a thread of its own: all request threads are busy"
            assert client.get("/counters/").json()[own] >= 46
    finally:
        running.stop()
