# SPDX-License-Identifier: BSD-3-Clause
"""What the client is sent: the forms of a response, and what the server adds to them."""

import email.utils
import time

import pytest
from wire import body, dial, request, script, start


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


def run(wire, *steps, method="GET", lines=(), version="1.1"):
    return wire.ask(request(method, script(*steps), *lines, version=version), method)


def length(size):
    return (b"content-length", b"%d" % size)


def test_single_body_gets_a_content_length(wire):
    response = run(wire, start(), body(b"hello"))
    assert (response.status, response.phrase, response.body) == (200, "OK", b"hello")
    assert response.get(b"content-length") == b"5"
    assert not response.closes()
    assert wire.is_idle()


def test_empty_body_gets_content_length_0(wire):
    response = run(wire, start(), body())
    assert response.get(b"content-length") == b"0" and response.body == b""
    assert wire.is_idle()


def test_body_event_without_keys_is_the_empty_last_one(wire):
    assert run(wire, start(), {"type": "http.response.body"}).get(b"content-length") == b"0"


def test_start_without_headers_is_sent(wire):
    assert run(wire, {"type": "http.response.start", "status": 404}, body(b"x")).status == 404


def test_streamed_body_is_chunked(wire):
    response = run(wire, start(), body(b"one", True), body(b"", True), body(b"two", True), body(b"three"))
    assert response.is_chunked and response.body == b"onetwothree"
    assert wire.is_idle()


def test_streamed_body_may_end_empty(wire):
    response = run(wire, start(), body(b"one", True), body())
    assert response.is_chunked and response.body == b"one"
    assert wire.is_idle()


def test_streamed_body_with_content_length_is_not_chunked(wire):
    response = run(wire, start(200, length(6)), body(b"one", True), body(b"two"))
    assert not response.is_chunked and response.body == b"onetwo"
    assert wire.is_idle()


def test_content_length_is_sent_once(wire):
    assert run(wire, start(200, (b"Content-Length", b"3")), body(b"abc")).get(b"content-length") == b"3"


def test_large_body_arrives_whole(wire):
    steps = [start(), ("times", 100, body(b"<" + b"x" * 4000 + b">", True)), body(b"final")]
    assert run(wire, *steps).body == (b"<" + b"x" * 4000 + b">") * 100 + b"final"
    assert wire.is_idle()


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("content", [b"", b"must not be sent"])
def test_status_without_body_has_neither_body_nor_length(wire, status, content):
    response = run(wire, start(status, (b"etag", b'"1"')), body(content))
    assert (response.status, response.get(b"content-length"), response.get(b"transfer-encoding")) == (
        status,
        None,
        None,
    )
    assert response.get(b"etag") == b'"1"'
    assert wire.is_idle(), "no byte of a body follows"


@pytest.mark.parametrize("status", [204, 304])
def test_streamed_body_of_a_status_without_body_is_dropped(wire, status):
    run(wire, start(status), body(b"one", True), body(b"two", True), body(b"three"))
    assert wire.is_idle()


def test_304_may_tell_the_length_of_what_it_stands_for(wire):
    assert run(wire, start(304, length(1000)), body()).get(b"content-length") == b"1000"
    assert wire.is_idle()


HEAD_BODIES = {
    "single": [body(b"hello")],
    "streamed": [body(b"one", True), body(b"two", True), body(b"three")],
    "empty": [body()],
    "large": [("times", 100, body(b"x" * 6000, True)), body()],
}


@pytest.mark.parametrize("form", HEAD_BODIES)
@pytest.mark.parametrize("headers", [[], [length(5)]])
def test_head_leaks_no_byte_of_a_body(wire, form, headers):
    response = run(wire, start(200, *headers), *HEAD_BODIES[form], method="HEAD")
    assert response.status == 200
    if headers or form == "single":
        assert response.get(b"content-length") == b"5"
    assert wire.is_idle()


def test_head_of_an_error_page_has_no_body(wire):
    response = run(wire, ("raise", "oh"), method="HEAD")
    assert response.status == 500 and int(response.get(b"content-length")) > 0
    assert wire.until_end() == b""


def test_http_1_0_single_is_answered_and_closed(scripted):
    with dial(scripted) as wire:
        response = run(wire, start(), body(b"hello"), version="1.0")
        assert (response.version, response.body, response.get(b"content-length")) == ("HTTP/1.0", b"hello", b"5")
        assert response.closes() and wire.until_end() == b""


