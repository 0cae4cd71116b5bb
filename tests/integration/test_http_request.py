# SPDX-License-Identifier: BSD-3-Clause
"""What the application receives: the body in events, and the end of its client."""

import ast
import uuid

import pytest
from wire import body, chunked, dial, request, script, start


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


@pytest.fixture
def name():
    """A name that no other test uses, for gates and notes."""
    return uuid.uuid4().hex


def open_gate(server, name):
    with dial(server) as wire:
        assert wire.ask(request("GET", f"/open/{name}")).status == 200


def told(wire, data):
    """What a request with "report" remembered."""
    response = wire.ask(data)
    assert response.status == 200, response
    return ast.literal_eval(response.body.decode())


def event(content, more=False):
    return {"type": "http.request", "body": content, "more_body": more}


DRAIN = script("drain", "report")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD2"])
def test_no_body_is_one_empty_event(wire, method):
    assert told(wire, request(method, DRAIN)) == [event(b"")]


def test_content_length_zero_is_one_empty_event(wire):
    assert told(wire, request("POST", DRAIN, "Content-Length: 0")) == [event(b"")]


@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS", "put"])
def test_small_body_is_exactly_one_event(wire, method):
    assert told(wire, request(method, DRAIN, body=b"a=1&b=2")) == [event(b"a=1&b=2")]


@pytest.mark.parametrize("size", [1, 8192, 16384, 60000])
def test_body_that_comes_with_its_head_is_whole(wire, size):
    events = told(wire, request("POST", DRAIN, body=b"x" * size))
    assert b"".join(e["body"] for e in events) == b"x" * size
    assert [e["more_body"] for e in events] == [True] * (len(events) - 1) + [False]
    assert events[-1]["body"], "the last event of a body with Content-Length carries its end"
    assert size > 8192 or len(events) == 1


def test_large_body_arrives_whole(wire):
    content = bytes(range(256)) * 1200
    events = told(wire, request("POST", DRAIN, body=content))
    assert b"".join(e["body"] for e in events) == content
    assert all(len(e["body"]) <= 65536 for e in events)


def test_body_is_streamed_as_it_comes(scripted, wire, name):
    steps = ("receive", ("note", name), "drain", "report")
    wire.send(request("POST", script(*steps), "Content-Length: 6") + b"one")
    scripted.log_has(f"NOTE {name} .*b'one', 'more_body': True")
    wire.send(b"two")
    assert ast.literal_eval(wire.response().body.decode()) == [event(b"one", True), event(b"two")]


def test_application_runs_before_any_of_the_body(scripted, wire, name):
    wire.send(request("POST", script(("note", name), "drain", "report"), "Content-Length: 4"))
    scripted.log_has(f"NOTE {name}")
    wire.send(b"body")
    events = ast.literal_eval(wire.response().body.decode())
    assert b"".join(e["body"] for e in events) == b"body"


def test_chunked_body_arrives_whole(wire):
    events = told(wire, request("POST", DRAIN, "Transfer-Encoding: chunked") + chunked(b"one", b"two", b"3" * 5000))
    assert b"".join(e["body"] for e in events) == b"onetwo" + b"3" * 5000
    assert [e["more_body"] for e in events] == [True] * (len(events) - 1) + [False]


def test_empty_chunked_body_is_one_empty_event(wire):
    assert told(wire, request("POST", DRAIN, "Transfer-Encoding: Chunked") + chunked()) == [event(b"")]


def test_chunks_of_a_byte_reach_a_slow_application_in_few_events(scripted, wire, name):
    steps = (("note", name), ("wait", name), "drain", "report")
    content = bytes(range(256)) * 200
    wire.send(request("POST", script(*steps), "Transfer-Encoding: chunked"))
    scripted.log_has(f"NOTE {name}")
    wire.send(chunked(*[content[i : i + 1] for i in range(len(content))]) + request("GET", "/behind"))
    open_gate(scripted, name)
    events = ast.literal_eval(wire.response().body.decode())
    assert b"".join(e["body"] for e in events) == content
    assert [e["more_body"] for e in events] == [True] * (len(events) - 1) + [False]
    assert len(events) < 100
    assert wire.response().body == b"GET /behind? "


def test_chunk_extensions_and_trailers_are_dropped(wire):
    content = b'3;a=b;c="d"\r\none\r\n0\r\nX-Trailer: x\r\nHost: y\r\n\r\n'
    events = told(wire, request("POST", DRAIN, "Transfer-Encoding: chunked") + content)
    assert b"".join(e["body"] for e in events) == b"one"
    assert wire.is_idle()


def test_client_that_leaves_in_the_body_is_told_after_what_came(scripted, wire, name):
    steps = ("receive", ("note", "begin" + name), "receive", "receive", ("note", "end" + name))
    wire.send(request("POST", script(*steps), "Content-Length: 9") + b"one")
    scripted.log_has(f"NOTE begin{name}")
    wire.sock.close()
    gone = "{'type': 'http.disconnect'}"
    scripted.log_has(rf"NOTE end{name} .*b'one', 'more_body': True}}, {gone}, {gone}\]")


