# SPDX-License-Identifier: BSD-3-Clause
"""What an application does wrong: the client is told, the log has the reason, the server goes on."""

import ast
import uuid

import pytest
from memory import MIB, Growth
from wire import body, dial, request, script, start


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


def failed(wire, *steps, method="GET"):
    """The server's own 500 page for these steps."""
    response = wire.ask(request(method, script(*steps)), method)
    assert response.status == 500 and response.get(b"content-type") == b"text/html; charset=utf-8", response
    assert response.closes() and wire.until_end() == b""
    return response.body.decode()


def log_from(server):
    return len(server.stderr.data)


def is_half(data):
    """A response that has begun and is not whole."""
    return data.startswith(b"HTTP/1.1 200 OK\r\n") and b"half" in data and not data.endswith(b"0\r\n\r\n")


def raised(wire, *steps):
    """What the events of ("try", event) steps raised inside the application."""
    response = wire.ask(request("GET", script(*steps, "report")))
    assert response.status == 200, response
    return ast.literal_eval(response.body.decode())


def test_exception_before_the_start_is_a_500_page_and_a_traceback(scripted, wire):
    start_at = log_from(scripted)
    page = failed(wire, ("raise", "it broke"))
    assert "Exception inside application." in page and "it broke" not in page
    scripted.log_has(
        rb"ERROR +Exception inside application: it broke\nTraceback [^\0]*"
        rb"scripted\.py[^\0]*\nRuntimeError: it broke\n",
        start=start_at,
    )


def test_exception_after_start_without_a_body_is_still_a_500_page(wire):
    assert "Exception inside application." in failed(wire, start(), ("raise", "held"))


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"9")]])
def test_exception_in_the_body_cuts_the_connection_and_is_logged(scripted, wire, headers):
    name = uuid.uuid4().hex
    wire.send(request("GET", script(start(200, *headers), body(b"half", True), ("raise", name))))
    assert is_half(wire.until_end())
    scripted.log_has(rf"Exception inside application: {name}\nTraceback")


def test_return_without_an_answer_is_a_500_page(wire):
    assert "The application ended without an answer." in failed(wire)


def test_return_in_the_body_cuts_the_connection(wire):
    wire.send(request("GET", script(start(), body(b"half", True))))
    assert is_half(wire.until_end())


@pytest.mark.parametrize("end", [[], [("raise", "x")]])
def test_half_a_body_that_ends_with_the_connection_is_reset(scripted, end):
    """To HTTP/1.0 the end of the stream would say that it was whole."""
    with dial(scripted) as wire:
        wire.send(request("GET", script(start(), body(b"half", True), *end), version="1.0"))
        with pytest.raises(ConnectionResetError):
            while wire.sock.recv(65536):
                pass


def test_exception_after_the_response_leaves_the_connection(scripted, wire):
    name = uuid.uuid4().hex
    assert wire.ask(request("GET", script(start(), body(b"x"), ("raise", name)))).body == b"x"
    scripted.log_has(rf"Exception inside application: {name}\n")
    assert wire.is_idle()


def test_exception_with_a_body_unread_is_a_500_page(wire):
    wire.send(request("POST", script("receive", ("raise", "x")), "Content-Length: 100000") + b"u" * 5000)
    assert wire.response().status == 500
    assert wire.until_end() == b""


BAD_EVENTS = {
    "body before start": ([body(b"x")], "HTTP response has not yet been started but got http.response.body"),
    "no status": (
        [{"type": "http.response.start", "headers": []}],
        "Specifying a status code is required for a Response message.",
    ),
    "unknown type": ([{"type": "http.odd"}], "Cannot handle message type http.odd!"),
    "websocket event": ([{"type": "websocket.send", "text": "x"}], "Cannot handle message type websocket.send!"),
    "name of str": (
        [start(200, ("a", b"b"))],
        "Header name 'a' expected to be `bytes`, but got `<class 'str'>`",
    ),
    "value of str": (
        [start(200, (b"a", "b"))],
        "Header value 'b' expected to be `bytes`, but got `<class 'str'>`",
    ),
    "value of int": ([start(200, (b"a", 5))], "Header value '5' expected to be `bytes`, but got `<class 'int'>`"),
}