def test_http_1_0_streamed_ends_with_the_connection(scripted):
    with dial(scripted) as wire:
        response = run(wire, start(), body(b"one", True), body(b"two"), version="1.0")
        assert response.version == "HTTP/1.0" and response.body == b"onetwo"
        assert response.get(b"transfer-encoding") is None and response.closes()


def test_http_1_0_keep_alive_is_not_granted(scripted):
    with dial(scripted) as wire:
        assert run(wire, start(), body(b"x"), version="1.0", lines=("Connection: keep-alive",)).closes()
        assert wire.until_end() == b""


def test_http_1_0_head_of_a_stream_has_no_body(scripted):
    with dial(scripted) as wire:
        run(wire, start(), body(b"one", True), body(b"two"), version="1.0", method="HEAD")
        assert wire.until_end() == b""


@pytest.mark.parametrize("value", ["close", "Close", "x, CLOSE", "keep-alive, close"])
def test_connection_close_of_the_client_is_honoured(scripted, value):
    with dial(scripted) as wire:
        response = run(wire, start(), body(b"x"), lines=(f"Connection: {value}",))
        assert response.closes() and response.body == b"x"
        assert wire.until_end() == b""


@pytest.mark.parametrize("steps", [[body(b"x")], [body(b"x", True), body()]])
def test_connection_close_of_the_application_is_honoured(scripted, steps):
    with dial(scripted) as wire:
        response = run(wire, start(200, (b"Connection", b"close")), *steps)
        assert response.closes() and response.body == b"x"
        assert wire.until_end() == b""


def test_framing_headers_of_the_application_are_the_servers_business(wire):
    headers = [(b"transfer-encoding", b"chunked"), (b"connection", b"keep-alive, x"), (b"keep-alive", b"timeout=5")]
    response = run(wire, start(200, *headers), body(b"hello"))
    assert response.body == b"hello" and not response.is_chunked
    assert response.get(b"connection") is None and response.get(b"keep-alive") is None
    assert wire.is_idle()


def test_headers_keep_their_order_case_and_duplicates(wire):
    headers = [
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"x-Own", b"caf\xe9"),
        (b"set-cookie", b"b=2"),
        (b"X-EMPTY", b""),
        (b"Set-Cookie", b"c=3, d"),
    ]
    response = run(wire, start(200, *headers), body(b"x"))
    assert response.headers[: len(headers)] == headers


def test_many_and_large_headers_are_sent(wire):
    headers = [(b"x-%d" % i, b"v" * 60) for i in range(100)]
    steps = (start(200, *headers, (b"x-large", b"w" * 5000)), body(b"x"))
    response = run(wire, *steps)
    assert response.headers[:100] == headers and response.get(b"x-large") == b"w" * 5000


@pytest.mark.parametrize(("status", "phrase"), [(201, "Created"), (418, "I'm a Teapot"), (503, "Service Unavailable")])
def test_status_has_its_phrase(wire, status, phrase):
    response = run(wire, start(status), body(b"x"))
    assert (response.status, response.phrase) == (status, phrase)


def test_unknown_status_is_sent(wire):
    assert run(wire, start(299), body(b"x")).status == 299


def test_server_and_date_are_added(wire):
    before = time.time()
    response = run(wire, start(), body(b"x"))
    assert response.get(b"server") == b"channelsd"
    date = response.get(b"date").decode()
    then = email.utils.parsedate_to_datetime(date)
    assert email.utils.format_datetime(then, usegmt=True) == date
    assert int(before) <= then.timestamp() <= time.time()


def test_own_server_and_date_are_kept(wire):
    response = run(wire, start(200, (b"Server", b"mine"), (b"date", b"then")), body(b"x"))
    assert (response.get(b"server"), response.get(b"date")) == (b"mine", b"then")


@pytest.mark.parametrize(
    ("arguments", "server", "has_date"),
    [
        (("-s", "Own/1.0 (x)"), b"Own/1.0 (x)", True),
        (("--server-name", "daphne", "--no-date-header"), b"daphne", False),
        (("--no-server-name",), None, True),
        (("-s", ""), None, True),
    ],
)
def test_flags_choose_server_and_date(serve, arguments, server, has_date):
    with dial(serve("scripted:application", *arguments)) as wire:
        for response in (run(wire, start(), body(b"x")), wire.ask(b"bad\r\n")):
            assert response.get(b"server") == server
            assert (response.get(b"date") is not None) is has_date
