# SPDX-License-Identifier: BSD-3-Clause
"""What a client may send and how long it may take: at each limit it is served, one over it is refused."""

import fcntl
import select
import struct
import termios
import time

import pytest
from server import Channelsd
from wire import body, chunked, dial, dial_unix, request, script, start


def status_of(server, data, method="GET"):
    """Status of the answer; a refusal ends the connection, a good one does not."""
    with dial(server) as wire:
        wire.send(data)
        response = wire.response(method)
        if response.status == 200:
            assert wire.is_idle()
        else:
            assert response.closes() and wire.until_end() == b""
    return response.status


@pytest.fixture(scope="module")
def narrow():
    """A server with small limits."""
    limits = ("--max-request-line", 300, "--max-header-bytes", 1024, "--max-header-count", 5, "--max-body-size", 1000)
    with Channelsd("scripted:application", *limits) as server:
        yield server


def line_of(size):
    return request("GET", "/" + "p" * (size - len("GET / HTTP/1.1")))


@pytest.mark.parametrize(("size", "status"), [(300, 200), (301, 414), (302, 414), (100000, 414)])
def test_request_line_is_served_at_the_limit_and_414_over_it(narrow, size, status):
    assert status_of(narrow, line_of(size)) == status


def test_request_line_that_never_ends_is_414_at_once(narrow):
    assert status_of(narrow, line_of(400).split(b"\r\n")[0]) == 414


def test_default_request_line_is_16384_bytes(scripted):
    assert status_of(scripted, line_of(16384)) == 200
    assert status_of(scripted, line_of(16385)) == 414


def headers_of(size):
    """Names and values of so many bytes: Host and t are 5."""
    return request("GET", "/", "A: " + "v" * (size - 6))


@pytest.mark.parametrize(("size", "status"), [(1024, 200), (1025, 431), (60000, 431)])
def test_header_bytes_are_served_at_the_limit_and_431_over_it(narrow, size, status):
    assert status_of(narrow, headers_of(size)) == status


def test_headers_that_never_end_are_431_at_once(narrow):
    assert status_of(narrow, headers_of(2000)[:1500]) == 431


def test_default_header_bytes_are_65536(scripted):
    assert status_of(scripted, headers_of(65536)) == 200
    assert status_of(scripted, headers_of(65537)) == 431


@pytest.mark.parametrize(("count", "status"), [(5, 200), (6, 431)])
@pytest.mark.parametrize("name", ["A", "a_b"])
def test_header_count_is_served_at_the_limit_and_431_over_it(narrow, count, status, name):
    """Those that are left out for their underscore count, too."""
    assert status_of(narrow, request("GET", "/", *[f"{name}: b"] * (count - 1))) == status


def test_default_header_count_is_500(scripted):
    assert status_of(scripted, request("GET", "/", *["A: b"] * 499)) == 200
    assert status_of(scripted, request("GET", "/", *["A: b"] * 500)) == 431


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (50000, 413)])
def test_body_with_length_is_served_at_the_limit_and_413_over_it(narrow, size, status):
    assert status_of(narrow, request("POST", "/", body=b"x" * size)) == status


def test_announced_length_over_the_limit_is_413_without_the_body(narrow):
    assert status_of(narrow, request("POST", "/", "Content-Length: 1001")) == 413


@pytest.mark.parametrize(("sizes", "status"), [((1000,), 200), ((500, 500), 200), ((1001,), 413), ((500, 501), 413)])
def test_chunked_body_is_served_at_the_limit_and_413_over_it(narrow, sizes, status):
    data = request("POST", "/", "Transfer-Encoding: chunked") + chunked(*[b"x" * size for size in sizes])
    assert status_of(narrow, data) == status


def test_chunked_body_over_the_limit_tells_the_application_that_the_client_is_gone(narrow):
    with dial(narrow) as wire:
        steps = ("receive", ("note", "first"), "receive", ("note", "over"))
        wire.send(request("POST", script(*steps), "Transfer-Encoding: chunked") + b"1\r\nx\r\n")
        narrow.log_has(rb"NOTE first")
        wire.send(b"800\r\n" + b"y" * 0x800)
        assert wire.response().status == 413
    narrow.log_has(rb"NOTE over .*'http\.disconnect'")


