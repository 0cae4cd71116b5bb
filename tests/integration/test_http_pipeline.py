# SPDX-License-Identifier: BSD-3-Clause
"""Several requests on one connection: keep-alive, pipelining, and requests that arrive in any two pieces."""

import uuid

import pytest
from wire import body, chunked, dial, request, script, start


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


def test_hundred_requests_are_served_on_one_connection(wire):
    for i in range(100):
        assert wire.ask(request("GET", f"/{i}")).body == b"GET /%d? " % i


MIXED = [
    ("GET", request("GET", "/0"), b"GET /0? "),
    ("POST", request("POST", "/1", body=b"one"), b"POST /1? one"),
    ("HEAD", request("HEAD", "/2"), b""),
    ("POST", request("POST", "/3", "Transfer-Encoding: chunked") + chunked(b"th", b"ree"), b"POST /3? three"),
    ("GET", request("GET", script(start(), body(b"stream", True), body(b"ed"))), b"streamed"),
    ("GET", request("GET", script(start(204), body())), b""),
    ("PUT", request("PUT", "/6", body=b"6" * 9000), b"PUT /6? " + b"6" * 9000),
    ("POST", request("POST", script(start(), body(b"unread")), body=b"GET /x HTTP/1.1\r\n\r\n"), b"unread"),
    ("GET", request("GET", "http://a/8"), b"GET /8? "),
    ("DELETE", request("DELETE", "/9", "Connection: close"), b"DELETE /9? "),
]


def test_ten_mixed_requests_in_one_segment_are_answered_in_order(wire):
    wire.send(b"".join(data for _, data, _ in MIXED))
    for method, _, content in MIXED:
        assert wire.response(method).body == content
    assert wire.until_end() == b""


def test_slow_first_request_holds_back_the_others(scripted, wire):
    name = uuid.uuid4().hex
    noted = script(("note", "second" + name), start(), body(b"second"))
    wire.send(request("GET", script(("note", name), ("wait", name), start(), body(b"first"))) + request("GET", noted))
    scripted.log_has(f"NOTE {name}")
    with dial(scripted) as other:
        assert other.ask(request("GET", f"/open/{name}")).status == 200
    assert wire.response().body == b"first"
    assert wire.response().body == b"second"
    assert scripted.log_has(f"NOTE {name}").start() < scripted.log_has(f"NOTE second{name}").start()


def test_what_is_behind_a_request_that_closes_is_not_served(scripted, wire):
    name = uuid.uuid4().hex
    wire.send(request("GET", "/a", "Connection: close") + request("GET", script(("note", name), "report")))
    assert wire.response().body == b"GET /a? "
    assert wire.until_end() == b""
    assert name not in scripted.stderr.text()


def test_good_request_before_a_bad_one_is_answered_first(scripted):
    with dial(scripted) as wire:
        wire.send(request("GET", "/a") + b"BAD\r\n\r\n" + request("GET", "/b"))
        assert wire.response().body == b"GET /a? "
        assert wire.response().status == 400
        assert wire.until_end() == b""


def test_megabyte_of_pipelined_requests_is_answered(wire):
    """The input is held back, not kept, while answers wait; both sides move on."""
    one = request("GET", "/p", "X-Filler: " + "f" * 1000)
    for _ in range(20):
        wire.send(one * 50)
        for _ in range(50):
            assert wire.response().body == b"GET /p? "


def test_empty_line_before_a_request_is_skipped(wire):
    for _ in range(3):
        assert wire.ask(b"\r\n" + request("GET", "/a")).body == b"GET /a? "


def splits(data, step=1):
    return [(data[:i], data[i:]) for i in range(1, len(data), step)]


SPLIT = {
    "get": ("GET", request("GET", "/path?q=1", "A: b", "Cookie: c=d"), b"GET /path?q=1 "),
    "head": ("HEAD", request("HEAD", "/p"), b""),
    "no headers": ("GET", request("GET", "/p", host=None), b"GET /p? "),
    "length": ("POST", request("POST", "/p", "A: b", body=b"0123456789"), b"POST /p? 0123456789"),
    "chunked": (
        "POST",
        request("POST", "/p", "Transfer-Encoding: chunked") + b"3;x=y\r\nabc\r\n5\r\ndefgh\r\n0\r\nT: v\r\n\r\n",
        b"POST /p? abcdefgh",
    ),
    "blank line": ("GET", b"\r\n" + request("GET", "/p"), b"GET /p? "),
}


@pytest.mark.parametrize("kind", SPLIT)
def test_request_in_any_two_pieces_is_the_same(wire, kind):
    """The first piece is sent with the end of the request before it, so that it is read apart from the second."""
    method, data, content = SPLIT[kind]
    for first, second in splits(data):
        wire.send(request("GET", "/before") + first)
        assert wire.response().body == b"GET /before? "
        wire.send(second)
        response = wire.response(method)
        assert (response.status, response.body) == (200, content), (first, second)


@pytest.mark.parametrize("kind", SPLIT)
def test_request_byte_by_byte_is_the_same(wire, kind):
    method, data, content = SPLIT[kind]
    for i in range(len(data)):
        wire.send(data[i : i + 1])
    response = wire.response(method)
    assert (response.status, response.body) == (200, content)
    assert wire.is_idle()


def test_pipelined_pair_in_any_two_pieces_is_the_same(wire):
    pair = request("POST", "/1", "Transfer-Encoding: chunked") + chunked(b"one") + request("POST", "/2", body=b"two")
    for first, second in splits(pair):
        wire.send(first)
        wire.send(second)
        assert wire.response().body == b"POST /1? one", (first, second)
        assert wire.response().body == b"POST /2? two", (first, second)
