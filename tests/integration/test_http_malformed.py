# SPDX-License-Identifier: BSD-3-Clause
"""Requests that are none: each gets one answer that names what is wrong, then the end of the connection; nothing of it
reaches the application, and others are served."""

import re

import pytest
from wire import chunked, dial, request, script

HELLO = bytes.fromhex("16030100c8010000c40303") + b"\x9c" * 100
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
GET = b"GET /app HTTP/1.1\r\nHost: t\r\n"
POST = b"POST /app HTTP/1.1\r\nHost: t\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def other(scripted):
    """A connection that is open all the time: it is served before, between and behind the bad ones."""
    with dial(scripted) as wire:
        yield wire


def refusal(server, data, status):
    """The one answer to bad bytes. It is an HTML page that names the status, and the end comes after it."""
    with dial(server) as wire:
        wire.send(data)
        response = wire.response()
        assert response.status == status, response
        assert response.closes() and response.get(b"content-type") == b"text/html; charset=utf-8"
        assert f"<h1>{status} {response.phrase}</h1>".encode() in response.body
        assert wire.until_end() == b"", "one answer"
    return response.body.decode()


LINES = {
    "no version": (b"GET /app\r\n\r\n", 400, "version"),
    "one word": (b"GET\r\n\r\n", 400, "version"),
    "empty method": (b" / HTTP/1.1\r\n\r\n", 400, "method"),
    "method with a control byte": (b"G\x01T / HTTP/1.1\r\n\r\n", 400, "method"),
    "method with a separator": (b"GE(T / HTTP/1.1\r\n\r\n", 400, "method"),
    "two spaces": (b"GET  /app HTTP/1.1\r\n\r\n", 400, "version|target"),
    "tab for space": (b"GET\t/app HTTP/1.1\r\n\r\n", 400, "method"),
    "space behind": (b"GET /app HTTP/1.1 \r\n\r\n", 400, "version"),
    "space in the target": (b"GET /a b HTTP/1.1\r\n\r\n", 400, "version"),
    "http in lower case": (b"GET /app http/1.1\r\n\r\n", 400, "version"),
    "no digits": (b"GET /app HTTP/x.y\r\n\r\n", 400, "version"),
    "three digits": (b"GET /app HTTP/1.10\r\n\r\n", 400, "version"),
    "HTTP/0.9": (b"GET /app HTTP/0.9\r\n\r\n", 505, "HTTP/1.1"),
    "HTTP/1.2": (b"GET /app HTTP/1.2\r\n\r\n", 505, "HTTP/1.1"),
    "HTTP/3.0": (b"GET /app HTTP/3.0\r\n\r\n", 505, "HTTP/1.1"),
    "HTTP/2 preface": (PREFACE, 505, "HTTP/1.1"),
    "TLS hello": (HELLO, 400, "method"),
    "TLS hello, first byte only": (HELLO[:1], 400, "method"),
    "three empty lines": (b"\r\n\r\n\r\n" + GET + b"\r\n", 400, "method"),
    "target without slash": (b"GET app HTTP/1.1\r\n\r\n", 400, "target"),
    "target of an authority": (b"GET host:80 HTTP/1.1\r\n\r\n", 400, "target"),
    "unknown scheme": (b"GET ftp://host/ HTTP/1.1\r\n\r\n", 400, "target"),
    "no authority": (b"GET http:///app HTTP/1.1\r\n\r\n", 400, "target"),
    "target in UTF-8": ("GET /é HTTP/1.1\r\n\r\n".encode(), 400, "percent-encoded"),
    "query in latin-1": (b"GET /a?\xe9 HTTP/1.1\r\n\r\n", 400, "percent-encoded"),
    "NUL in the target": (b"GET /a\x00b HTTP/1.1\r\n\r\n", 400, "percent-encoded"),
    "DEL in the target": (b"GET /a\x7fb HTTP/1.1\r\n\r\n", 400, "percent-encoded"),
    "CR in the target": (b"GET /a\rb HTTP/1.1\r\n\r\n", 400, "percent-encoded"),
    "LF ends the line": (b"GET /app HTTP/1.1\nHost: t\n\n", 400, "CR LF"),
    "only LF": (b"\n" + GET + b"\r\n", 400, "CR LF|method"),
}

HEADERS = {
    "LF ends a header": (GET + b"A: b\nC: d\r\n\r\n", 400, "LF|CR"),
    "LF ends the head": (GET + b"A: b\r\n\n", 400, "header"),
    "CR in a value": (GET + b"A: b\rc\r\n\r\n", 400, "CR|LF"),
    "two Hosts": (GET + b"Host: u\r\n\r\n", 400, "Host"),
    "two equal Hosts": (GET + b"Host: t\r\n\r\n", 400, "Host"),
    "space before the colon": (GET + b"A : b\r\n\r\n", 400, "header"),
    "tab before the colon": (GET + b"A\t: b\r\n\r\n", 400, "header"),
    "no colon": (GET + b"Abc\r\n\r\n", 400, "header"),
    "empty name": (GET + b": b\r\n\r\n", 400, "header"),
    "folded line": (GET + b"A: b\r\n c\r\n\r\n", 400, "header|fold|space"),
    "folded line by tab": (GET + b"A: b\r\n\tc\r\n\r\n", 400, "header|fold|space"),
    "space before the first header": (b"GET /app HTTP/1.1\r\n Host: t\r\n\r\n", 400, "header|space"),
    "latin-1 in a name": (GET + b"\xe9: b\r\n\r\n", 400, "header"),
    "separator in a name": (GET + b"A(b): c\r\n\r\n", 400, "header"),
    "NUL in a name": (GET + b"A\x00b: c\r\n\r\n", 400, "header"),
    **{
        f"byte {byte:02x} at the end of a value": (GET + b"A: b%c\r\n\r\n" % byte, 400, "header")
        for byte in (0x00, 0x0B, 0x0C, 0x1C, 0x85)
    },
    **{
        f"byte {byte:02x} at the start of a value": (GET + b"A:%cb\r\n\r\n" % byte, 400, "header")
        for byte in (0x00, 0x0B, 0x0C, 0x1C, 0x85)
    },
    **{
        f"byte {byte:02x} in a value": (GET + b"A: b%cc\r\n\r\n" % byte, 400, "header")
        for byte in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x7F, 0x85)
    },
    "byte 85 of UTF-8": (GET + "A: Å\r\n\r\n".encode(), 400, "header"),
}

