# SPDX-License-Identifier: BSD-3-Clause
"""WebSockets through a worker: scope, events, errors, flow windows, denial."""

import sys

import pytest

from fake_edge import (
    ACCEPT,
    CLOSE,
    CREDIT,
    DISCONNECT,
    END,
    HTTP,
    PART,
    RECEIVE,
    SEND,
    START,
    W_BODY,
    W_CREDIT,
    W_PART,
)

WINDOW = PAYLOAD = 64 * 1024
ACCEPTED = {"type": "websocket.accept"}
CLOSED = {"type": "websocket.close"}


def test_scope_has_exactly_these_keys_and_types(edge):
    id = edge.accepted("/ws/scope", scheme="wss", headers=[[b"host", b"h"]], subprotocols=["a", "b"], query=b"q")
    op, got, text = edge.get()
    assert (op, got) == (SEND, id)
    assert eval(text) == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "wss",
        "path": "/ws/scope",
        "raw_path": b"/ws/scope",
        "query_string": b"q",
        "root_path": "",
        "headers": [(b"host", b"h")],
        "client": ["127.0.0.1", 50000],
        "server": ["127.0.0.1", 8000],
        "subprotocols": ["a", "b"],
        "extensions": {"websocket.http.response": {}},
    }
    edge.put([DISCONNECT, id, 1000, ""])


@pytest.mark.parametrize(
    ("item", "event"),
    [
        ("text", {"type": "websocket.receive", "text": "text"}),
        ("", {"type": "websocket.receive", "text": ""}),
        ("\u00e9\U0001f600", {"type": "websocket.receive", "text": "\u00e9\U0001f600"}),
        (b"\xff", {"type": "websocket.receive", "bytes": b"\xff"}),
        (b"", {"type": "websocket.receive", "bytes": b""}),
    ],
)
def test_receive_has_only_the_key_that_applies(edge, notes, item, event):
    id = edge.accepted("/ws/repr")
    edge.put([RECEIVE, id, item])
    assert edge.get() == [SEND, id, repr(event)]
    edge.put([DISCONNECT, id, 4321, "why"])
    assert notes(1) == [{"type": "websocket.disconnect", "code": 4321, "reason": "why"}]


def test_parts_become_one_message(edge):
    id = edge.accepted("/ws/repr")
    data = "\u20ac".encode()
    edge.put([PART, id, data[:1], True, False], [PART, id, data[1:2], True, False], [PART, id, data[2:], True, True])
    # Credit at once for those that do not complete it.
    assert edge.get() == [W_CREDIT, id, 1, 0]
    assert edge.get() == [W_CREDIT, id, 1, 0]
    assert edge.get() == [SEND, id, repr({"type": "websocket.receive", "text": "\u20ac"})]
    edge.put([PART, id, b"one", False, True])
    assert edge.get() == [SEND, id, repr({"type": "websocket.receive", "bytes": b"one"})]
    edge.put([DISCONNECT, id, 1000, ""])


def test_messages_come_before_the_disconnect_and_it_stays(edge, notes):
    id = edge.accepted("/ws/collect")
    edge.put([RECEIVE, id, "1"], [RECEIVE, id, b"2"], [DISCONNECT, id, 1005, ""])
    edge.text("/go")
    disconnect = {"type": "websocket.disconnect", "code": 1005, "reason": ""}
    ((events, again),) = notes(1)
    assert events == [
        {"type": "websocket.receive", "text": "1"},
        {"type": "websocket.receive", "bytes": b"2"},
        disconnect,
    ]
    assert again == disconnect


@pytest.mark.parametrize(
    ("count", "size", "credits"),
    [
        (63, 1, []),
        (64, 1, [[64, 64]]),
        (128, 1, [[64, 64], [64, 64]]),
        (2, 8191, []),
        (2, 8192, [[16384, 2]]),
        (4, 10923, [[32769, 3]]),
        (4, 16384, [[32768, 2], [32768, 2]]),
    ],
)
def test_credit_for_messages(edge, notes, count, size, credits):
    id = edge.accepted("/ws/collect")
    edge.put(*[[RECEIVE, id, "x" * size]] * count)
    edge.barrier()
    go = edge.http("/go")
    # The application of /go answers before the other runs.
    assert edge.get()[:2] == [START, go]
    for credit in credits:
        assert edge.get() == [W_CREDIT, id, *credit]
    edge.barrier()
    edge.put([DISCONNECT, id, 1000, ""])
    notes(1)


def test_credit_counts_utf8_bytes(edge, notes):
    id = edge.accepted("/ws/collect")
    edge.put([RECEIVE, id, "\u20ac" * 5462])
    edge.barrier()
    edge.http("/go")
    assert edge.get()[0] == START
    assert edge.get() == [W_CREDIT, id, 16386, 1]
    edge.put([DISCONNECT, id, 1000, ""])
    notes(1)


