# SPDX-License-Identifier: BSD-3-Clause
"""The opening handshake: what the application is told, what it may answer, and what a broken one gets."""

import json
import socket
from urllib.parse import quote

import pytest
from server import Channelsd, read_response
from ws_client import BINARY, CLOSE, TEXT, RawWebSocket, close_payload, events, frame, get, handshake

UPGRADED = "HTTP/1.1 101 Switching Protocols"


@pytest.fixture(scope="module")
def server():
    with Channelsd("ws_probe:application") as server:
        yield server


def ws(server, path="/", **keywords):
    return RawWebSocket(("127.0.0.1", server.port), path, **keywords)


def scope_of(server, path="/", **keywords):
    with ws(server, path, **keywords) as client:
        return json.loads(client.message()), client


# ---- scope ----


def test_scope_has_each_key_with_its_type(server):
    scope, client = scope_of(
        server, "/a%20b/%C3%A9?x=1&y=%20", extra=["X-Twice: 1", "X-Twice: 2", "Origin: http://o.example"]
    )
    headers = scope.pop("headers")
    port = scope.pop("client")[1]
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a b/é",
        "raw_path": {"bytes": "/a%20b/%C3%A9"},
        "query_string": {"bytes": "x=1&y=%20"},
        "root_path": "",
        "server": ["127.0.0.1", server.port],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    assert isinstance(port, int) and 0 < port < 65536
    assert [tuple(item["bytes"] for item in pair["tuple"]) for pair in headers] == [
        ("host", "example.org"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("origin", "http://o.example"),
    ]
    assert client.headers["upgrade"].lower() == "websocket"


def test_client_of_the_scope_is_the_address_of_the_socket(server):
    with ws(server) as client:
        scope = json.loads(client.message())
        assert scope["client"] == list(client.sock.getsockname())


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        (["Sec-WebSocket-Protocol: chat"], ["chat"]),
        (["Sec-WebSocket-Protocol: chat, superchat ,x"], ["chat", "superchat", "x"]),
        (["Sec-WebSocket-Protocol: a,,b,"], ["a", "b"]),
        (["Sec-WebSocket-Protocol: b", "sec-websocket-protocol: a"], ["b", "a"]),
        (["Sec-WebSocket-Protocol: a%20b, %C3%A9"], ["a b", "é"]),
        (["Sec-WebSocket-Protocol: bearer, Zm9v/YmFy+w=="], ["bearer", "Zm9v/YmFy+w=="]),
        (["Sec-WebSocket-Protocol: two words"], ["two words"]),
        (["Sec-WebSocket-Protocol:"], []),
    ],
)
def test_subprotocols_of_the_scope(server, lines, offered):
    scope, client = scope_of(server, "/scope", extra=lines)
    assert scope["subprotocols"] == offered
    assert "sec-websocket-protocol" not in client.headers  # the application chose none


# ---- accept ----


@pytest.mark.parametrize(
    ("offer", "choice", "told"),
    [
        ("chat, superchat", "superchat", "superchat"),
        ("bearer, Zm9v/YmFy+w==", "Zm9v/YmFy+w==", "Zm9v/YmFy+w=="),
        # The client looks for what it offered: it gets the name as it wrote it.
        ("a%20b", "a b", "a%20b"),
        ("%C3%A9, e", "é", "%C3%A9"),
    ],
)
def test_chosen_subprotocol_is_told_as_the_client_wrote_it(server, offer, choice, told):
    path = "/choose?subprotocol=" + quote(choice)
    with ws(server, path, extra=[f"Sec-WebSocket-Protocol: {offer}"]) as client:
        assert client.headers["sec-websocket-protocol"] == told


def test_subprotocol_that_was_not_offered_raises_in_the_application(server):
    with ws(server, "/choose?id=unoffered&subprotocol=b", extra=["Sec-WebSocket-Protocol: a"]) as client:
        assert "sec-websocket-protocol" not in client.headers
    assert events(server, "unoffered", 2)[1]["raised"] == "ValueError"


def test_headers_of_accept_reach_the_client(server):
    with ws(server, "/choose?headers=x-one=1|set-cookie=a%3Db") as client:
        assert client.headers["x-one"] == "1"
        assert client.headers["set-cookie"] == "a=b"
        assert client.headers["server"] == "channelsd"


@pytest.mark.parametrize("headers", ["sec-websocket-protocol=a", "bad%20name=1", "x-a=b%0D%0Ax-c%3Ad"])
def test_headers_that_accept_may_not_have_raise_in_the_application(server, headers):
    id = quote("accept " + headers)
    with ws(server, f"/choose?id={id}&headers={headers}") as client:
        assert client.status == 101
    assert events(server, id, 2)[1]["raised"] == "ValueError"


def test_version_8_is_served(server):
    fields = {"Sec-WebSocket-Version": "8", "Sec-WebSocket-Origin": "http://o.example"}
    with ws(server, "/echo", fields=fields) as client:
        client.text("draft")
        assert client.message() == "draft"


def test_permessage_deflate_is_not_negotiated_and_messages_pass(server):
    with ws(server, "/echo", extra=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]) as client:
        assert "sec-websocket-extensions" not in client.headers
        client.text("plain")
        assert client.message() == "plain"


