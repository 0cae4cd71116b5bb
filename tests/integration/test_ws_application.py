# SPDX-License-Identifier: BSD-3-Clause
"""What an application may do with a WebSocket, and what its client gets when it does wrong."""

import pytest
from server import Channelsd, read_response
from ws_client import CLOSE, RawWebSocket, close_payload, events, frame, get, handshake

GONE = {"type": "websocket.disconnect", "code": 1006, "reason": ""}


@pytest.fixture(scope="module")
def server():
    with Channelsd("ws_probe:application", "--edge-loops", 1) as server:
        yield server


def ws(server, path, **keywords):
    return RawWebSocket(("127.0.0.1", server.port), path, **keywords)


def refused(server, path):
    """The answer to a handshake that is not accepted: (status, headers, body), and that the connection ends."""
    with server.connect() as sock:
        sock.sendall(handshake(path))
        status, headers, body, rest = read_response(sock)
        assert rest == b""
        assert sock.recv(1) == b""
        return status, headers, body


# ---- close ----


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("", 1000, ""),
        ("code=1000", 1000, ""),
        ("code=1001&reason=bye", 1001, "bye"),
        ("code=1011", 1011, ""),
        ("code=3000&reason=%C3%A9", 3000, "é"),
        ("code=4999", 4999, ""),
        ("reason=only", 1000, "only"),
        # A close frame has room for 123 bytes; what is longer ends with a whole character.
        ("code=4000&reason=" + "x" * 123, 4000, "x" * 123),
        ("code=4000&reason=" + "x" * 122 + "%C3%A9", 4000, "x" * 122),
        ("code=4000&reason=" + "%F0%9F%8E%89" * 40, 4000, "🎉" * 30),
    ],
)
def test_close_of_the_application_reaches_the_client(server, query, code, reason):
    with ws(server, f"/close?{query}") as client:
        assert client.closing() == (code, reason)
        client.close(code)
        assert client.ended()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70000, -1])
def test_close_code_that_no_frame_may_have_raises_in_the_application(server, code):
    with ws(server, f"/close?id=bad-code-{code}&code={code}") as client:
        assert client.closing() == (4000, "")
    assert events(server, f"bad-code-{code}", 2)[1]["raised"] == "ValueError"


def test_application_that_closed_hears_what_the_client_answered(server):
    with ws(server, "/close?id=answered&code=4100") as client:
        assert client.closing() == (4100, "")
        client.close(4100, b"so be it")
        assert client.ended()
    assert events(server, "answered", 2)[1] == {"type": "websocket.disconnect", "code": 4100, "reason": "so be it"}


def test_application_that_closed_hears_1006_when_the_client_leaves_without_an_answer(server):
    with ws(server, "/close?id=unanswered&code=4100") as client:
        assert client.closing() == (4100, "")
    assert events(server, "unanswered", 2)[1] == GONE


def test_messages_behind_the_close_of_the_application_are_not_delivered(server):
    with ws(server, "/close?id=deaf&code=4100") as client:
        assert client.closing() == (4100, "")
        client.text("nobody reads this")
        client.close(4100)
        assert client.ended()
    assert [event["type"] for event in events(server, "deaf", 2)] == ["websocket.connect", "websocket.disconnect"]


# ---- refusals ----


def test_close_before_accept_is_403_and_then_disconnect_1006(server):
    status, _, _ = refused(server, "/reject?id=rejected")
    assert status == 403
    assert events(server, "rejected", 2)[1] == GONE
    server.access_has(rb'"WSREJECT /reject" - -\n')


def test_denial_response_whole(server):
    status, headers, body = refused(server, "/deny?id=denied&status=429&body=slow%20down")
    assert (status, body) == (429, b"slow down")
    assert headers["content-type"] == "text/plain"
    assert headers["x-why"] == "full"
    assert events(server, "denied", 2)[1] == GONE