def test_cancelled_receive_loses_no_message(edge, notes):
    id = edge.accepted("/ws/cancelled-receive")
    assert edge.get() == [SEND, id, "waiting"]
    # One write: both in one turn, so receive() is woken and cancelled at once.
    go = edge.new_id()
    edge.put(
        [HTTP, go, "1.1", "GET", "http", "/go", b"/go", b"", "", [], None, None, b"", False],
        [RECEIVE, id, "kept"],
    )
    records = [edge.get(), edge.get()]
    assert [CLOSE, id, 1000, ""] in records
    assert notes()[-1] == {"type": "websocket.receive", "text": "kept"}


def test_window_of_messages(edge, notes):
    id = edge.accepted("/ws/flood", query=b"4,32768")
    assert edge.get() == [SEND, id, "x" * 32768]
    assert edge.get() == [SEND, id, "x" * 32768]
    edge.barrier()
    assert notes() == [32768, 32768]
    edge.put([CREDIT, id, 1])
    assert edge.get() == [SEND, id, "x" * 32768]
    edge.barrier()
    edge.put([CREDIT, id, 32767])
    edge.barrier()
    edge.put([CREDIT, id, 1])
    assert edge.get() == [SEND, id, "x" * 32768]
    assert edge.get() == [CLOSE, id, 4000, ""]


def test_large_messages_go_in_parts(edge, notes):
    id = edge.accepted("/ws/echo")
    for message in ("\u20ac" * 50000, b"b" * (PAYLOAD + 1), "a" * PAYLOAD):
        is_text = isinstance(message, str)
        encoded = message.encode() if is_text else message
        pieces = [encoded[start : start + PAYLOAD] for start in range(0, len(encoded), PAYLOAD)]
        edge.put(*[[PART, id, piece, is_text, piece is pieces[-1]] for piece in pieces])
        received = []
        while len(b"".join(received)) < len(encoded):
            record = edge.get()
            if record[0] == W_CREDIT:
                continue
            if len(pieces) == 1:
                assert record == [SEND, id, message]
                received.append(encoded)
            else:
                assert record[:2] == [W_PART, id]
                received.append(record[2])
                assert record[3:] == [is_text, len(b"".join(received)) == len(encoded)]
                assert len(record[2]) <= PAYLOAD
            edge.put([CREDIT, id, len(received[-1])])
        assert b"".join(received) == encoded
    edge.put([DISCONNECT, id, 1000, ""])
    notes(1)


def test_disconnect_frees_a_waiting_sender(edge, notes):
    id = edge.accepted("/ws/flood", query=b"3,65536")
    assert edge.get()[:2] == [SEND, id]
    edge.put([DISCONNECT, id, 1006, ""])
    assert notes() == [65536]
    edge.barrier()
    assert "ClientDisconnected" not in edge.stderr.so_far()


def test_empty_messages_are_sent(edge, notes):
    id = edge.websocket(
        "/ws/send",
        query=repr(
            [
                ACCEPTED,
                {"type": "websocket.send", "text": ""},
                {"type": "websocket.send", "bytes": b""},
                {"type": "websocket.send", "text": None, "bytes": b"1"},
                {"type": "websocket.send", "text": "", "bytes": b"2"},
                {"type": "websocket.send", "text": "3", "bytes": b""},
                {"type": "websocket.send", "bytes": bytearray(b"4")},
            ]
        ).encode(),
    )
    assert edge.get() == [ACCEPT, id, None, []]
    assert [edge.get() for _ in range(6)] == [[SEND, id, item] for item in ("", b"", b"1", b"2", "3", b"4")]
    edge.put([DISCONNECT, id, 1000, ""])
    assert notes(2) == [[], {"type": "websocket.disconnect", "code": 1000, "reason": ""}]


def test_many_empty_messages_do_not_starve_the_loop(edge):
    id = edge.accepted("/ws/flood", query=b"1000,0")
    for _ in range(1000):
        assert edge.get() == [SEND, id, ""]
    assert edge.get() == [CLOSE, id, 4000, ""]


@pytest.mark.parametrize(
    ("accept", "record"),
    [
        ({}, [None, []]),
        ({"subprotocol": None, "headers": None}, [None, []]),
        ({"subprotocol": "b"}, ["b", []]),
        ({"headers": [(b"x-a", b"1"), (b"x-a", b"2")]}, [None, [[b"x-a", b"1"], [b"x-a", b"2"]]]),
    ],
)
def test_accept(edge, accept, record):
    id = edge.websocket("/ws/send", subprotocols=["a", "b"], query=repr([dict(ACCEPTED, **accept)]).encode())
    assert edge.get() == [ACCEPT, id, *record]
    edge.put([DISCONNECT, id, 1000, ""])