def test_client_that_leaves_while_the_application_works_is_told(scripted, wire, name):
    steps = ("drain", ("note", "begin" + name), "receive", ("note", "end" + name))
    wire.send(request("GET", script(*steps)))
    scripted.log_has(f"NOTE begin{name}")
    wire.sock.close()
    scripted.log_has(rf"NOTE end{name} .*'more_body': False}}, {{'type': 'http.disconnect'}}\]")


def test_send_after_the_client_left_raises_an_os_error(scripted, wire, name):
    steps = (
        "drain",
        ("note", "begin" + name),
        "receive",
        ("try", start()),
        ("try", body(b"x")),
        ("note", "end" + name),
    )
    wire.send(request("GET", script(*steps)))
    scripted.log_has(f"NOTE begin{name}")
    wire.sock.close()
    line = scripted.log_has(rf"NOTE end{name} .*\n")[0].decode()
    assert line.count("ClientDisconnected: the client has disconnected") == 2, line


def test_receive_after_the_response_tells_the_disconnect_each_time(scripted, wire, name):
    steps = ("drain", start(), body(b"x"), "receive", "receive", ("note", name))
    assert wire.ask(request("GET", script(*steps))).body == b"x"
    gone = "{'type': 'http.disconnect'}"
    scripted.log_has(rf"NOTE {name} .*, {gone}, {gone}\]")
    assert wire.is_idle(), "that disconnect is the request's, not the connection's"


def test_send_after_the_response_is_ignored(scripted, wire, name):
    steps = (start(), body(b"x"), ("try", body(b"y")), ("try", start(404)), ("try", {"type": "odd"}), ("note", name))
    assert wire.ask(request("GET", script(*steps))).body == b"x"
    scripted.log_has(rf"NOTE {name} \[None, None, None\]")
    assert wire.is_idle()


def test_expect_continue_is_answered_before_the_body(wire):
    wire.send(request("POST", DRAIN, "Expect: 100-Continue", "Content-Length: 4"))
    interim = wire.response()
    assert (interim.status, interim.headers, interim.version) == (100, [], "HTTP/1.1")
    wire.send(b"body")
    assert b"".join(e["body"] for e in ast.literal_eval(wire.response().body.decode())) == b"body"
    assert wire.is_idle()


def test_expect_continue_of_a_chunked_body_is_answered(wire):
    wire.send(request("POST", DRAIN, "Expect: 100-continue", "Transfer-Encoding: chunked"))
    assert wire.response().status == 100
    wire.send(chunked(b"body"))
    assert wire.response().status == 200


@pytest.mark.parametrize(("version", "lines"), [("1.0", ("Content-Length: 0",)), ("1.1", ()), ("1.0", ())])
def test_expect_continue_without_use_is_ignored(scripted, version, lines):
    with dial(scripted) as wire:
        assert wire.ask(request("POST", DRAIN, "Expect: 100-continue", *lines, version=version)).status == 200


def test_expect_continue_over_the_body_limit_is_413_at_once(serve):
    server = serve("scripted:application", "--max-body-size", "100")
    with dial(server) as wire:
        response = wire.ask(request("POST", DRAIN, "Expect: 100-continue", "Content-Length: 101"))
        assert response.status == 413 and response.closes()
        assert wire.until_end() == b""


def test_whole_response_before_the_body_was_sent_is_delivered(wire):
    wire.send(request("POST", script(start(), body(b"no thanks")), "Content-Length: 1000000"))
    response = wire.response()
    assert (response.status, response.body, response.closes()) == (200, b"no thanks", True)
    assert wire.until_end() == b""


def test_early_response_survives_what_the_client_still_sends(wire):
    steps = (start(200, (b"content-length", b"300000")), ("times", 300, body(b"r" * 1000, True)), body())
    wire.send(request("POST", script(*steps), "Content-Length: 3000000") + b"u" * 1000000)
    assert wire.response().body == b"r" * 300000
    assert wire.until_end() == b""


def test_streamed_early_response_goes_on_while_the_body_comes(scripted, wire, name):
    steps = (start(), body(b"early", True), "drain", body(b"late"))
    wire.send(request("POST", script(*steps), "Content-Length: 4"))
    while b"early" not in wire.data:
        assert wire._more()
    wire.send(b"body")
    assert wire.response().body == b"earlylate"
    assert wire.is_idle(), "the whole request was read"


def test_application_that_does_not_read_the_body_keeps_the_connection(wire):
    """What came whole is thrown away: the next request is found behind it."""
    wire.send(request("POST", script(start(), body(b"x")), body=b"GET /evil HTTP/1.1\r\n\r\n"))
    assert wire.response().body == b"x"
    assert wire.is_idle()


def test_fifty_slow_requests_are_served_at_once(scripted, name):
    wires = [dial(scripted) for _ in range(50)]
    for i, wire in enumerate(wires):
        wire.send(request("GET", script(("wait", name), start(), body(b"%d" % i))))
    with dial(scripted) as other:
        assert other.is_idle(), "others are served meanwhile"
    open_gate(scripted, name)
    for i, wire in enumerate(wires):
        with wire:
            assert wire.response().body == b"%d" % i
