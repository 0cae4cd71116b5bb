# SPDX-License-Identifier: BSD-3-Clause
"""The logs: outputs that nobody drains, that are full or gone, and what clients and workers can write into them."""

import contextlib
import os
import re
import select
import subprocess
import threading
from pathlib import Path

import pytest
from rawws import RawWebSocket
from server import Output, read_response

APP = "faults:application"
ACCESS_LINE = re.compile(rb'127\.0\.0\.1:\d+ - - \[[^\]]+\] "[^"]*" (\d+|-) (\d+|-)')


def get(sock, target, fields=""):
    """One request on a connection that stays open: (status, body)."""
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n".encode("latin-1"))
    status, _, body, _ = read_response(sock)
    return status, body


def port_of(pid):
    """The port that the process listens on, for a server of which nobody reads the log."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            return int(fields[1].partition(":")[2], 16)
    return None


class Undrained:
    """A pipe whose other end is read only from drain() on."""

    def __init__(self):
        self.reader, self.writer = os.pipe()

    def drain(self):
        """Begins to collect what comes, in a thread."""
        stream, self.reader = os.fdopen(self.reader, "rb"), -1
        return Output(stream)

    def close(self):
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@pytest.fixture
def undrained():
    pipe = Undrained()
    yield pipe
    pipe.close()


def test_server_whose_output_nobody_drains_serves_on_and_counts_what_was_lost(serve, undrained):
    """4,000 requests with an access log and 8,000 lines of the application: many times what a pipe and the queue hold."""
    server = serve(APP, stdout=undrained.writer)
    os.close(undrained.writer)
    websocket = RawWebSocket(server)
    with server.connect() as sock:
        for _ in range(10):
            assert get(sock, "/print/800")[0] == 200
        for _ in range(4000):
            assert get(sock, "/" + "x" * 400)[0] == 200
    websocket.echo(b"served")
    output = undrained.drain()
    with server.connect() as sock:
        for number in range(10):
            assert get(sock, f"/late/{number}")[0] == 200
        notice = output.wait_for(rb"log\.dropped count=(\d+)\n")
        assert get(sock, "/last")[0] == 200
        output.wait_for(rb'"GET /last" 200 \d+\n')
    kept = len(re.findall(rb'"GET /x+" 200', output.data))
    printed = len(re.findall(rb"line \d+ of the worker", output.data))
    assert 0 < kept < 4000
    dropped = sum(int(count) for count in re.findall(rb"log\.dropped count=(\d+)\n", output.data))
    late = len(re.findall(rb'"GET /late/\d+" 200', output.data))
    steps = output.data.count(b'"WSCONNECT') - output.data.count(b'"WSDISCONNECT')
    assert int(notice[1]) > 0
    # All that was made is there or counted; of the handshake, two lines.
    assert kept + printed + late + dropped + steps + 10 >= 4000 + 8000 + 10


def test_worker_prints_come_through_whole_and_in_order(serve):
    server = serve(APP, "--workers", 2)
    threads = []
    errors = []

    def ask(target, times):
        try:
            with server.connect() as sock:
                for _ in range(times):
                    assert get(sock, target)[0] == 200
        except AssertionError as error:
            errors.append(error)

    for target, times in (("/print/500", 2), ("/print/500", 2), ("/quick", 300)):
        threads.append(threading.Thread(target=ask, args=(target, times)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert not errors
    server.stop()
    lines = bytes(server.stdout.data).splitlines()
    printed = re.compile(rb"line (\d+) of the worker's output \.{60}")
    numbers = []
    for line in lines:
        match = printed.fullmatch(line)
        if match:
            numbers.append(int(match[1]))
        else:
            assert ACCESS_LINE.fullmatch(line) or line == b"lifespan shutdown", line
    assert len(numbers) == 2000
    assert sorted(numbers) == sorted(list(range(500)) * 4)
    assert sum(b < a for a, b in zip(numbers, numbers[1:])) >= 1


def test_line_that_is_printed_in_two_parts_is_not_torn_by_another(serve):
    server = serve(APP)
    with server.connect() as sock:
        assert get(sock, "/split")[0] == 200
        assert get(sock, "/between")[0] == 200
        server.access_has(rb'"GET /between" 200')
        assert get(sock, "/join")[0] == 200
    server.access_has(rb"(?m)^first half, second half\n")
    server.log_has(rb"(?m)^first half, second half\n")


def test_last_words_of_a_worker_stand_on_a_line_of_their_own(serve):
    server = serve(APP)
    with server.connect() as sock:
        assert get(sock, "/split")[0] == 200
        assert get(sock, "/exit/4")[0] == 502
    server.log_has(rb"(?m)^first half, \n(.*\n)*.*worker\.exit worker=0 pid=\d+ code=4")


def test_full_disk_costs_the_access_log_only_and_is_told(serve):
    server = serve(APP, "--access-log", "/dev/full")
    with server.connect() as sock:
        for _ in range(500):
            assert get(sock, "/")[0] == 200
    told = server.log_has(rb'log\.write_failed sink=access reason="No space left on device"\n')
    assert server.stderr.data.count(b"log.write_failed") == 1, told


def test_reader_of_the_log_that_is_gone_costs_the_log_only(serve, undrained):
    server = serve(APP, stdout=undrained.writer)
    os.close(undrained.writer)
    undrained.close()
    with server.connect() as sock:
        for _ in range(200):
            assert get(sock, "/print/2")[0] == 200
    websocket = RawWebSocket(server)
    websocket.echo(b"served")
    server.log_has(rb'log\.write_failed sink=stdout reason="Broken pipe"\n')


def test_both_outputs_closed_by_their_reader_cost_the_logs_only(serve, undrained):
    server = serve(APP, stdout=undrained.writer, stderr=subprocess.STDOUT, start=False)
    os.close(undrained.writer)
    output = undrained.reader
    data = b""
    while b"Listening on" not in data:
        assert select.select([output], [], [], 20)[0]
        data += os.read(output, 65536)
    undrained.close()
    server.port = port_of(server.pid)
    with server.connect() as sock:
        for _ in range(200):
            assert get(sock, "/print/2")[0] == 200


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing/access.log", "No such file or directory"), (".", "Is a directory")],
)
def test_access_log_that_cannot_be_written_is_an_error_that_names_it(serve, tmp_path, path, reason):
    server = serve(APP, "--access-log", tmp_path / path, start=False, expect_exit=1)
    assert server.wait_exit(5) == 1
    assert server.stderr.text() == f"channelsd: access log {tmp_path / path}: {reason}\n"


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ('/"%0a127.0.0.1:1%20-%20-%20[x]%20"GET%20/forged', ""),
        ("/x?a=\x1b[31mred\x1b[0m", ""),
        ("/x\x7f\x80\x9b31m", ""),
        ("/x", "X-Forwarded-For: 1.2.3.4\x0b\x1b[2J\r\n"),
        ("/x", "Referer: \x1b]0;title\x07\r\nUser-Agent: \x9b1m\r\n"),
    ],
)
def test_client_cannot_write_lines_or_control_bytes_into_the_logs(serve, target, fields):
    server = serve(APP, "--proxy-headers", "-v", 2)
    with server.connect() as sock:
        status, _ = get(sock, target, fields)
    assert status in (200, 400)
    with server.connect() as sock:
        assert get(sock, "/after")[0] == 200
    server.access_has(rb'"GET /after" 200')
    for stream in (server.stdout, server.stderr):
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f-\xff]", stream.data), stream.text()
    for line in bytes(server.stdout.data).splitlines():
        assert re.match(rb"127\.0\.0\.1:\d+ - - \[\d\d/\w{3}/\d{4}:[\d:]{8}\] \"GET /", line), line


def test_client_cannot_write_into_the_logs_by_a_websocket_path(serve):
    server = serve(APP)
    sock = server.connect()
    sock.sendall(
        b"GET /\x1b[31m%0aforged HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    sock.recv(65536)
    with server.connect() as other:
        assert get(other, "/after")[0] == 200
    server.access_has(rb'"GET /after" 200')
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f-\xff]|^forged", server.stdout.data), server.stdout.text()