def test_handshake_of_http_1_0_is_accepted(server):
    """As nginx sends it without proxy_http_version 1.1."""
    with server.connect() as sock:
        sock.sendall(handshake(version="HTTP/1.0"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


# ---- broken handshakes ----


@pytest.mark.parametrize(
    ("why", "request_bytes", "status", "fields"),
    [
        ("post", handshake(method="POST"), 405, {"allow": "GET"}),
        ("head", handshake(method="HEAD"), 405, {"allow": "GET"}),
        ("no key", handshake(fields={"Sec-WebSocket-Key": None}), 400, {}),
        ("bad key", handshake(fields={"Sec-WebSocket-Key": "abc"}), 400, {}),
        ("two keys", handshake(extra=["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]), 400, {}),
        ("no version", handshake(fields={"Sec-WebSocket-Version": None}), 400, {}),
        ("version 7", handshake(fields={"Sec-WebSocket-Version": "7"}), 426, {"sec-websocket-version": "13, 8"}),
        ("version 14", handshake(fields={"Sec-WebSocket-Version": "14"}), 426, {"sec-websocket-version": "13, 8"}),
        ("no connection", handshake(fields={"Connection": None}), 400, {}),
        ("other connection", handshake(fields={"Connection": "keep-alive"}), 400, {}),
        ("control byte in an offer", handshake(extra=["Sec-WebSocket-Protocol: a\tb"]), 400, {}),
        ("latin-1 in an offer", handshake(extra=["Sec-WebSocket-Protocol: \xe9"]), 400, {}),
        ("a body", handshake(extra=["Content-Length: 3"]) + b"abc", 400, {}),
    ],
)
def test_broken_handshake_gets_one_answer_and_the_end(server, why, request_bytes, status, fields):
    with server.connect() as sock:
        sock.sendall(request_bytes)
        method = "HEAD" if why == "head" else "GET"
        got, headers, body, rest = read_response(sock, method)
        assert got == status
        for name, value in fields.items():
            assert headers[name] == value
        assert rest == b""
        if method == "GET":
            assert b"<h1>" in body
        assert sock.recv(1) == b""


def test_upgrade_to_something_else_is_plain_http(server):
    with server.connect() as sock:
        sock.sendall(
            b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        status, headers, body, _ = read_response(sock)
        assert (status, body) == (200, b"pong")
        assert "upgrade" not in headers


def test_handshake_after_requests_on_the_same_connection(server):
    with server.connect() as sock:
        for _ in range(2):
            sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_response(sock)[0] == 200
        sock.sendall(handshake("/echo"))
        assert read_response(sock)[0] == 101
        sock.sendall(frame(TEXT, b"after"))
        assert sock.recv(100) == b"\x81\x05after"


# ---- input before the answer ----


def test_frames_in_the_segment_of_the_handshake_are_delivered_after_accept(server):
    early = frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT, b"three")
    with ws(server, "/echo", early=early) as client:
        assert [client.message() for _ in range(3)] == ["one", b"two", "three"]


def test_frames_before_a_late_accept_are_delivered_in_order(server):
    with ws(server, open=False) as client:
        client.sock.sendall(handshake("/late-accept?id=late"))
        for number in range(200):
            client.text(str(number))
        get(server, "/open?id=late")
        client.read_opened()
        assert [client.message() for _ in range(200)] == [str(number) for number in range(200)]


def test_close_frame_before_a_late_accept_is_delivered_behind_the_messages(server):
    early = frame(TEXT, b"last words") + frame(CLOSE, close_payload(4321, b"gone"))
    with ws(server, open=False) as client:
        client.sock.sendall(handshake("/late-accept?id=closed-early") + early)
        get(server, "/open?id=closed-early")
        client.read_opened()
        assert client.closing() == (4321, "gone")
    _, message, failure, end = events(server, "closed-early", 4)
    assert message == {"type": "websocket.receive", "text": "last words"}
    assert failure["os_error"]  # the echo has nobody to go to
    assert end == {"type": "websocket.disconnect", "code": 4321, "reason": "gone"}


def test_input_before_the_accept_is_bounded_and_complete():
    """The client is not read on; what it sent before is delivered in order once the application accepts."""
    with Channelsd("ws_probe:application", "--edge-loops", 1, measured=True) as server:
        with ws(server, open=False, timeout=1) as client:
            client.sock.sendall(handshake("/late-accept?id=bounded"))
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            get(server, "/ping")
            before = server.rss_bytes()
            message = frame(BINARY, b"x" * 16384)
            flood = message * 2048
            client.sock.setblocking(False)
            sent = 0
            with pytest.raises(BlockingIOError):
                while sent < len(flood):
                    sent += client.sock.send(flood[sent:])
                    get(server, "/ping")
            assert sent < 16 * 1024 * 1024
            assert server.rss_bytes() - before < 2 * 1024 * 1024
            get(server, "/open?id=bounded")
            client.sock.settimeout(10)
            client.read_opened()
            whole = sent // len(message)
            for _ in range(whole):
                assert client.message() == b"x" * 16384


def test_client_that_leaves_during_the_handshake_is_told(server):
    client = ws(server, open=False)
    client.sock.sendall(handshake("/silent?id=left"))
    assert events(server, "left", 1) == [{"type": "websocket.connect"}]
    client.drop()
    assert events(server, "left", 2)[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
