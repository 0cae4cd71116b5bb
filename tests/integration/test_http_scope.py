# SPDX-License-Identifier: BSD-3-Clause
"""The http scope that an application is given: every key, its type and its value."""

import ast
import socket

import pytest
from server import Channelsd
from wire import Wire, dial, dial_unix, request

VERSIONS = {"version": "3.0", "spec_version": "2.5"}


def scope_of(wire, data):
    response = wire.ask(data)
    assert response.status == 200, response
    return ast.literal_eval(response.body.decode())


@pytest.fixture
def wire(scripted):
    with dial(scripted) as wire:
        yield wire


def test_every_key_has_its_type_and_value(scripted, wire):
    lines = ("X-One: 1", "Cookie: a=b", "x-one:  2\t ", "COOKIE: c=d")
    scope = scope_of(wire, request("GET", "/scope?a=%20&b", *lines))
    assert scope == {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/scope",
        "raw_path": b"/scope",
        "query_string": b"a=%20&b",
        "root_path": "",
        "headers": [(b"host", b"t"), (b"x-one", b"1"), (b"cookie", b"a=b"), (b"x-one", b"2"), (b"cookie", b"c=d")],
        "client": list(wire.sock.getsockname()),
        "server": ["127.0.0.1", scripted.port],
        "extensions": {},
    }


def test_http_1_0_and_no_host_are_served(scripted):
    with dial(scripted) as wire:
        scope = scope_of(wire, request("GET", "/scope", version="1.0", host=None))
    assert (scope["http_version"], scope["headers"], scope["query_string"]) == ("1.0", [], b"")


def test_no_host_is_served_on_1_1_too(wire):
    assert scope_of(wire, request("GET", "/scope", host=None))["headers"] == []


@pytest.mark.parametrize("method", ["get", "Post", "DELETE", "PROPFIND", "X-Own!#$%&'*+.^_`|~1", "HEADS", "CONNECT"])
def test_methods_are_passed_as_they_are(wire, method):
    assert scope_of(wire, request(method, "/scope"))["method"] == method


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/a%20b%2Fc%25", "/a b/c%", b"/a%20b%2Fc%25", b""),
        ("/h%C3%A9llo%e2%82%ac?q=%C3%A9", "/héllo€", b"/h%C3%A9llo%e2%82%ac", b"q=%C3%A9"),
        ("/bad%FFend%C3", "/bad\ufffdend\ufffd", b"/bad%FFend%C3", b""),
        ("/nul%00x", "/nul\x00x", b"/nul%00x", b""),
        ("/not%zz%4", "/not%zz%4", b"/not%zz%4", b""),
        ("/a//b/../c/./", "/a//b/../c/./", b"/a//b/../c/./", b""),
        ("//double/slash", "//double/slash", b"//double/slash", b""),
        ("/q?a?b#c", "/q", b"/q", b"a?b#c"),
        ("/plus+plus?", "/plus+plus", b"/plus+plus", b""),
        ("/scope;p=1", "/scope;p=1", b"/scope;p=1", b""),
    ],
)
def test_path_is_decoded_and_raw_path_is_not(serve_any, target, path, raw_path, query):
    scope = scope_of(serve_any, request("GET", target))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


@pytest.fixture(scope="module")
def serve_any():
    """A connection to an application that answers every path with its scope."""
    with Channelsd("scripted:scope_only") as server, dial(server) as wire:
        yield wire


def test_names_with_underscore_are_dropped_and_others_keep_their_order(wire):
    lines = ("B: 1", "X_Forwarded_For: 6.6.6.6", "A: 2", "X-A_B: 3", "B: 4", "_: 5", "Empty:")
    scope = scope_of(wire, request("GET", "/scope", *lines))
    assert scope["headers"] == [(b"host", b"t"), (b"b", b"1"), (b"a", b"2"), (b"b", b"4"), (b"empty", b"")]


def test_latin_1_header_bytes_pass(wire):
    scope = scope_of(wire, request("GET", "/scope", b"X-A: caf\xe9 \xff \xc3\xa9"))
    assert dict(scope["headers"])[b"x-a"] == b"caf\xe9 \xff \xc3\xa9"


def test_large_values_arrive_whole(wire):
    value = "v" * 60000
    assert dict(scope_of(wire, request("GET", "/scope", f"X-A: {value}"))["headers"])[b"x-a"] == value.encode()


def test_absolute_target_gives_path_and_host(wire):
    scope = scope_of(wire, request("GET", "http://example.com:8080/scope?x=1", "A: b"))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/scope", b"/scope", b"x=1")
    assert scope["headers"] == [(b"host", b"example.com:8080"), (b"a", b"b")]
    assert scope["scheme"] == "http"


def test_root_path_is_the_option_and_path_is_whole(serve):
    server = serve("scripted:application", "--root-path", "/app/é")
    with dial(server) as wire:
        scope = scope_of(wire, request("GET", "/scope"))
    assert (scope["root_path"], scope["path"]) == ("/app/é", "/scope")


def test_state_is_a_copy_for_each_request(serve):
    server = serve("scripted:with_state")
    with dial(server) as wire:
        assert scope_of(wire, request("GET", "/scope"))["state"] == {"started": True}
        assert scope_of(wire, request("GET", "/scope?spoil"))["state"] == {"started": True, "spoilt": True}
        assert scope_of(wire, request("GET", "/scope"))["state"] == {"started": True}


def test_addresses_of_ipv6(serve):
    server = serve("scripted:application", "-b", "::1", "-p", "0", tcp=False)
    with Wire(socket.create_connection(("::1", server.port), 5)) as wire:
        scope = scope_of(wire, request("GET", "/scope"))
        assert scope["client"] == ["::1", wire.sock.getsockname()[1]]
        assert scope["server"] == ["::1", server.port]


def test_addresses_of_an_ipv4_client_on_an_ipv6_socket_are_ipv4(serve):
    server = serve("scripted:application", "-b", "::", "-p", "0", tcp=False)
    with dial(server) as wire:
        scope = scope_of(wire, request("GET", "/scope"))
        assert scope["client"] == list(wire.sock.getsockname())
        assert scope["server"] == ["127.0.0.1", server.port]


def test_unix_socket_has_neither_client_nor_server(serve, tmp_path):
    path = tmp_path / "s"
    serve("scripted:application", "-u", path, tcp=False)
    with dial_unix(path) as wire:
        scope = scope_of(wire, request("GET", "/scope"))
    assert scope["client"] is None
    assert scope["server"] is None  # a path and None would be SERVER_NAME and the port "None" in Django