@pytest.mark.parametrize("why", BAD_EVENTS)
def test_bad_event_raises_value_error_inside_the_application(wire, why):
    events, text = BAD_EVENTS[why]
    assert raised(wire, *[("try", event) for event in events]) == [f"ValueError: {text}"]
    assert wire.is_idle()


def test_second_start_raises_value_error(scripted, wire):
    name = uuid.uuid4().hex
    steps = (start(), ("try", start()), body(b"x", True), ("try", start()), body(), ("note", name))
    assert wire.ask(request("GET", script(*steps))).body == b"x"
    line = scripted.log_has(rf"NOTE {name} .*\n")[0].decode()
    assert line.count("ValueError: HTTP response has already been started") == 2, line


@pytest.mark.parametrize("why", BAD_EVENTS)
def test_bad_event_that_is_not_caught_is_a_500_page_and_logged(scripted, wire, why):
    events, text = BAD_EVENTS[why]
    start_at = log_from(scripted)
    failed(wire, *events)
    scripted.stderr.wait_for(b"ValueError: " + text.replace("(", r"\(").encode(), start=start_at)


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"b\r\nset-cookie: evil=1"),
        (b"x-a", b"b\n"),
        (b"x-a", b"\r"),
        (b"x-a", b"b\x00c"),
        (b"x-a", b"b\x0bc"),
        (b"x-a", b"b\x7fc"),
        (b"", b"b"),
        (b"x a", b"b"),
        (b"x-a:", b"b"),
        (b"x-a\r\nevil", b"b"),
        (b"x\x00a", b"b"),
        (b"\xe9", b"b"),
        (b"content-length", b"abc"),
        (b"content-length", b"-1"),
        (b"content-length", b""),
    ],
)
def test_illegal_response_header_is_a_500_page_and_logged(scripted, wire, header):
    start_at = log_from(scripted)
    page = failed(wire, start(200, (b"x-before", b"1"), header), body(b"x"))
    assert "evil" not in page
    scripted.log_has(rb"(ERROR +Exception inside application: Header|ERROR +application\.bad_response)", start=start_at)
    with dial(scripted) as other:
        assert other.is_idle()


def test_two_different_content_lengths_are_a_500_page(scripted, wire):
    start_at = log_from(scripted)
    failed(wire, start(200, (b"content-length", b"1"), (b"content-length", b"2")), body(b"x"))
    scripted.log_has(rb"application\.bad_response path=/run problem=.*Content-Length", start=start_at)


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 1000, -1])
def test_status_that_no_response_has_is_a_500_page(wire, status):
    failed(wire, start(status), body(b"x"))


@pytest.mark.parametrize("steps", [[body(b"short")], [body(b"sh", True), body(b"ort")]])
def test_body_shorter_than_its_length_cuts_the_connection(scripted, wire, steps):
    start_at = log_from(scripted)
    wire.send(request("GET", script(start(200, (b"content-length", b"9")), *steps)))
    with pytest.raises(ConnectionError, match="ended after 5 of 9"):
        wire.response()
    scripted.log_has(rb"application\.bad_response .*shorter than Content-Length", start=start_at)


@pytest.mark.parametrize("steps", [[body(b"longer")], [body(b"lo", True), body(b"n", True), body(b"g"), body(b"er")]])
def test_body_longer_than_its_length_is_cut_to_it(scripted, wire, steps):
    steps = [body(b"lo", True), body(b"nger", True), body()] if len(steps) > 1 else steps
    start_at = log_from(scripted)
    assert wire.ask(request("GET", script(start(200, (b"content-length", b"3")), *steps))).body == b"lon"
    scripted.log_has(rb"application\.bad_response .*longer than Content-Length", start=start_at)
    assert wire.is_idle(), "nothing of the rest is on the wire"


