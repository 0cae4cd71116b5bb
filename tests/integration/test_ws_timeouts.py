# SPDX-License-Identifier: BSD-3-Clause
"""The clocks of a WebSocket: handshake, whole life, pings, the answer to a close."""

import threading
import time

import pytest
from server import Channelsd, read_response
from ws_client import CONTINUATION, PING, PONG, TEXT, Closed, RawWebSocket, events, frame, get, handshake

GONE = {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def ws(server, path="/echo", **keywords):
    return RawWebSocket(("127.0.0.1", server.port), path, **keywords)


def frames_until(client, seconds):
    """The frames that come within `seconds`."""
    deadline = time.monotonic() + seconds
    got = []
    while (left := deadline - time.monotonic()) > 0:
        client.sock.settimeout(left)
        try:
            got.append(client.frame())
        except TimeoutError:
            break
    return got


# ---- handshake and life ----


def test_application_that_is_silent_in_the_handshake_gets_its_client_503(serve):
    server = serve("ws_probe:application", "--websocket_connect_timeout", 0.3)
    with server.connect() as sock:
        start = time.monotonic()
        sock.sendall(handshake("/silent?id=silent"))
        status, _, body, _ = read_response(sock)
        assert status == 503
        assert b"time limit" in body
        assert 0.2 < time.monotonic() - start < 3
        assert sock.recv(1) == b""
    assert events(server, "silent", 2)[1] == GONE
    server.access_has(rb'"WSREJECT /silent" - -\n')


def test_accept_within_the_time_limit_stops_its_clock(serve):
    server = serve("ws_probe:application", "--websocket_connect_timeout", 0.3)
    with ws(server) as client:
        assert frames_until(client, 0.8) == []
        client.text("alive")
        assert client.message() == "alive"


def test_denial_that_has_begun_may_take_its_time(serve):
    """The limit is for the decision, which has fallen."""
    server = serve("ws_probe:application", "--websocket_connect_timeout", 0.3)
    with server.connect() as sock:
        sock.sendall(handshake("/deny?id=slow&gate=1&status=403&body=one|two"))
        data = b""
        while b"one" not in data:
            data += sock.recv(1000)
        sock.settimeout(0.8)
        with pytest.raises(TimeoutError):
            sock.recv(1000)
        get(server, "/open?id=slow-0")
        sock.settimeout(5)
        while chunk := sock.recv(1000):
            data += chunk
        assert b"two" in data
        assert data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("never", ["-1", "-5"])
def test_negative_connect_timeout_waits_on(serve, never):
    server = serve("ws_probe:application", f"--websocket_connect_timeout={never}")
    with server.connect(timeout=1) as sock:
        sock.sendall(handshake("/silent"))
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_life_of_a_websocket_ends_with_1000(serve):
    server = serve("ws_probe:application", "--websocket_timeout", 0.5)
    with ws(server, "/echo?id=old") as client:
        start = time.monotonic()
        assert client.closing() == (1000, "")
        assert 0.4 < time.monotonic() - start < 3
        client.close(1000)
        assert client.ended()
    assert events(server, "old", 2)[1] == {"type": "websocket.disconnect", "code": 1000, "reason": ""}


def test_life_ends_though_messages_flow(serve):
    server = serve("ws_probe:application", "--websocket_timeout", 0.5)
    with ws(server, "/echo?id=busy") as client, pytest.raises(AssertionError, match="8, b"):
        while True:
            client.text("again")
            client.message()


def test_negative_life_is_without_end(serve):
    server = serve("ws_probe:application", "--websocket_timeout=-1", "--ping-interval", 0)
    with ws(server) as client:
        assert frames_until(client, 1) == []


def test_client_that_does_not_answer_a_close_is_dropped(serve):
    server = serve("ws_probe:application")
    with ws(server, "/close?id=mute&code=4000") as client:
        assert client.closing() == (4000, "")
        start = time.monotonic()
        assert client.ended()  # five seconds, the limit for an answer
        assert time.monotonic() - start < 8
        assert events(server, "mute", 2)[1] == GONE


# ---- pings ----


def test_client_that_never_answers_a_ping_is_dropped_and_told_as_1006(serve):
    server = serve("ws_probe:application", "--ping-interval", 0.2, "--ping-timeout", 0.3)
    with ws(server, "/echo?id=dead") as client:
        start = time.monotonic()
        assert client.frame()[1] == PING
        with pytest.raises(Closed):
            client.frame()
        assert 0.4 < time.monotonic() - start < 4
        assert events(server, "dead", 2)[1] == GONE


def test_client_that_answers_lives(serve):
    server = serve("ws_probe:application", "--ping-interval", 0.1, "--ping-timeout", 0.2)
    with ws(server) as client:
        for _ in range(8):
            fin, opcode, payload = client.frame()
            assert (fin, opcode) == (True, PING)
            client.send(PONG, payload)
        client.text("alive")
        assert client.message() == "alive"


@pytest.mark.parametrize(
    "sent", [frame(TEXT, b"x"), frame(PONG, b"unasked"), frame(PING)], ids=["messages", "pongs", "pings"]
)
def test_client_that_only_sends_lives(serve, sent):
    """It answers no ping; what it sends shows that it lives."""
    server = serve("ws_probe:application", "--ping-interval", 0.2, "--ping-timeout", 0.3)
    with ws(server) as client:
        stop = threading.Event()

        def send():
            while not stop.wait(0.1):
                client.sock.sendall(sent)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            assert PING not in [opcode for _, opcode, _ in frames_until(client, 1.2)]
        finally:
            stop.set()
            sender.join()
        client.sock.settimeout(5)
        client.sock.sendall(frame(PING, b"end"))
        while client.frame() != (True, PONG, b"end"):
            pass


def test_ping_comes_between_the_fragments_of_a_slow_client(serve):
    server = serve("ws_probe:application", "--ping-interval", 0.2, "--ping-timeout", 5)
    with ws(server) as client:
        client.send(TEXT, b"slow ", fin=False)
        fin, opcode, payload = client.frame()
        assert opcode == PING
        client.send(PONG, payload)
        client.send(CONTINUATION, b"but whole")
        assert client.message() == "slow but whole"


def test_no_ping_with_an_interval_of_zero(serve):
    server = serve("ws_probe:application", "--ping-interval", 0)
    with ws(server) as client:
        assert frames_until(client, 1) == []


def test_client_whose_messages_the_application_does_not_take_is_not_dropped():
    """It is not read, so its pong cannot be seen: that says nothing about it."""
    with Channelsd("ws_probe:application", "--ping-interval", 0.2, "--ping-timeout", 0.3) as server:
        with ws(server, "/gated?id=held&count=1000") as client:
            for number in range(1000):
                client.send(2, b"%08d" % number)
            assert frames_until(client, 1.2) is not None
            get(server, "/open?id=held")
            client.sock.settimeout(5)
            assert client.message() == "complete"