FRAMING = {
    "length and chunked": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x"),
        400,
        "Content-Length|Transfer-Encoding",
    ),
    "chunked and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunked(b"x"),
        400,
        "Content-Length|Transfer-Encoding",
    ),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, "Content-Length"),
    "two equal lengths": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, "Content-Length"),
    **{
        f"length {value!r}": (POST + b"Content-Length: %s\r\n\r\nxxxxx" % value, 400, "Content-Length")
        for value in (b"", b"+5", b"-1", b"0x5", b"5 5", b"5,5", b"5.0", b"five", b"9" * 20, b"18446744073709551616")
    },
    **{
        f"coding {value!r}": (POST + b"Transfer-Encoding: %s\r\n\r\n0\r\n\r\n" % value, 400, "Transfer-Encoding")
        for value in (b"", b"gzip", b"identity", b"chunked, gzip", b"gzip, chunked", b"xchunked", b"chunked, chunked")
    },
    "two codings": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "Transfer-Encoding",
    ),
    "coding of HTTP/1.0": (
        b"POST /app HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x"),
        400,
        "Transfer-Encoding",
    ),
    "chunk size of letters": (CHUNKED + b"zz\r\n", 400, "chunk"),
    "empty chunk size": (CHUNKED + b"\r\nabc\r\n", 400, "chunk"),
    "signed chunk size": (CHUNKED + b"+1\r\na\r\n", 400, "chunk"),
    "0x chunk size": (CHUNKED + b"0x1\r\na\r\n", 400, "chunk"),
    "huge chunk size": (CHUNKED + b"f" * 17 + b"\r\n", 400, "[Cc]hunk"),
    "chunk longer than its size": (CHUNKED + b"1\r\nab\r\n", 400, "chunk|LF|CR"),
    "LF behind a chunk size": (CHUNKED + b"1\na\r\n0\r\n\r\n", 400, "chunk|LF|CR"),
    "LF behind a chunk": (CHUNKED + b"1\r\na\n0\r\n\r\n", 400, "chunk|LF|CR"),
    "space behind a chunk size": (CHUNKED + b"1 \r\na\r\n0\r\n\r\n", 400, "chunk"),
}


@pytest.mark.parametrize("table", [LINES, HEADERS, FRAMING], ids=["line", "header", "framing"])
def test_bad_request_gets_one_answer_that_names_it(scripted, other, table):
    wrong = []
    for why, (data, status, named) in table.items():
        try:
            page = refusal(scripted, data, status)
            sentence = re.search("<p>(.*)</p>", page)[1]
            if not re.search(named, sentence, re.IGNORECASE):
                wrong.append(f"{why}: {sentence!r} does not name {named!r}")
        except (AssertionError, OSError) as error:
            wrong.append(f"{why}: {str(error)[:300]}")
        assert other.is_idle()
    assert not wrong, "\n".join(wrong)


def test_bad_head_does_not_reach_the_application(scripted):
    target = script(("note", "reached"), "report")
    with dial(scripted) as wire:
        assert wire.ask(request("GET", target, "A : b")).status == 400
        assert wire.until_end() == b""
    assert "NOTE reached" not in scripted.stderr.text()


def test_bad_request_in_any_two_pieces_is_refused_the_same(scripted):
    for data, status in ((GET + b"A: b\x0bc\r\n\r\n", 400), (PREFACE, 505), (CHUNKED + b"1\r\nab\r\n", 400)):
        for i in range(1, len(data)):
            with dial(scripted) as wire:
                wire.send(data[:i])
                wire.send(data[i:])
                assert wire.response().status == status, data[:i]


def test_options_of_the_whole_server_and_connect_are_served(other):
    assert other.ask(request("OPTIONS", "*")).body == b"OPTIONS *? "
    assert other.ask(request("CONNECT", "/path")).body == b"CONNECT /path? "


def test_connect_to_an_authority_is_the_applications_business(scripted):
    with dial(scripted) as wire:
        assert wire.ask(request("CONNECT", "example.com:443")).body == b"CONNECT example.com:443? "
        assert wire.is_idle(), "no tunnel was opened"


def test_unknown_upgrade_is_ignored(other):
    response = other.ask(request("GET", "/a", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"))
    assert response.body == b"GET /a? "
    assert other.is_idle()


def test_refusal_of_head_has_no_body(scripted):
    with dial(scripted) as wire:
        wire.send(b"HEAD /a HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n")
        assert wire.response("HEAD").status == 400
        assert wire.until_end() == b""


def test_refusal_of_http_1_0_is_http_1_0(scripted):
    with dial(scripted) as wire:
        assert wire.ask(b"GET /a HTTP/1.0\r\nA : b\r\n\r\n").version == "HTTP/1.0"