def test_failures_after_the_start_leave_a_server_that_works_and_does_not_grow(serve):
    """Daphne's housekeeping dies of one such failure: from then on errors are silent and every request leaves memory."""
    server = serve("scripted:application", "--access-log", "/dev/null", measured=True)
    bad = request("GET", script(start(), body(b"half", True), ("raise", "cut")))
    good = request("GET", script(start(), body(b"x")))
    workers = server.worker_pids()
    for _ in range(20):
        with dial(server) as wire:
            wire.send(bad)
            assert is_half(wire.until_end())
    with dial(server) as wire:
        serve_many(wire, good, 1000)
        growth = Growth(server)
        serve_many(wire, good, 3000)
        grew = growth.most()
        failed(wire, ("raise", "still told"))
    server.log_has(rb"Exception inside application: still told\nTraceback")
    assert server.worker_pids() == workers
    assert grew < MIB


def serve_many(wire, data, count):
    for _ in range(count // 20):
        wire.send(data * 20)
        for _ in range(20):
            assert wire.response().body == b"x"


def test_http_timeout_is_a_503_and_the_application_is_told_and_then_cancelled(serve):
    server = serve("scripted:application", "-t", "1", "--application-close-timeout", "1")
    steps = ("drain", "receive", ("note", "told"), ("wait", "never"))
    with dial(server) as wire:
        response = wire.ask(request("GET", script(*steps)))
        assert response.status == 503 and b"Application failed to respond within time limit." in response.body
        assert wire.until_end() == b""
        port = wire.sock.getsockname()[1]
    server.log_has(rb"NOTE told .*'http\.disconnect'")
    server.log_has(
        rb"WARNING +Application instance <Task .*> for connection <HttpRequest client=\['127\.0\.0\.1', %d\] path='/run'> "
        rb"took too long to shut down and was killed\.\n" % port
    )
    server.log_has(rb"NOTE cancelled\n")
    server.access_has(rb'"GET /run\?[^ ]* 503 \d+\n')
    with dial(server) as wire:
        assert wire.is_idle()


def test_http_timeout_in_the_body_cuts_the_connection(serve):
    server = serve("scripted:application", "-t", "1", "--application-close-timeout", "1")
    with dial(server) as wire:
        wire.send(request("GET", script(start(), body(b"half", True), ("wait", "never"))))
        assert is_half(wire.until_end())
    server.log_has(rb"NOTE cancelled\n")


def test_http_timeout_counts_from_the_whole_request(serve):
    """A body that comes slowly is not the application's time; the answer to it is."""
    server = serve("scripted:application", "-t", "1", "--application-close-timeout", "1")
    with dial(server) as wire:
        wire.send(request("POST", script("drain", ("note", "whole"), ("wait", "never")), "Content-Length: 2"))
        with pytest.raises(TimeoutError):
            wire.sock.settimeout(1.5)
            wire.response()
        wire.sock.settimeout(5)
        wire.send(b"ab")
        server.log_has(rb"NOTE whole")
        assert wire.response().status == 503


def test_http_timeout_counts_while_the_application_does_not_take_the_body(serve):
    """It is too large to be passed on, so that the request never becomes whole."""
    server = serve("scripted:application", "-t", "1", "--application-close-timeout", "1")
    with dial(server) as wire:
        wire.send(request("POST", script(("wait", "never")), "Content-Length: 10000000") + b"x" * 200000)
        assert wire.response().status == 503
    server.log_has(rb"NOTE cancelled\n")


def test_asgi_2_application_is_refused_with_the_way_out(serve):
    server = serve("scripted:asgi2", start=False, expect_exit=1)
    assert server.wait_exit() != 0
    server.log_has(rb"is no ASGI 3 application.*guarantee_single_callable")
