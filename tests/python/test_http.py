# SPDX-License-Identifier: BSD-3-Clause
"""HTTP requests through a worker: scope, events, errors, flow windows."""

import pytest

from fake_edge import BODY, CREDIT, DISCONNECT, END, START, W_BODY, W_CREDIT

WINDOW = PAYLOAD = 64 * 1024


def test_scope_has_exactly_these_keys_and_types(edge):
    scope = eval(
        edge.text(
            "/scope",
            method="PATCH",
            scheme="https",
            query=b"a=%20",
            root_path="/r",
            http_version="1.0",
            headers=[[b"host", b"h"], [b"x", b"1"], [b"x", b"\xff"]],
        )
    )
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.0",
        "method": "PATCH",
        "scheme": "https",
        "path": "/scope",
        "raw_path": b"/scope",
        "query_string": b"a=%20",
        "root_path": "/r",
        # A list of tuples, lists of two: as Daphne gives them.
        "headers": [(b"host", b"h"), (b"x", b"1"), (b"x", b"\xff")],
        "client": ["127.0.0.1", 50000],
        "server": ["127.0.0.1", 8000],
        "extensions": {},
    }


def test_scope_without_addresses(edge):
    scope = eval(edge.text("/scope", client=None, server=None))
    assert scope["client"] is None
    assert scope["server"] is None
    assert eval(edge.text("/scope", server=["/run/s", None]))["server"] == ["/run/s", None]


@pytest.mark.parametrize(
    ("sent", "seen"), [("/caf\u00e9", "/caf\u00e9"), ("/caf\u00e9".encode(), "/caf\u00e9"), (b"/bad\xff", "/bad\ufffd")]
)
def test_path_that_is_not_utf8_is_decoded_with_replacement(edge, sent, seen):
    assert eval(edge.text(sent, raw_path=b"/raw")) == (seen, b"/raw")


def test_body_events(edge):
    assert eval(edge.text("/events", b"all")) == [{"type": "http.request", "body": b"all", "more_body": False}]
    first, second = b"1" * 4000, b"2" * 4000
    id = edge.http("/events", first, more=True)
    edge.put([BODY, id, second, True], [BODY, id, b"3" * 97, False])
    assert eval(edge.response(id)[2]) == [
        {"type": "http.request", "body": first, "more_body": True},
        {"type": "http.request", "body": second, "more_body": True},
        {"type": "http.request", "body": b"3" * 97, "more_body": False},
    ]


def test_disconnect_after_the_response_and_ignored_messages(edge, notes):
    id = edge.http("/after", b"unread", more=True)
    assert edge.response(id)[2] == b"done"
    edge.put([BODY, id, b"more", False])
    assert notes(1) == [({"type": "http.disconnect"}, {"type": "http.disconnect"})]
    edge.barrier()


def test_disconnect_comes_after_what_was_uploaded(edge, notes):
    first, second = b"1" * 4000, b"2" * 4000
    id = edge.http("/gone", first, more=True)
    edge.put([BODY, id, second, True], [DISCONNECT, id, None, ""])
    disconnect = {"type": "http.disconnect"}
    assert notes(1) == [
        (
            [
                {"type": "http.request", "body": first, "more_body": True},
                {"type": "http.request", "body": second, "more_body": True},
                disconnect,
                disconnect,
            ],
            "ClientDisconnected",
        )
    ]
    edge.barrier()


def test_disconnect_error_that_escapes_is_not_logged(edge, notes):
    id = edge.http("/gone-escapes")
    edge.put([DISCONNECT, id, None, ""])
    assert notes(1) == ["left"]
    edge.barrier()
    assert "ClientDisconnected" not in edge.stderr.so_far()


def test_other_error_after_the_disconnect_is_logged(edge):
    id = edge.http("/gone-raises")
    edge.put([DISCONNECT, id, None, ""])
    edge.stderr.wait_for("RuntimeError: after the client")
    edge.barrier()


def test_body_types_and_empty_pieces(edge):
    id = edge.http("/types")
    assert edge.get() == [START, id, 200, [], b"view", True]
    assert edge.get() == [W_BODY, id, b"array", True]
    assert edge.get() == [W_BODY, id, b"ace", True]
    assert edge.get() == [W_BODY, id, b"z" * PAYLOAD, True]
    edge.barrier()
    edge.put([CREDIT, id, PAYLOAD])
    assert edge.get() == [W_BODY, id, b"z" * (70000 - PAYLOAD), False]


def test_headers_keep_order_and_lose_transfer_encoding(edge):
    id = edge.http("/framing")
    assert edge.get() == [START, id, 201, [[b"X-B", b"\xe9\t"], [b"x-a", b""]], b"ok", False]


def test_start_is_held_until_the_first_body(edge):
    id = edge.http("/start-only")
    assert edge.get() == [END, id, False]
    id = edge.http("/flush-start")
    assert edge.get() == [START, id, 200, [], b"", True]
    edge.put([DISCONNECT, id, None, ""])