NOT_ACCEPTED = "ValueError: Socket has not been accepted, so cannot send over it"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({}, "ValueError: Message has no type defined"),
        ({"type": "websocket.nonsense"}, "ValueError: Cannot handle message type websocket.nonsense!"),
        ({"type": "websocket.send", "text": "x"}, NOT_ACCEPTED),
        (dict(ACCEPTED, subprotocol="c"), "ValueError: Subprotocol 'c' was not offered by the client"),
        (dict(ACCEPTED, subprotocol=5), "ValueError: Subprotocol 5 was not offered by the client"),
        (
            dict(ACCEPTED, headers=[(b"Sec-WebSocket-Protocol", b"a")]),
            "ValueError: Header 'sec-websocket-protocol' is not allowed, give the subprotocol instead",
        ),
        (dict(ACCEPTED, headers=[("x", b"")]), "ValueError: Header name 'x' expected to be `bytes`, but got"),
        (
            {"type": "websocket.http.response.body"},
            "ValueError: HTTP response has not yet been started but got websocket.http.response.body",
        ),
    ],
)
def test_bad_event_before_accept_leaves_all_as_it_was(edge, notes, event, error):
    id = edge.websocket("/ws/send", query=repr([event, ACCEPTED]).encode(), subprotocols=["a"])
    assert edge.get() == [ACCEPT, id, None, []]
    ((found,),) = notes(1)
    assert found.startswith(error)
    edge.put([DISCONNECT, id, 1000, ""])
    notes(1)


def send(**items):
    return dict({"type": "websocket.send"}, **items)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (send(), "ValueError: Got invalid WebSocket reply message on {'type': 'websocket.send'} - contains neither"),
        (send(text=None, bytes=None), "ValueError: Got invalid WebSocket reply message on"),
        (
            send(text="a", bytes=b"b"),
            "ValueError: Got invalid WebSocket reply message on {'type': 'websocket.send', 'text': 'a', 'bytes': b'b'}"
            " - contains both bytes and text keys",
        ),
        (send(text=b"a"), "TypeError: 'text' expected to be `str`, but got `<class 'bytes'>`"),
        (send(text=5), "TypeError: 'text' expected to be `str`, but got `<class 'int'>`"),
        (send(text=True), "TypeError: 'text' expected to be `str`, but got `<class 'bool'>`"),
        (send(bytes="a"), "TypeError: 'bytes' expected to be `bytes`, but got `<class 'str'>`"),
        (send(bytes=5), "TypeError: 'bytes' expected to be `bytes`, but got `<class 'int'>`"),
        (send(text="\ud800"), "UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800'"),
        (send(text="x" * 70000 + "\udfff"), "UnicodeEncodeError: "),
        (ACCEPTED, "ValueError: Socket has already been accepted but got websocket.accept"),
        (
            {"type": "websocket.http.response.start", "status": 200},
            "ValueError: Socket has already been accepted but got websocket.http.response.start",
        ),
        (dict(CLOSED, code="1000"), "ValueError: Close code '1000' expected to be `int`, but got `<class 'str'>`"),
        (dict(CLOSED, code=True), "ValueError: Close code 'True' expected to be `int`, but got `<class 'bool'>`"),
        (dict(CLOSED, code=1005), "ValueError: Close code 1005 cannot be sent"),
        (dict(CLOSED, code=-1), "ValueError: Close code -1 cannot be sent"),
        (dict(CLOSED, code=5000), "ValueError: Close code 5000 cannot be sent"),
        (dict(CLOSED, reason=b"x"), "ValueError: Close reason 'b'x'' expected to be `str`, but got"),
        (dict(CLOSED, reason="\ud800"), "UnicodeEncodeError: "),
    ],
)
def test_bad_event_leaves_the_link_and_the_websocket_as_they_were(edge, notes, event, error):
    events = [ACCEPTED, send(text="before"), event, send(text="after")]
    id = edge.websocket("/ws/send", query=ascii(events).encode())
    assert edge.get() == [ACCEPT, id, None, []]
    assert edge.get() == [SEND, id, "before"]
    assert edge.get() == [SEND, id, "after"]
    ((found,),) = notes(1)
    assert found.startswith(error)
    edge.put([DISCONNECT, id, 1000, ""])
    notes(1)


