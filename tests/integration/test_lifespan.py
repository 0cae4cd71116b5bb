# SPDX-License-Identifier: BSD-3-Clause
"""ASGI's lifespan: order of startup and shutdown, the state, failures, and applications that know nothing of it."""

import re

import pytest
from server import Channelsd
from ws_client import RawWebSocket, get


def test_startup_comes_before_listening_and_shutdown_after_the_last_request(serve):
    server = serve("lifespans:application")
    log = server.stderr.text()
    assert log.index("lifespan startup") < log.index("Listening on TCP address")
    assert "lifespan scope ['asgi', 'state', 'type'] {'version': '3.0', 'spec_version': '2.0'}" in log
    assert "lifespan shutdown" not in log
    get(server, "/a")
    server.stop()
    log = server.stderr.text()
    assert "lifespan shutdown after 1" in log
    assert log.index("lifespan shutdown after") < log.index("lifespan end")


def test_each_request_and_websocket_has_a_copy_of_the_state(serve):
    server = serve("lifespans:application", "--workers", 1)
    for number in range(1, 4):
        assert get(server, "/").startswith(b"own=1 shared=%d keys=own,shared" % number)
    with RawWebSocket(("127.0.0.1", server.port)) as client:
        assert client.message().startswith("own=1 shared=4 ")


def test_each_worker_has_its_lifespan(serve):
    server = serve("lifespans:application", "--workers", 3)
    assert server.stderr.text().count("lifespan startup") == 3
    server.stop()
    assert server.stderr.text().count("lifespan shutdown after") == 3
    assert server.stderr.text().count("lifespan end") == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fails", "the database is on holiday"),
        ("fails_without_words", "the application gave no reason"),
        ("exits", "SystemExit"),
    ],
)
def test_failed_startup_ends_the_server_with_the_reason(name, reason):
    with Channelsd(f"lifespans:{name}", start=False, expect_exit=1) as server:
        assert server.wait_exit() == 1
    log = server.stderr.text()
    assert re.search(rf"channelsd: application 'lifespans:{name}' failed to start: .*{reason}", log)
    assert "Listening" not in log
    assert log.count("failed to start") == 1


@pytest.mark.parametrize("name", ["raises_at_once", "returns_at_once", "asserts_http"])
def test_application_without_lifespan_is_served_without_a_word(serve, name):
    server = serve(f"lifespans:{name}")
    assert get(server, "/") in (b"state=False", b"fine")
    server.stop()
    for word in ("lifespan", "Exception", "Traceback", "WARNING", "ERROR"):
        assert word not in server.stderr.text()


def test_lifespan_that_breaks_later_is_logged_and_the_server_serves_on(serve):
    server = serve("lifespans:raises_later")
    server.log_has(rb"(?s)Traceback.*RuntimeError: lifespan broke later")
    assert get(server, "/") == b"fine"


def test_failed_shutdown_is_logged_and_the_exit_code_is_0(serve):
    server = serve("lifespans:fails_at_shutdown")
    get(server, "/")
    assert server.stop() == 0
    assert "could not say goodbye" in server.stderr.text()