def test_window_lets_send_return_below_it_and_not_at_it(edge, notes):
    n = WINDOW - 1
    id = edge.http("/stream", query=b"%d,5,6,0,7" % n)
    assert edge.get() == [START, id, 200, [[b"x-a", b"1"]], b"x" * n, True]
    # One byte of the window was left: the next piece goes, whatever its size.
    assert edge.get() == [W_BODY, id, b"x" * 5, True]
    edge.barrier()
    assert notes() == [n, 5]
    # Still the whole window after this; one byte more opens it.
    edge.put([CREDIT, id, 4])
    edge.barrier()
    assert notes() == []
    edge.put([CREDIT, id, 1])
    assert edge.get() == [W_BODY, id, b"x" * 6, True]
    edge.put([CREDIT, id, 6])
    assert edge.get() == [W_BODY, id, b"x" * 7, True]
    edge.put([CREDIT, id, 7])
    assert edge.get() == [W_BODY, id, b"", False]
    assert notes() == [6, 0, 7]


@pytest.mark.parametrize("size", [PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 3 * PAYLOAD, 3 * PAYLOAD + 1])
def test_large_bodies_are_cut(edge, size):
    id = edge.http("/stream", query=b"%d" % size)
    op, got, _, _, body, more = edge.get()
    assert (op, got, len(body), more) == (START, id, min(size, PAYLOAD), True)
    while len(body) < size:
        edge.put([CREDIT, id, PAYLOAD])
        piece = edge.get()
        assert piece == [W_BODY, id, b"x" * min(PAYLOAD, size - len(body)), True]
        body += piece[2]
    edge.put([CREDIT, id, PAYLOAD])
    assert edge.get() == [W_BODY, id, b"", False]


def test_concurrent_bodies_do_not_mix(edge):
    _, _, body = edge.response(edge.http("/two-senders"))
    assert body == b"a" * 150000 + b"b" * 150000 + b"c" * 150000 + b"end"


def test_cancelled_send_is_whole_or_nothing(edge, notes):
    id = edge.http("/cancel-begun")
    op, got, _, _, piece, more = edge.get()
    assert (op, got, piece, more) == (START, id, b"a" * WINDOW, True)
    assert notes(2) == [b"a", b"b"]  # without credit neither could end
    assert edge.rest(id, piece, more) == b"a" * 200000 + b"end"


def test_concurrent_receives(edge, notes):
    id = edge.http("/two-receivers", b"", more=False)
    assert edge.response(id)[2] == b"waiting"
    assert notes(1) == [[{"type": "http.disconnect"}] * 2]


def test_credit_for_uploads(edge):
    id = edge.http("/discard", b"a" * 16383, more=True)
    edge.barrier()
    # The queue is empty and 16 KiB have come together.
    edge.put([BODY, id, b"a", True])
    assert edge.get() == [W_CREDIT, id, 16384, 0]
    edge.put([BODY, id, b"a" * PAYLOAD, True])
    assert edge.get() == [W_CREDIT, id, PAYLOAD, 0]
    edge.put([BODY, id, b"a" * 100, False])
    assert edge.response(id)[2] == str(16384 + PAYLOAD + 100).encode()


def test_credit_is_given_when_the_application_takes_it(edge):
    id = edge.http("/read-when-told", b"a" * 20000, more=True)
    edge.put([BODY, id, b"a" * 20000, True], [BODY, id, b"a" * 24000, True])
    edge.barrier()
    assert edge.text("/go") == "gone"
    # 20000 with more queued: not yet. 40000: yes. The last 24000 empty the queue.
    assert edge.get() == [W_CREDIT, id, 40000, 0]
    assert edge.get() == [W_CREDIT, id, 24000, 0]
    edge.put([BODY, id, b"", False])
    assert edge.response(id)[2] == b"64000"


RESPONSE = {"type": "http.response.start", "status": 200}
LAST = {"type": "http.response.body", "body": b"ok"}


