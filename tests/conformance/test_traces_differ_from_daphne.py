# SPDX-License-Identifier: BSD-3-Clause
"""One application, one client, two servers: what the application is told is written down by both and compared. All
differences there are stand in DIFFERENCES, with their reason; any other one fails."""

import contextlib
import json

import pytest
from server import Channelsd, Daphne, read_response
from ws_client import BINARY, CLOSE, TEXT, Closed, RawWebSocket, close_payload, frame, get, handshake

# (scenario or "*", where in the trace) -> (Daphne's, ours, why). A missing key is written as "-".
DIFFERENCES = {
    ("websocket", "scope.asgi.spec_version"): ("-", "2.5", "we hold what version 2.5 asks for"),
    ("websocket", "scope.http_version"): ("-", "1.1", "ASGI has it"),
    ("websocket", "scope.scheme"): ("-", "ws", "ASGI has it"),
    ("websocket", "scope.extensions"): ("-", {"websocket.http.response": {}}, "a refusal may have a response"),
    ("http", "scope.extensions"): ("-", {}, "ASGI has it; there is none yet"),
    ("http", "scope.asgi.spec_version"): ("-", "2.5", "we hold what version 2.5 asks for"),
    ("absolute target", "scope.path"): ("http://other.example/p", "/p", "RFC 9112 section 3.2.2"),
    ("absolute target", "scope.raw_path"): ("b:http://other.example/p", "b:/p", "RFC 9112 section 3.2.2"),
    ("absolute target", "scope.headers"): (
        [["b:host", "b:h"]],
        [["b:host", "b:other.example"]],
        "RFC 9112 section 3.2.2",
    ),
    ("websocket", "late"): ("nothing", "OSError", "ASGI 2.4 asks for it"),
    ("websocket", "event.reason"): ("-", "", "ASGI 2.5 has it"),
    ("close with a reason", "event.reason"): ("-", "bye", "ASGI 2.5 has it"),
    ("close without a code", "event.code"): (None, 1005, "the code of RFC 6455 for none"),
    ("application closes and is answered", "event.reason"): ("-", "so be it", "ASGI 2.5 has it"),
}

HTTP = {
    "get": b"GET /a%20b/%C3%A9?id={id}&x=%20 HTTP/1.1\r\nHost: h.example\r\nX-One: 1\r\nX-ONE: 2\r\nUser_Agent: no\r\n\r\n",
    "no host": b"GET /?id={id} HTTP/1.1\r\n\r\n",
    "lower-case method": b"propfind /x?id={id} HTTP/1.1\r\nHost: h\r\n\r\n",
    "post": b"POST /p?id={id} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "post in chunks": b"POST /p?id={id} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "http/1.0": b"GET /?id={id} HTTP/1.0\r\nHost: h\r\n\r\n",
    "encoded slash and percent": b"GET /a%2Fb%25/%zz?id={id} HTTP/1.1\r\nHost: h\r\n\r\n",
    "bytes that are no utf-8": b"GET /%ff%C3?id={id} HTTP/1.1\r\nHost: h\r\n\r\n",
    "absolute target": b"GET http://other.example/p?id={id} HTTP/1.1\r\nHost: h\r\n\r\n",
    "double slash": b"GET //a//b/?id={id} HTTP/1.1\r\nHost: h\r\n\r\n",
}


def close(code=None, reason=b""):
    return frame(CLOSE, close_payload(code, reason) if code is not None else b"")


# What a client does behind the handshake: path, bytes, how many messages those are, its end.
WEBSOCKET = {
    "messages": ("/echo", frame(TEXT, "héllo".encode()) + frame(BINARY, b"\x00\xff"), 2, close(1000)),
    # Not echoed: Daphne takes an empty message to send for none.
    "empty messages": ("/listen", frame(TEXT) + frame(BINARY), 2, close(1000)),
    "fragments": ("/echo", frame(TEXT, b"a", fin=False) + frame(0, b"b"), 1, close(1000)),
    "close with a reason": ("/echo", b"", 0, close(4001, b"bye")),
    "close without a code": ("/echo", b"", 0, close()),
    "drop": ("/echo", frame(TEXT, b"x"), 1, None),
    "refused": ("/refuse", b"", 0, b""),
    "application closes and is answered": ("/close", b"", 0, close(4100, b"so be it")),
    "broken frame": ("/echo", b"", 0, frame(3)),
    "unmasked": ("/echo", b"", 0, frame(TEXT, b"x", mask=None)),
}


