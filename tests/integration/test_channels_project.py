# SPDX-License-Identifier: BSD-3-Clause
"""A Django project with Channels (project/) where it meets what Daphne does not have or does otherwise. What both do
alike is in tests/conformance/test_same_as_daphne_channels.py."""

import json
import os
import subprocess
import sys
import threading

import pytest
from server import ROOT, Channelsd
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from ws_client import RawWebSocket, get

PROJECT = ROOT / "tests" / "integration" / "project"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    env = {"PROJECT_DB": str(tmp_path_factory.mktemp("project") / "db.sqlite3")}
    subprocess.run([sys.executable, "prepare.py"], cwd=PROJECT, env={**os.environ, **env}, check=True)
    return env


@pytest.fixture
def serve_project(serve, environment):
    return lambda *arguments: serve("config.asgi:application", *arguments, cwd=PROJECT, env=environment)


def chat(server, room):
    return connect(f"{server.ws_url}/ws/chat/{room}/", origin=server.url, open_timeout=10)


def test_project_starts_and_ends_without_a_warning(serve_project):
    """Django and Channels know no lifespan; nobody needs to read about it."""
    server = serve_project()
    assert json.loads(get(server, "/whoami/")) == {"user": "", "authenticated": False}
    server.stop()
    for word in ("lifespan", "WARNING", "ERROR", "Traceback"):
        assert word not in server.stderr.text()


def test_reason_of_a_close_reaches_nobody_else_and_the_code_reaches_the_consumer(serve_project):
    server = serve_project()
    with chat(server, "a") as stays, chat(server, "a") as goes:
        assert [json.loads(stays.recv(5))["text"] for _ in range(2)] == ["joined", "joined"]
        goes.close(4321, "reason")
        assert json.loads(stays.recv(5))["text"] == "left 4321"


def test_loss_of_a_client_reaches_its_group_as_1006(serve_project):
    server = serve_project()
    with chat(server, "a") as stays:
        assert json.loads(stays.recv(5))["text"] == "joined"
        fields = {"Host": f"127.0.0.1:{server.port}"}
        client = RawWebSocket(("127.0.0.1", server.port), "/ws/chat/a/", fields, [f"Origin: {server.url}"])
        assert json.loads(stays.recv(5))["text"] == "joined"
        client.drop()
        assert json.loads(stays.recv(5))["text"] == "left 1006"


def test_close_without_a_code_reaches_the_group_as_1005(serve_project):
    server = serve_project()
    with chat(server, "a") as stays:
        assert json.loads(stays.recv(5))["text"] == "joined"
        fields = {"Host": f"127.0.0.1:{server.port}"}
        with RawWebSocket(("127.0.0.1", server.port), "/ws/chat/a/", fields, [f"Origin: {server.url}"]) as client:
            assert json.loads(stays.recv(5))["text"] == "joined"
            client.send(8)
            assert client.closing() == (None, "")
        assert json.loads(stays.recv(5))["text"] == "left 1005"


def test_group_message_to_a_client_that_just_left_is_no_error(serve_project):
    """Its consumer sends on until it hears of the end: Channels does not expect that to fail."""
    server = serve_project()
    mark = len(server.stderr.data)
    with chat(server, "busy") as talker:
        fields = {"Host": f"127.0.0.1:{server.port}"}
        for _ in range(20):
            target = ("127.0.0.1", server.port)
            client = RawWebSocket(target, "/ws/chat/busy/", fields, [f"Origin: {server.url}"])
            talker.send(json.dumps({"text": "x" * 1000}))
            client.drop()
        talker.send(json.dumps({"text": "end"}))
        while json.loads(talker.recv(5))["text"] != "end":
            pass
    get(server, "/whoami/")
    assert b"Traceback" not in server.stderr.data[mark:]


def test_consumer_that_raises_shows_its_traceback(serve_project):
    server = serve_project()
    with connect(server.ws_url + "/ws/raise/", origin=server.url) as client:
        client.send("x")
        with pytest.raises(ConnectionClosed):
            client.recv(5)
        assert client.close_code == 1011
    server.log_has(rb"(?s)Traceback.*RuntimeError: consumer broke")


def test_synchronous_consumers_and_views_at_a_time(serve_project):
    server = serve_project("--workers", 2)
    failures = []

    def visit(number):
        try:
            with connect(f"{server.ws_url}/ws/sync/room-{number}/", origin=server.url, open_timeout=10) as client:
                for i in range(10):
                    client.send(f"{number} {i}")
                    assert client.recv(5) == f"{number} {i}"
                    assert json.loads(get(server, "/session/")) == {"visits": 1}
        except BaseException as error:
            failures.append(repr(error))

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(6)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert failures == []
    server.stop()
    assert "Traceback" not in server.stderr.text()


def test_shutdown_tells_the_clients_and_the_consumers(environment):
    with Channelsd("config.asgi:application", cwd=PROJECT, env=environment) as server:
        with chat(server, "a") as client:
            assert json.loads(client.recv(5))["text"] == "joined"
            server.signal(15)
            with pytest.raises(ConnectionClosed):
                client.recv(5)
            assert client.close_code == 1001
        assert server.wait_exit() == 0
        assert "Traceback" not in server.stderr.text()