def start(**items):
    return dict(RESPONSE, **items)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({}, "ValueError: Message has no type defined"),
        ({"type": "http.response.nonsense"}, "ValueError: Cannot handle message type http.response.nonsense!"),
        (LAST, "ValueError: HTTP response has not yet been started but got http.response.body"),
        ({"type": "http.response.start"}, "ValueError: Specifying a status code is required for a Response message."),
        (start(status="200"), "ValueError: Status code '200' expected to be `int`, but got `<class 'str'>`"),
        (start(status=True), "ValueError: Status code 'True' expected to be `int`, but got `<class 'bool'>`"),
        (start(status=101), "ValueError: Status code 101 is not one of a response"),
        (start(status=2**70), f"ValueError: Status code {2**70} is not one of a response"),
        (
            start(headers=[("x", b"")]),
            "ValueError: Header name 'x' expected to be `bytes`, but got `<class 'str'>`",
        ),
        (
            start(headers=[(b"x", "1")]),
            "ValueError: Header value '1' expected to be `bytes`, but got `<class 'str'>`",
        ),
        (start(headers=[(b"x", 1)]), "ValueError: Header value '1' expected to be `bytes`, but got `<class 'int'>`"),
        (
            start(headers=[([], b"")]),
            "ValueError: Header name '[]' expected to be `bytes`, but got `<class 'list'>`",
        ),
        (start(headers=[(b"a b", b"")]), "ValueError: Header name b'a b' is not a valid HTTP field name"),
        (start(headers=[(b"", b"")]), "ValueError: Header name b'' is not a valid HTTP field name"),
        (start(headers=[(b"x\n", b"")]), "ValueError: Header name b'x\\n' is not a valid HTTP field name"),
        (start(headers=[(b"x", b"a\r\nb")]), "ValueError: Header 'x' has a control character in its value"),
        (start(headers=[(b"x", b"\0")]), "ValueError: Header 'x' has a control character in its value"),
        (start(headers=[(b"x", b"\x7f")]), "ValueError: Header 'x' has a control character in its value"),
        (
            start(headers=[(b"x", b"y" * 131072)]),
            "ValueError: Response headers of 131084 bytes are more than the 131072",
        ),
        (start(trailers=True), "ValueError: Response trailers are not supported"),
    ],
)
def test_bad_start_raises_and_leaves_all_as_it_was(edge, notes, event, error):
    id = edge.http("/send", query=repr([event, RESPONSE, LAST]).encode())
    assert edge.get() == [START, id, 200, [], b"ok", False]
    ((found,),) = notes(1)
    assert found.startswith(error)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (RESPONSE, "ValueError: HTTP response has already been started"),
        ({"type": "http.response.body", "body": "text"}, "TypeError: 'body' expected to be `bytes`, but got"),
        ({"type": "http.response.body", "body": None}, "TypeError: 'body' expected to be `bytes`, but got"),
        ({"type": "http.response.body", "body": 5}, "TypeError: 'body' expected to be `bytes`, but got"),
    ],
)
def test_bad_body_raises_and_leaves_all_as_it_was(edge, notes, event, error):
    id = edge.http("/send", query=repr([RESPONSE, event, LAST]).encode())
    assert edge.get() == [START, id, 200, [], b"ok", False]
    ((found,),) = notes(1)
    assert found.startswith(error)


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/raise", "RuntimeError: told to"),
        ("/exit", "SystemExit: enough"),
        ("/interrupt", "KeyboardInterrupt"),
        ("/cancelled", "CancelledError"),
        ("/exit-in-task", "SystemExit: 5"),
        ("/no-such-path", "KeyError: '/no-such-path'"),
    ],
)
def test_application_error_fails_the_request_and_is_logged(edge, path, logged):
    start = len(edge.stderr.so_far())
    id = edge.http(path)
    assert edge.get() == [END, id, True]
    text = edge.stderr.wait_for(logged, start)
    assert "ERROR    Exception inside application: " in text
    assert "Traceback (most recent call last):" in text
    if path != "/exit-in-task":
        # The first frame shown is the application's. (The other also left the loop, which is logged.)
        assert "session.py" not in text
    edge.barrier()


def test_application_error_after_the_start(edge):
    id = edge.http("/raise-late")
    assert edge.get() == [START, id, 200, [], b"some", True]
    assert edge.get() == [END, id, True]
    edge.stderr.wait_for("RuntimeError: told to, late")


def test_hung_application_is_killed(edge, notes):
    id = edge.http("/hang")
    edge.put([DISCONNECT, id, None, ""])
    edge.stderr.wait_for(
        "for connection <HttpRequest client=['127.0.0.1', 50000] path='/hang'> "
        "took too long to shut down and was killed."
    )
    assert notes(1) == ["hang ended"]


def test_application_that_swallows_its_cancellation_is_asked_again(edge, notes):
    id = edge.http("/hang-twice")
    edge.put([DISCONNECT, id, None, ""])
    assert notes(2) == ["cancelled 1", "cancelled 2"]


def test_application_that_does_not_heed_the_disconnect_is_killed(edge, notes):
    id = edge.http("/spin")
    edge.put([DISCONNECT, id, None, ""])
    assert notes(1) == ["spin ended"]
    edge.barrier()


def test_records_for_unknown_ids_are_dropped(edge):
    edge.put([BODY, 999999, b"x", False], [CREDIT, 999999, 5], [DISCONNECT, 999999, None, ""])
    edge.barrier()


def test_ten_thousand_requests_leave_nothing(edge):
    """Counted without the garbage collector: reference counting alone must free a finished request."""

    def many(count):
        for _ in range(count // 50):
            ids = [edge.http("/post", b"body") for _ in range(50)]
            for id in ids:
                assert edge.get()[:2] == [START, id]

    many(500)
    before = int(edge.text("/objects"))
    many(10000)
    assert int(edge.text("/objects")) - before < 50
