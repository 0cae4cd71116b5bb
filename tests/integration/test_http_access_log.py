# SPDX-License-Identifier: BSD-3-Clause
"""The access log, byte for byte as Daphne writes it, and what a trusted proxy may say about a client."""

import ast
import re
import time

import pytest
from server import Channelsd
from wire import body, chunked, dial, dial_unix, request, script, start

STAMP = rb"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\]"


def logged(server, text):
    """Waits for exactly this line of the access log; (client, request, ...) of it is the whole line."""
    client, rest = text.split(" ", 1)
    pattern = re.escape(client.encode()) + rb" - - " + STAMP + b" " + re.escape(rest.encode()) + rb"\n"
    server.access_has(rb"(?:\A|(?<=\n))" + pattern)


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


def client_of(wire):
    return "127.0.0.1:%d" % wire.sock.getsockname()[1]


def test_line_has_client_time_request_status_and_bytes(scripted, wire):
    before = int(time.time())
    wire.ask(request("GET", "/x?y=%20&z"))
    logged(scripted, f'{client_of(wire)} "GET /x?y=%20&z" 200 15')
    stamp = re.findall(rb"\[([^]]+)\]", scripted.stdout.data)[-1].decode()
    assert before <= time.mktime(time.strptime(stamp, "%d/%b/%Y:%H:%M:%S")) <= time.time()


@pytest.mark.parametrize(
    ("method", "steps", "tail"),
    [
        ("GET", [start(), body(b"12345")], "200 5"),
        ("GET", [start(), body()], "200 -"),
        ("GET", [start(404), body(b"123", True), body(b"", True), body(b"4567")], "404 7"),
        ("GET", [start(204), body()], "204 -"),
        ("HEAD", [start(), body(b"12345")], "200 -"),
        ("post", [start(201), body(b"1")], "201 1"),
    ],
)
def test_bytes_are_those_of_the_body_that_were_sent(scripted, wire, method, steps, tail):
    target = script(*steps)
    wire.ask(request(method, target), method)
    logged(scripted, f'{client_of(wire)} "{method} {target}" {tail}')


def test_body_of_the_request_does_not_count(scripted, wire):
    wire.ask(request("POST", "/p?", "Transfer-Encoding: chunked") + chunked(b"x" * 100))
    logged(scripted, f'{client_of(wire)} "POST /p?" 200 109')


def test_absolute_target_is_logged_as_it_came(scripted, wire):
    wire.ask(request("GET", "http://a/b"))
    logged(scripted, f'{client_of(wire)} "GET http://a/b" 200 8')


def test_server_answers_are_logged_and_cut_ones_are_not(scripted):
    with dial(scripted) as wire:
        response = wire.ask(request("GET", "/both", "Host: x"))
        logged(scripted, f'{client_of(wire)} "GET /both" 400 {len(response.body)}')
    with dial(scripted) as wire:
        wire.send(request("GET", script(start(), body(b"half", True))))
        wire.until_end()
        cut = client_of(wire)
    with dial(scripted) as wire:
        wire.ask(request("GET", "/behind"))
        logged(scripted, f'{client_of(wire)} "GET /behind" 200 13')
    assert cut not in scripted.stdout.text()


def test_line_that_is_no_request_is_not_logged(scripted):
    for bad in (b"\x16\x03\x01\x02", b"GET /a b HTTP/1.1\r\n\r\n", b"\r\n\r\n\r\n"):
        with dial(scripted) as wire:
            assert wire.ask(bad).status == 400
            client = client_of(wire)
        with dial(scripted) as wire:
            wire.ask(request("GET", "/behind2"))
            logged(scripted, f'{client_of(wire)} "GET /behind2" 200 14')
        assert client not in scripted.stdout.text()


def test_line_cannot_be_forged(serve):
    """Bytes that a terminal or a reader of the log could take for something else are shown as numbers."""
    server = serve("scripted:application", "--proxy-headers")
    with dial(server) as wire:
        wire.ask(request("GET", "/b", "X-Forwarded-For: a\tb\xc3\xa9"))
    server.access_has(rb'a\\x09b\\xc3\\xa9:0 - - \[.*"GET /b"')


def test_unix_socket_client_is_none(serve, tmp_path):
    server = serve("scripted:application", "-u", tmp_path / "s", tcp=False)
    with dial_unix(tmp_path / "s") as wire:
        wire.ask(request("GET", "/x"))
    logged(server, 'None "GET /x" 200 8')


def test_verbosity_0_has_neither_access_log_nor_messages(serve, tmp_path):
    server = serve("scripted:application", "-v", "0", "-u", tmp_path / "s", tcp=False, start=False)
    wire = dial_when_there(server, tmp_path / "s")
    with wire:
        assert wire.ask(request("GET", "/x")).status == 200
    server.stop()
    assert (server.stdout.text(), server.stderr.text()) == ("", "")


def dial_when_there(server, path):
    deadline = time.monotonic() + 20
    while True:
        try:
            return dial_unix(path)
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < deadline and server.process.poll() is None
            time.sleep(0.02)


def test_access_log_goes_to_the_file_and_is_appended(serve, tmp_path):
    path = tmp_path / "access.log"
    path.write_text("before\n")
    for verbosity in ("1", "0"):
        unix = tmp_path / f"s{verbosity}"
        server = serve(
            "scripted:application", "--access-log", path, "-v", verbosity, "-u", unix, tcp=False, start=False
        )
        with dial_when_there(server, unix) as wire:
            wire.ask(request("GET", f"/v{verbosity}"))
        server.stop()
        assert server.stdout.text() == ""
    lines = path.read_text().splitlines()
    assert lines[0] == "before" and len(lines) == 3
    assert lines[1].startswith("None - - [") and lines[1].endswith('] "GET /v1" 200 9')
    assert lines[2].endswith('] "GET /v0" 200 9')