def test_endless_trailers_are_431(narrow):
    with dial(narrow) as wire:
        wire.send(request("POST", "/", "Transfer-Encoding: chunked") + b"0\r\n" + b"T: v\r\n" * 1000)
        assert wire.response().status == 431


# Times. Each is measured from the client's side; the wheel may be late by a little, never early.


@pytest.fixture(scope="module")
def hasty():
    """A server with short times."""
    times = ("--header-timeout", 1, "--keep-alive-timeout", 2, "--body-timeout", 1, "--send-timeout", 1)
    with Channelsd("scripted:application", *times) as server:
        yield server


class Took:
    """Seconds that a with block took."""

    def __enter__(self):
        self.begin = time.monotonic()
        return self

    def __exit__(self, *failure):
        self.seconds = time.monotonic() - self.begin


def drip(wire, data, seconds):
    """Sends a byte every 50 ms until the server answers; fails when it does not in so long."""
    wire.sock.settimeout(0.05)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        wire.send(data)
        try:
            if not wire._more() or wire.data:
                wire.sock.settimeout(5)
                return
        except TimeoutError:
            pass
    raise AssertionError(f"served for {seconds} s")


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nA: "], ids=["line", "header"])
def test_head_that_drips_in_is_408_at_its_deadline(hasty, begin):
    with dial(hasty) as wire, Took() as took:
        wire.send(begin)
        drip(wire, b"G", 4)
        assert wire.response().status == 408
        assert wire.until_end() == b""
    assert 0.9 < took.seconds < 3


def test_head_that_stops_is_408(hasty):
    with dial(hasty) as wire, Took() as took:
        assert wire.ask(b"GET / HTTP/1.1\r\nHost: t\r\n").status == 408
        assert wire.until_end() == b""
    assert 0.9 < took.seconds < 3


def test_second_head_on_a_connection_has_its_own_deadline(hasty):
    with dial(hasty) as wire:
        assert wire.is_idle()
        with Took() as took:
            drip(wire, b"G", 4)
            assert wire.response().status == 408
    assert 0.9 < took.seconds < 3


def test_connection_that_says_nothing_is_closed_without_a_word(hasty):
    with dial(hasty) as wire, Took() as took:
        assert wire.until_end() == b""
    assert 0.9 < took.seconds < 3


def test_idle_connection_is_closed_after_the_keep_alive_time(hasty):
    with dial(hasty) as wire:
        assert wire.is_idle()
        with Took() as took:
            assert wire.until_end() == b""
    assert 1.9 < took.seconds < 4


def test_keep_alive_time_begins_anew_with_each_request(hasty):
    with dial(hasty) as wire, Took() as took:
        for _ in range(3):
            assert wire.is_idle()
            wire.sock.settimeout(1.2)
            with pytest.raises(TimeoutError):
                wire.until_end()
            wire.sock.settimeout(5)
        assert wire.is_idle()
    assert took.seconds > 3


def test_body_that_stops_is_408_and_the_application_is_told(hasty):
    steps = ("receive", "receive", ("note", "stalled"))
    with dial(hasty) as wire, Took() as took:
        wire.send(request("POST", script(*steps), "Content-Length: 10") + b"part")
        assert wire.response().status == 408
        assert wire.until_end() == b""
    assert 0.9 < took.seconds < 3
    hasty.log_has(rb"NOTE stalled .*b'part', 'more_body': True}, {'type': 'http\.disconnect'}")


def test_body_that_stops_behind_a_begun_response_cuts_it(hasty):
    steps = (start(), body(b"half", True), "drain", "drain")
    with dial(hasty) as wire:
        wire.send(request("POST", script(*steps), "Content-Length: 10"))
        data = wire.until_end()
        assert b"half" in data and not data.endswith(b"0\r\n\r\n")


def test_body_that_moves_may_take_longer_than_the_body_time(hasty):
    with dial(hasty) as wire:
        wire.send(request("POST", "/", "Content-Length: 4"))
        wire.sock.settimeout(0.6)
        for _ in range(3):
            wire.send(b"x")
            with pytest.raises(TimeoutError):
                wire.response()
        wire.sock.settimeout(5)
        wire.send(b"x")
        assert wire.response().body == b"POST /? xxxx"