@pytest.mark.parametrize(
    ("close", "record"),
    [
        ({}, [1000, ""]),
        ({"code": None, "reason": None}, [1000, ""]),
        ({"code": 1001, "reason": "bye"}, [1001, "bye"]),
        ({"code": 4999, "reason": "\u20ac" * 50}, [4999, "\u20ac" * 41]),
    ],
)
def test_close(edge, notes, close, record):
    id = edge.websocket("/ws/send", query=repr([ACCEPTED, dict(CLOSED, **close)]).encode())
    assert edge.get() == [ACCEPT, id, None, []]
    assert edge.get() == [CLOSE, id, *record]
    # The application waits for the end of the closing handshake.
    edge.barrier()
    edge.put([DISCONNECT, id, record[0], "theirs"])
    assert notes(2) == [[], {"type": "websocket.disconnect", "code": record[0], "reason": "theirs"}]


@pytest.mark.parametrize("close", [{"code": 4003, "reason": "no"}, {"code": 401}, {"code": "x", "reason": b"x"}])
def test_refusal_takes_no_notice_of_code_and_reason(edge, notes, close):
    id = edge.websocket("/ws/send", query=repr([dict(CLOSED, **close)]).encode())
    assert edge.get() == [CLOSE, id, 1000, ""]
    assert notes(2) == [[], {"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    edge.put([DISCONNECT, id, 1006, ""])


def test_close_before_accept_refuses(edge, notes):
    id = edge.websocket("/ws/send", query=repr([CLOSED, ACCEPTED]).encode())
    assert edge.get() == [CLOSE, id, 1000, ""]
    assert notes(2) == [
        ["ClientDisconnected: the client has disconnected"],
        {"type": "websocket.disconnect", "code": 1006, "reason": ""},
    ]
    edge.put([DISCONNECT, id, 1006, ""])
    edge.barrier()


def test_late_send_raises_oserror_and_is_not_logged(edge, notes):
    id = edge.accepted("/ws/late")
    edge.put([DISCONNECT, id, 1001, ""])
    assert notes(1) == ["ClientDisconnected"]
    id = edge.accepted("/ws/close-then-send")
    assert edge.get() == [CLOSE, id, 1000, ""]
    edge.put([DISCONNECT, id, 1000, ""])
    edge.barrier()
    assert "ClientDisconnected" not in edge.stderr.so_far()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_group_of_disconnects_is_not_logged(edge, notes):
    id = edge.accepted("/ws/group")
    edge.put([DISCONNECT, id, 1001, ""])
    assert notes(1) == ["group"]
    edge.barrier()
    assert "BaseExceptionGroup" not in edge.stderr.so_far()


def denial(*bodies):
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]}
    return [start] + [
        {"type": "websocket.http.response.body", "body": body, "more_body": body is not bodies[-1]} for body in bodies
    ]


def test_denial_response(edge, notes):
    id = edge.websocket("/ws/send", query=repr(denial(b"no", b"thanks")).encode())
    assert edge.get() == [START, id, 401, [[b"x-a", b"1"]], b"no", True]
    assert edge.get() == [W_BODY, id, b"thanks", False]
    assert notes(2) == [[], {"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_large_denial_keeps_to_the_window(edge, notes):
    id = edge.websocket("/ws/send", query=repr(denial(b"x" * 100000)).encode())
    assert edge.get() == [START, id, 401, [[b"x-a", b"1"]], b"x" * PAYLOAD, True]
    edge.barrier()
    edge.put([CREDIT, id, 1])
    assert edge.get() == [W_BODY, id, b"x" * (100000 - PAYLOAD), False]
    assert notes(2)[0] == []


def test_denial_excludes_accept_and_close(edge, notes):
    start, body = denial(b"no")
    id = edge.websocket("/ws/send", query=repr([start, ACCEPTED, CLOSED, send(text="x"), start, body]).encode())
    assert edge.get() == [START, id, 401, [[b"x-a", b"1"]], b"no", False]
    assert notes(2)[0] == [
        "ValueError: WebSocket is being denied by a response but got websocket.accept",
        "ValueError: WebSocket is being denied by a response but got websocket.close",
        NOT_ACCEPTED,
        "ValueError: WebSocket is being denied by a response but got websocket.http.response.start",
    ]


@pytest.mark.parametrize(
    ("path", "accepts", "failed"),
    [("/ws/raise", True, True), ("/ws/raise-at-connect", False, True), ("/ws/return", True, False)],
)
def test_application_that_ends_first(edge, path, accepts, failed):
    id = edge.websocket(path)
    if accepts:
        assert edge.get()[:2] == [ACCEPT, id]
    assert edge.get() == [END, id, failed]
    if failed:
        edge.stderr.wait_for("RuntimeError: told to")
    edge.put([RECEIVE, id, "x"], [PART, id, b"x", True, True], [DISCONNECT, id, 1011, ""])
    edge.barrier()