def test_denial_response_in_pieces_streams(server):
    with server.connect() as sock:
        sock.sendall(handshake("/deny?id=streamed&gate=1&status=503&body=one|two|three"))
        data = b""
        for number, piece in enumerate([b"one", b"two", b"three"]):
            while piece not in data:
                data += sock.recv(65536)
            get(server, f"/open?id=streamed-{number}")
        while chunk := sock.recv(65536):
            data += chunk
        assert data.startswith(b"HTTP/1.1 503 ")
    assert events(server, "streamed", 2)[1] == GONE


def test_denial_with_an_empty_body(server):
    status, _, body = refused(server, "/deny?status=401&body=")
    assert (status, body) == (401, b"")


# ---- the application fails ----


def test_application_that_raises_before_accept_gets_500_and_a_traceback(server):
    mark = len(server.stderr.data)
    status, _, _ = refused(server, "/raise-before")
    assert status == 500
    server.log_has(rb"(?s)Traceback.*in raise_before.*RuntimeError: before accept", start=mark)


def test_application_that_raises_after_accept_closes_with_1011_and_a_traceback(server):
    mark = len(server.stderr.data)
    with ws(server, "/raise-after") as client:
        assert client.closing()[0] == 1011
        client.close(1011)
        assert client.ended()
    server.log_has(rb"(?s)Traceback.*in raise_after.*RuntimeError: after accept", start=mark)


def test_application_that_returns_before_accept_gets_500(server):
    assert refused(server, "/return-before")[0] == 500


def test_application_that_returns_after_accept_closes_with_1011(server):
    with ws(server, "/return-after") as client:
        assert client.closing()[0] == 1011


# ---- late sends ----


def test_send_after_disconnect_raises_an_oserror_that_is_not_logged(server):
    mark = len(server.stderr.data)
    with ws(server, "/send-late?id=late") as client:
        client.close(1000)
        assert client.closing() == (1000, "")
    got = events(server, "late", 4)
    assert [entry["os_error"] for entry in got[2:]] == [True, True]
    get(server, "/ping")
    assert b"Exception" not in server.stderr.data[mark:]


def test_send_after_close_raises_an_oserror_that_is_not_logged(server):
    mark = len(server.stderr.data)
    with ws(server, "/close-then-send?id=shut") as client:
        assert client.closing() == (4002, "")
        client.close(4002)
        assert client.ended()
    got = events(server, "shut", 4)
    assert [entry.get("os_error") for entry in got] == [None, True, True, None]
    get(server, "/ping")
    assert b"Exception" not in server.stderr.data[mark:]


def test_wrong_events_raise_and_leave_the_websocket_as_it_was(server):
    with ws(server, "/wrong-sends?id=wrong") as client:
        assert client.message() == "still alive"
    got = events(server, "wrong", 12)[1:12]
    assert [entry["raised"] for entry in got] == [
        "ValueError",  # send before accept
        "ValueError",  # a second accept
        "ValueError",  # a denial after accept
        "ValueError",  # an unknown type
        "ValueError",  # neither text nor bytes
        "ValueError",  # both
        "TypeError",  # bytes for text
        "TypeError",  # text for bytes
        "UnicodeEncodeError",
        "ValueError",  # code 1005
        "ValueError",  # a code that is no number
    ]
    assert got[0]["text"] == "Socket has not been accepted, so cannot send over it"
    assert got[3]["text"] == "Cannot handle message type websocket.nonsense!"


# ---- access log ----


def test_access_log_tells_the_life_of_a_websocket(server):
    mark = len(server.stdout.data)
    with ws(server, "/echo?secret=1") as client:
        client.close()
        client.closing()
    server.access_has(
        rb'"WSCONNECTING /echo" - -\n[^\n]*"WSCONNECT /echo" - -\n[^\n]*"WSDISCONNECT /echo" - -\n', start=mark
    )
    assert b"secret" not in server.stdout.data[mark:]


def test_close_in_the_segment_of_a_message_is_told_behind_it(server):
    with ws(server, "/echo?id=same-segment") as client:
        client.sock.sendall(frame(1, b"m") + frame(CLOSE, close_payload(1000)))
        client.closing()
    kinds = [entry.get("type", "raised") for entry in events(server, "same-segment", 4)]
    assert kinds == ["websocket.connect", "websocket.receive", "raised", "websocket.disconnect"]