@pytest.mark.parametrize("rest", [b"late", b""])
def test_slow_application_is_not_a_slow_client(hasty, rest):
    """The whole body was sent: neither the body's nor the head's time runs while the application works."""
    name = f"slow{len(rest)}"
    with dial(hasty) as wire:
        wire.send(request("POST", script("drain", ("note", name), ("wait", name), "report"), "Content-Length: 8"))
        wire.send(b"body" * (2 - len(rest) // 4))
        wire.send(rest)
        hasty.log_has(f"NOTE {name}")
        wire.sock.settimeout(2.5)
        with pytest.raises(TimeoutError):
            wire.response()
        with dial(hasty) as other:
            other.ask(request("GET", f"/open/{name}"))
        wire.sock.settimeout(5)
        assert wire.response().status == 200


def test_application_that_takes_the_body_late_is_not_a_slow_client(hasty):
    """The client has to wait with the rest of it."""
    content = b"x" * 300000
    with dial(hasty) as wire:
        wire.send(request("POST", script(("wait", "late"), "drain", start(), body(b"taken")), body=content))
        wire.sock.settimeout(1.5)
        with pytest.raises(TimeoutError):
            wire.response()
        with dial(hasty) as other:
            other.ask(request("GET", "/open/late"))
        wire.sock.settimeout(5)
        assert wire.response().body == b"taken"
        assert wire.is_idle()


def test_client_that_takes_no_bytes_is_cut_and_others_are_served(hasty):
    steps = (start(), ("times", 10000, body(b"x" * 10000, True)), ("note", "sent"), body())
    with dial(hasty) as wire, dial(hasty) as other:
        poller = select.poll()
        poller.register(wire.sock, select.POLLERR | select.POLLHUP)
        wire.send(request("GET", script(*steps)))
        assert not poller.poll(300)
        assert other.is_idle()
        assert poller.poll(5000), "not cut"
        assert len(wire.until_end()) < 50_000_000
        hasty.log_has(rb"NOTE gone\n")
    assert "NOTE sent" not in hasty.stderr.text()


# A client that has an answer to take is not idle.


def waiting(sock):
    """Bytes that the kernel holds for the reader of a socket."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]


def has_all(sock, count):
    """Whether the kernel comes to hold so many bytes for the reader. What it does not take at once it never takes."""
    deadline = time.monotonic() + 0.3
    while waiting(sock) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return waiting(sock) >= count


def answered(server, path):
    """A Wire to whose first request the application has answered, and the size of the body. Nothing was read of it, and
    a part waits in the server, since it is a little more than the kernel holds."""
    for size in range(64 * 1024, 4096 * 1024, 16 * 1024):
        wire = dial_unix(path)
        wire.send(b"GET /?%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        server.access_has(rb'"GET /\?%d"' % size)
        if not has_all(wire.sock, size):
            return wire, size
        wire.sock.close()
    raise AssertionError("the kernel takes everything")


def test_keep_alive_time_begins_when_the_client_has_taken_the_answer(serve, tmp_path):
    path = str(tmp_path / "server.sock")
    server = serve("large:application", "-u", path, "--keep-alive-timeout", 1, tcp=False)
    wire, size = answered(server, path)
    with wire:
        time.sleep(2.5)  # taken is nothing for so long
        assert wire.response().body == bytes(size)
        with Took() as took:
            assert wire.until_end() == b""
        assert 0.9 < took.seconds < 3


def test_client_that_does_not_take_a_complete_answer_is_cut(serve, tmp_path):
    """After the send timeout, with no regard to how long a connection may be idle."""
    path = str(tmp_path / "server.sock")
    server = serve("large:application", "-u", path, "--keep-alive-timeout", 0, "--send-timeout", 1, tcp=False)
    wire, size = answered(server, path)
    with wire:
        poller = select.poll()
        poller.register(wire.sock, select.POLLERR | select.POLLHUP)
        assert not poller.poll(300)
        assert poller.poll(5000), "not cut"
        assert len(wire.until_end()) < size
