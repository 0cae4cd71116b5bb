# SPDX-License-Identifier: BSD-3-Clause
"""What HTTP applications, clients and log readers find the same under channelsd and under Daphne."""

import ast
import contextlib
import json
import re
import uuid
from pathlib import Path

import pytest
from server import Channelsd, Daphne
from wire import body, chunked, dial, request, script, start


@pytest.fixture(scope="module", params=[Channelsd, Daphne], ids=["channelsd", "daphne"])
def kind(request):
    """The class of server under test."""
    return request.param


@pytest.fixture
def serve(kind):
    """serve("module:application", *arguments, **keywords) -> a server of that kind."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(kind(*args, **kwargs))


@pytest.fixture(scope="module")
def scripted(kind):
    """A server of apps/scripted.py."""
    with kind("scripted:application") as server:
        yield server


@pytest.fixture(scope="module")
def any_path(kind):
    """A connection to an application that answers every path with its scope."""
    with kind("scripted:scope_only") as server, dial(server) as wire:
        yield wire


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


@pytest.fixture
def name():
    return uuid.uuid4().hex


def told(wire, data):
    response = wire.ask(data)
    assert response.status == 200, response
    return ast.literal_eval(response.body.decode())


def run(wire, *steps, method="GET", lines=(), version="1.1"):
    return wire.ask(request(method, script(*steps), *lines, version=version), method)


# Scope


def test_scope_has_these_values_and_types(scripted, wire):
    scope = told(wire, request("GET", "/scope?a=%20&b", "X-One: 1", "Cookie: a=b", "X-Two: 2"))
    expected = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/scope",
        "raw_path": b"/scope",
        "query_string": b"a=%20&b",
        "root_path": "",
        "client": list(wire.sock.getsockname()),
        "server": ["127.0.0.1", scripted.port],
    }
    assert {key: scope[key] for key in expected} == expected
    assert scope["asgi"]["version"] == "3.0"
    assert sorted(scope["headers"]) == [(b"cookie", b"a=b"), (b"host", b"t"), (b"x-one", b"1"), (b"x-two", b"2")]
    assert type(scope["headers"]) is list


@pytest.mark.parametrize(
    ("target", "path", "raw_path"),
    [
        ("/a%20b%2Fc%25", "/a b/c%", b"/a%20b%2Fc%25"),
        ("/h%C3%A9llo", "/héllo", b"/h%C3%A9llo"),
        ("/bad%FFend", "/bad\ufffdend", b"/bad%FFend"),
        ("/not%zz", "/not%zz", b"/not%zz"),
        ("/a//b/../c", "/a//b/../c", b"/a//b/../c"),
        ("/plus+plus", "/plus+plus", b"/plus+plus"),
    ],
)
def test_path_is_decoded_and_raw_path_is_not(any_path, target, path, raw_path):
    scope = told(any_path, request("GET", target))
    assert (scope["path"], scope["raw_path"]) == (path, raw_path)


@pytest.mark.parametrize("method", ["get", "DELETE", "PROPFIND", "X-Own", "CONNECT"])
def test_methods_are_passed_as_they_are(wire, method):
    assert told(wire, request(method, "/scope"))["method"] == method


def test_no_host_is_served(wire):
    assert told(wire, request("GET", "/scope", host=None))["headers"] == []


def test_duplicate_headers_are_kept_and_underscores_dropped(wire):
    lines = ("X-A: 1", "X_A: 2", "x-a: 3", "Cookie: a", "Cookie: b")
    headers = told(wire, request("GET", "/scope", *lines))["headers"]
    assert [value for name, value in headers if name == b"x-a"] == [b"1", b"3"]
    assert [value for name, value in headers if name == b"cookie"] == [b"a", b"b"]
    assert len(headers) == 5


def test_options_of_the_whole_server_is_served(wire):
    assert wire.ask(request("OPTIONS", "*")).body == b"OPTIONS *? "


def test_root_path_option_is_in_the_scope(serve):
    with dial(serve("scripted:application", "--root-path", "/app")) as wire:
        assert told(wire, request("GET", "/scope"))["root_path"] == "/app"


# Events


def test_no_body_is_one_empty_event(wire):
    assert told(wire, request("GET", script("drain", "report"))) == [
        {"type": "http.request", "body": b"", "more_body": False}
    ]


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_small_body_is_exactly_one_event(wire, size):
    assert told(wire, request("POST", script("drain", "report"), body=b"x" * size)) == [
        {"type": "http.request", "body": b"x" * size, "more_body": False}
    ]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_body_arrives_whole_in_pieces(wire, framing):
    content = bytes(range(256)) * 1000
    target = script("drain", "report")
    data = request("POST", target, "Transfer-Encoding: chunked") + chunked(content[:70000], content[70000:])
    events = told(wire, data if framing == "chunked" else request("POST", target, body=content))
    assert b"".join(event["body"] for event in events) == content
    assert [event["more_body"] for event in events] == [True] * (len(events) - 1) + [False]


def test_disconnect_comes_after_the_response(scripted, wire, name):
    assert run(wire, "drain", start(), body(b"x"), "receive", ("note", name)).body == b"x"
    scripted.log_has(rf"NOTE {name} .*, {{'type': 'http.disconnect'}}\]")


def test_disconnect_comes_when_the_client_leaves(scripted, wire, name):
    wire.send(request("GET", script("drain", ("note", "begin" + name), "receive", ("note", "end" + name))))
    scripted.log_has(f"NOTE begin{name}")
    wire.sock.close()
    scripted.log_has(rf"NOTE end{name} .*, {{'type': 'http.disconnect'}}\]")


def test_expect_continue_is_answered(wire):
    wire.send(request("POST", "/p", "Expect: 100-continue", "Content-Length: 4"))
    assert wire.response().status == 100
    wire.send(b"body")
    assert wire.response().body == b"POST /p? body"


def test_send_after_the_response_is_ignored(scripted, wire, name):
    assert run(wire, start(), body(b"x"), ("try", body(b"y")), ("note", name)).body == b"x"
    scripted.log_has(rf"NOTE {name} \[None\]")
    assert wire.is_idle()


# Responses


FORMS = {
    "single": ([start(), body(b"hello")], b"hello"),
    "empty": ([start(), body()], b""),
    "streamed": ([start(), body(b"one", True), body(b"", True), body(b"two")], b"onetwo"),
    "length": ([start(200, (b"content-length", b"6")), body(b"one", True), body(b"two")], b"onetwo"),
    "404": ([start(404), body(b"gone")], b"gone"),
    "204": ([start(204), body()], b""),
    "304": ([start(304, (b"etag", b"x")), body()], b""),
}


@pytest.mark.parametrize("form", FORMS)
def test_response_arrives_and_the_connection_goes_on(wire, form):
    steps, content = FORMS[form]
    response = run(wire, *steps)
    assert response.body == content and response.status == steps[0]["status"]
    assert wire.is_idle()


@pytest.mark.parametrize("form", FORMS)
def test_http_1_0_response_ends_with_the_connection(scripted, form):
    steps, content = FORMS[form]
    with dial(scripted) as wire:
        response = run(wire, *steps, version="1.0", lines=("Connection: keep-alive",))
        assert (response.version, response.body) == ("HTTP/1.0", content)
        assert wire.until_end() == b""


def test_head_of_a_single_body_has_none(wire):
    response = run(wire, start(200, (b"content-length", b"5")), body(b"hello"), method="HEAD")
    assert response.get(b"content-length") == b"5"
    assert wire.is_idle()


def test_connection_close_is_honoured(scripted):
    with dial(scripted) as wire:
        assert run(wire, start(), body(b"x"), lines=("Connection: close",)).body == b"x"
        assert wire.until_end() == b""


def test_headers_of_one_name_keep_their_order(wire):
    cookies = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2"), (b"set-cookie", b"c=3")]
    response = run(wire, start(200, *cookies, (b"x-a", b"b c")), body(b"x"))
    assert response.all(b"set-cookie") == [b"a=1; Path=/", b"b=2", b"c=3"]
    assert response.all(b"x-a") == [b"b c"]


def test_pipelined_requests_are_answered_in_order(wire):
    wire.send(b"".join(request("POST", f"/{i}", body=b"b") for i in range(10)))
    assert [wire.response().body for _ in range(10)] == [b"POST /%d? b" % i for i in range(10)]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("-s", "own"), b"own"), (("--server-name", "x/1"), b"x/1"), (("--no-server-name",), None), (("-s", ""), None)],
)
def test_server_header_is_chosen_by_the_flags(serve, arguments, name):
    with dial(serve("scripted:application", *arguments)) as wire:
        assert run(wire, start(), body(b"x")).get(b"server") == name


# Errors


def test_exception_before_the_start_is_a_500_page_and_a_traceback(scripted, wire, name):
    response = run(wire, ("raise", name))
    assert response.status == 500 and response.get(b"content-type") == b"text/html; charset=utf-8"
    assert b"Exception inside application." in response.body
    scripted.log_has(rf"Exception inside application: {name}\nTraceback \(most recent call last\):\n")
    scripted.log_has(rf"RuntimeError: {name}\n")


def test_http_timeout_is_a_503_page_and_the_application_is_told(serve, name):
    server = serve("scripted:application", "-t", "1")
    with dial(server) as wire:
        response = run(wire, "drain", "receive", ("note", name))
        assert response.status == 503
        assert b"Application failed to respond within time limit." in response.body
        server.log_has(rf"NOTE {name} .*, {{'type': 'http.disconnect'}}\]")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (body(b"x"), "HTTP response has not yet been started but got http.response.body"),
        (
            {"type": "http.response.start", "headers": []},
            "Specifying a status code is required for a Response message.",
        ),
        ({"type": "http.odd"}, "Cannot handle message type http.odd!"),
    ],
)
def test_bad_event_raises_the_same_inside_the_application(scripted, wire, name, event, text):
    wire.send(request("GET", script(("try", event), ("note", name), "drain", "receive")))
    scripted.log_has(re.escape(f"NOTE {name} {[f'ValueError: {text}']!r}\n"))


def test_second_start_raises_the_same(scripted, wire, name):
    assert run(wire, start(), body(b"x", True), ("try", start()), body(), ("note", name)).body == b"x"
    scripted.log_has(re.escape(f"NOTE {name} ['ValueError: HTTP response has already been started']"))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (("a", b"b"), "Header name 'a' expected to be `bytes`, but got `<class 'str'>`"),
        ((b"a", "b"), "Header value 'b' expected to be `bytes`, but got `<class 'str'>`"),
    ],
)
def test_header_that_is_not_bytes_is_a_500_page_and_logged(scripted, wire, header, text):
    begin = len(scripted.stderr.data)
    assert run(wire, start(200, header), body(b"x")).status == 500
    scripted.log_has(re.escape(f"ValueError: {text}"), start=begin)


HEAD = b"GET /app HTTP/1.1\r\nHost: t\r\n"
REFUSED = {
    "length and chunked": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "two equal lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "signed length": HEAD + b"Content-Length: +5\r\n\r\nxxxxx",
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "other coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    "space before colon": HEAD + b"A : b\r\n\r\n",
    "NUL": HEAD + b"A: b\x00c\r\n\r\n",
    "name that is no token": HEAD + b"A(: b\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "no version": b"GET /app\r\n\r\n",
    "target in UTF-8": "GET /é HTTP/1.1\r\n\r\n".encode(),
    "query in latin-1": b"GET /a?\xe9 HTTP/1.1\r\n\r\n",
    **{f"byte {byte:02x}": HEAD + b"A: b%cc\r\n\r\n" % byte for byte in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x85)},
}


@pytest.mark.parametrize("why", REFUSED)
def test_malformed_request_is_400(scripted, why):
    with dial(scripted) as wire:
        assert wire.ask(REFUSED[why]).status == 400


# Access log and proxy headers


@pytest.mark.parametrize(
    ("method", "steps", "tail"),
    [
        ("GET", [start(), body(b"12345")], b"200 5"),
        ("GET", [start(), body()], b"200 -"),
        ("GET", [start(404), body(b"123", True), body(b"4567")], b"404 7"),
        ("GET", [start(204), body()], b"204 -"),
        ("post", [start(201), body(b"1")], b"201 1"),
    ],
)
def test_access_log_line_is_the_same_byte_for_byte(scripted, wire, method, steps, tail):
    target = script(*steps)
    wire.ask(request(method, target), method)
    client = b"127.0.0.1:%d" % wire.sock.getsockname()[1]
    line = re.escape(client) + rb" - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\] "
    scripted.access_has(
        rb"(?:\A|(?<=\n))" + line + re.escape(b'"%s %s" %s\n' % (method.encode(), target.encode(), tail))
    )


@pytest.mark.parametrize(
    ("lines", "client", "scheme"),
    [
        (("X-Forwarded-For: 1.2.3.4",), ["1.2.3.4", 0], "http"),
        (("X-Forwarded-For: 1.2.3.4, 5.6.7.8", "X-Forwarded-Port: 9"), ["1.2.3.4", 9], "http"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Port: no"), ["1.2.3.4", 0], "http"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https"), ["1.2.3.4", 0], "https"),
        (("X-Forwarded-Proto: https",), None, "http"),
    ],
)
def test_proxy_headers_give_client_and_scheme(serve, lines, client, scheme):
    server = serve("scripted:application", "--proxy-headers")
    with dial(server) as wire:
        scope = told(wire, request("GET", "/scope", *lines))
        expected = client or list(wire.sock.getsockname())
        assert (scope["client"], scope["scheme"]) == (expected, scheme)
    server.access_has(re.escape("{}:{} - - [".format(*expected)))


def test_application_runs_in_a_script_that_new_processes_can_run_again(serve):
    """Libraries ask for the file of `__main__`: without one, python-dotenv looks elsewhere for .env."""
    with dial(serve("script:application")) as wire:
        found = json.loads(wire.ask(request("GET", "/")).body)
    assert Path(found["file"]).is_file()
    assert found["argv"][0] == found["file"]
    assert found["argv"][-1] == "script:application"
    assert found["number"] == 7


def test_root_path_header_is_taken_and_removed(serve):
    server = serve("scripted:application", "--proxy-headers")
    with dial(server) as wire:
        scope = told(wire, request("GET", "/scope", "Daphne-Root-Path: /a%20b"))
    assert (scope["root_path"], scope["headers"]) == ("/a b", [(b"host", b"t")])