def test_access_log_of_pipelined_requests_is_in_order(scripted, wire):
    wire.send(b"".join(request("GET", f"/order{i}") for i in range(50)))
    for _ in range(50):
        wire.response()
    logged(scripted, f'{client_of(wire)} "GET /order49" 200 14')
    client = re.escape(client_of(wire))
    assert re.findall(rf'{client} .*"GET /order(\d+)"', scripted.stdout.text()) == [str(i) for i in range(50)]


# Behind a proxy.


@pytest.fixture(scope="module")
def behind():
    with Channelsd("scripted:application", "--proxy-headers") as server:
        yield server


def scope_of(server, *lines, target="/scope"):
    with dial(server) as wire:
        return ast.literal_eval(wire.ask(request("GET", target, *lines)).body.decode())


@pytest.mark.parametrize(
    ("lines", "client", "scheme"),
    [
        (("X-Forwarded-For: 1.2.3.4",), ["1.2.3.4", 0], "http"),
        (("X-Forwarded-For:  1.2.3.4 , 5.6.7.8",), ["1.2.3.4", 0], "http"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8"), ["1.2.3.4", 0], "http"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Port: 555"), ["1.2.3.4", 555], "http"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Port: abc"), ["1.2.3.4", 0], "http"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https"), ["1.2.3.4", 0], "https"),
        (("X-Forwarded-For: 2001:db8::1", "X-Forwarded-Proto: HTTPS"), ["2001:db8::1", 0], "https"),
    ],
)
def test_trusted_proxy_tells_client_and_scheme(behind, lines, client, scheme):
    scope = scope_of(behind, *lines)
    assert (scope["client"], scope["scheme"]) == (client, scheme)
    assert [name + b": " + value.lower() for name, value in scope["headers"][1:]] == [
        re.sub(r": +", ": ", line).strip().lower().encode() for line in lines
    ], "the headers stay"


def test_port_and_proto_without_an_address_are_not_heeded(behind):
    scope = scope_of(behind, "X-Forwarded-Port: 555", "X-Forwarded-Proto: https")
    assert scope["client"][0] == "127.0.0.1" and scope["client"][1] != 555 and scope["scheme"] == "http"


def test_access_log_has_the_client_that_the_proxy_told(behind):
    with dial(behind) as wire:
        wire.ask(request("GET", "/told", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Port: 9"))
        logged(behind, '1.2.3.4:9 "GET /told" 200 11')
        wire.ask(request("GET", "/untold"))
        logged(behind, f'{client_of(wire)} "GET /untold" 200 13')


def test_request_that_is_broken_behind_the_proxys_headers_is_logged_with_the_peer(behind):
    with dial(behind) as wire:
        wire.send(b"GET /bad HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 192.0.2.7\r\nX-Bad: \x01\r\n\r\n")
        assert wire.response().status == 400
        behind.access_has(client_of(wire).encode() + rb" - - " + STAMP + rb' "GET /bad" 400 \d+\n')


def test_root_path_of_a_trusted_proxy_is_taken_and_its_header_removed(behind):
    scope = scope_of(behind, "Daphne-Root-Path: /a%20b")
    assert scope["root_path"] == "/a b"
    assert scope["headers"] == [(b"host", b"t")]


def test_without_the_option_nobody_is_believed(scripted):
    scope = scope_of(scripted, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_root_path_of_a_trusted_peer_needs_no_option(scripted):
    scope = scope_of(scripted, "Daphne-Root-Path: /a%20b")
    assert scope["root_path"] == "/a b"
    assert b"daphne-root-path" not in dict(scope["headers"])


def test_peer_that_is_not_in_the_list_is_not_believed(serve):
    server = serve("scripted:application", "--proxy-headers", "--forwarded-allow-ips", "10.0.0.0/8")
    scope = scope_of(server, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "Daphne-Root-Path: /evil")
    assert (scope["client"][0], scope["scheme"], scope["root_path"]) == ("127.0.0.1", "http", "")
    assert b"daphne-root-path" not in dict(scope["headers"])


def test_network_in_the_list_is_believed(serve):
    server = serve("scripted:application", "--proxy-headers", "--forwarded-allow-ips", "10.0.0.0/8,127.0.0.0/8")
    assert scope_of(server, "X-Forwarded-For: 1.2.3.4")["client"] == ["1.2.3.4", 0]


def test_unix_socket_is_believed_by_default(serve, tmp_path):
    server = serve("scripted:application", "--proxy-headers", "-u", tmp_path / "s", tcp=False)
    with dial_unix(tmp_path / "s") as wire:
        scope = ast.literal_eval(wire.ask(request("GET", "/scope", "X-Forwarded-For: 1.2.3.4")).body.decode())
    assert scope["client"] == ["1.2.3.4", 0]
    server.access_has(rb'1\.2\.3\.4:0 - - .*"GET /scope" 200')


def test_own_names_of_the_proxy_headers_are_used(serve):
    names = ("--proxy-headers-host", "X-Real-IP", "--proxy-headers-port", "X-Real-Port")
    server = serve("scripted:application", "--proxy-headers", *names)
    scope = scope_of(server, "X-Forwarded-For: 6.6.6.6", "X-Real-IP: 1.2.3.4", "x-real-port: 7")
    assert scope["client"] == ["1.2.3.4", 7]