@pytest.fixture(scope="module")
def traces():
    """(Daphne's trace, ours) of each scenario."""
    with Channelsd("trace:application") as ours, Daphne("trace:application") as daphne:
        return {
            name: [without_addresses(trace(server, name), server) for server in (daphne, ours)]
            for names, trace in ((HTTP, http_trace), (WEBSOCKET, websocket_trace))
            for name in names
        }


def http_trace(server, name):
    id = name.replace(" ", "-")
    with server.connect() as sock:
        sock.sendall(HTTP[name].replace(b"{id}", id.encode()))
        assert read_response(sock)[0] == 200
        return trace_of(server, id, 4)


def websocket_trace(server, name):
    path, messages, count, end = WEBSOCKET[name]
    id = name.replace(" ", "-")
    extra = ["X-One: 1", "Origin: http://o.example", "Cookie: a=b; c=d"]
    client = RawWebSocket(("127.0.0.1", server.port), open=False)
    with client:
        client.sock.sendall(handshake(f"{path}?id={id}&q=%C3%A9", extra=extra))
        if path == "/refuse":
            assert read_response(client.sock)[0] == 403
        else:
            client.read_opened()
            client.sock.sendall(messages)
            for _ in range(count if path == "/echo" else 0):
                client.frame()
            if end is None:
                client.drop()
            else:
                client.sock.sendall(end)
                with contextlib.suppress(Closed):
                    client.closing()
        return trace_of(server, id, 4 + count)


def trace_of(server, id, count):
    return json.loads(get(server, f"/trace?id={id}&count={count}"))


def without_addresses(trace, server):
    """What differs from connection to connection is made equal."""
    scope = trace[0]["scope"]
    assert scope["client"][0] == "127.0.0.1"
    assert isinstance(scope["client"][1], int)
    assert scope["server"] == ["127.0.0.1", server.port]
    scope["client"] = scope["server"] = "address"
    scope["headers"] = sorted(scope["headers"])  # Daphne groups them by name
    return trace


def flat(value, prefix):
    """Pairs of place and value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def differences(daphne, ours):
    assert len(daphne) == len(ours), (daphne, ours)
    for theirs, mine in zip(daphne, ours):
        a, b = dict(flat(theirs, "")), dict(flat(mine, ""))
        for place in sorted({*a, *b}):
            if place.startswith("scope.extensions"):
                continue
            if a.get(place, "-") != b.get(place, "-"):
                yield place, a.get(place, "-"), b.get(place, "-")
        if "scope" in mine and theirs["scope"].get("extensions") != mine["scope"].get("extensions"):
            yield "scope.extensions", theirs["scope"].get("extensions", "-"), mine["scope"].get("extensions", "-")


def assert_only_documented(name, protocol, daphne, ours):
    for place, theirs, mine in differences(daphne, ours):
        want = [DIFFERENCES[key][:2] for key in ((name, place), (protocol, place)) if key in DIFFERENCES]
        assert (theirs, mine) in want, (place, theirs, mine)


@pytest.mark.parametrize("name", HTTP)
def test_http(traces, name):
    assert_only_documented(name, "http", *traces[name])


@pytest.mark.parametrize("name", WEBSOCKET)
def test_websocket(traces, name):
    assert_only_documented(name, "websocket", *traces[name])


def test_every_documented_difference_is_there(traces):
    """The list does not outlive what it lists."""
    seen = set()
    for protocol, names in (("http", HTTP), ("websocket", WEBSOCKET)):
        for name in names:
            for place, _, _ in differences(*traces[name]):
                seen |= {(name, place), (protocol, place)}
    assert set(DIFFERENCES) <= seen
