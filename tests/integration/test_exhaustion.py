# SPDX-License-Identifier: BSD-3-Clause
"""Too many connections, too few descriptors, clients that do not read, do not answer or vanish: the others are served,
memory is bounded, and nothing stays behind."""

import contextlib
import os
import random
import signal
import socket
import struct
import time

import pytest
from rawws import PING, RawWebSocket, cpu_seconds, file_count, frame, request, wait_until
from server import read_response

APP = "faults:application"
MIB = 1024 * 1024


def get(server, path="/", timeout=10):
    """(status, body) of one request on a connection of its own."""
    with server.connect(timeout) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        status, _, body, _ = read_response(sock)
        return status, body


def connect_all(server, count):
    """That many connections, whether somebody accepts them or not."""
    return [server.connect() for _ in range(count)]


def start_websockets(server, count):
    """The WebSockets among `count` attempts that were accepted, and how many were answered 503."""
    accepted, refused = [], 0
    for _ in range(count):
        with contextlib.suppress(ConnectionError):
            websocket = RawWebSocket(server, handshake=False)
            try:
                websocket.finish_handshake()
            except ConnectionError:
                refused += websocket.status == 503
                websocket.close()
            else:
                accepted.append(websocket)
    return accepted, refused


def idle_share(server, seconds=1.0):
    """Share of one core that the server uses while nobody asks for anything."""
    before = cpu_seconds(server.pid)
    time.sleep(seconds)
    return (cpu_seconds(server.pid) - before) / seconds


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.fixture
def short_of_files(serve):
    """A server that may have 96 descriptors."""
    return serve(APP, "--edge-loops", 2, prefix=("prlimit", "--nofile=96:96"))


def test_without_free_descriptors_those_inside_are_served_and_nothing_spins(short_of_files):
    server = short_of_files
    accepted, refused = start_websockets(server, 300)
    assert 8 <= len(accepted) < 96
    assert refused > 0
    for websocket in accepted:
        websocket.echo(b"inside")
    crowd = connect_all(server, 100)
    assert idle_share(server) < 0.1
    for websocket in accepted:
        websocket.echo(b"still inside")
    for sock in crowd:
        sock.close()
    for websocket in accepted[:4]:
        websocket.close()
    wait_until(lambda: start_websockets(server, 1)[0], 5, "a newcomer is served")
    server.log_has(r"listener\.refused .*ulimit -n")


def test_worker_is_restarted_while_clients_have_taken_all_descriptors(short_of_files):
    server = short_of_files
    accepted, _ = start_websockets(server, 100)
    keep_trying = connect_all(server, 100)
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    for websocket in accepted:
        assert websocket.wait_close() == 1012
        websocket.close()
    for sock in keep_trying:
        sock.close()
    wait_until(lambda: start_websockets(server, 1)[0], 10, "a newcomer is served")
    assert b"worker.spawn" not in server.stderr.data


def test_newcomers_over_the_ceiling_are_answered_503(serve):
    server = serve(APP, "--max-connections", 10, "--edge-loops", 2)
    accepted, refused = start_websockets(server, 10)
    assert (len(accepted), refused) == (10, 0)
    sock = server.connect()
    sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    status, headers, _, _ = read_response(sock)
    assert (status, headers["connection"]) == (503, "close")
    sock.close()
    assert start_websockets(server, 1) == ([], 1)
    for websocket in accepted:
        websocket.echo(b"inside")
    accepted[0].close()
    wait_until(lambda: start_websockets(server, 1)[0], 5, "a newcomer is served")


@pytest.mark.parametrize("loops", [4, 64], ids=["for the workers", "for the listeners"])
def test_too_few_descriptors_to_start_are_an_error_with_a_reason(serve, loops):
    server = serve(APP, "--edge-loops", loops, prefix=("prlimit", "--nofile=16:16"), start=False, expect_exit=1)
    assert server.wait_exit(10) == 1
    assert b"file descriptors" in server.stderr.data or b"Too many open files" in server.stderr.data


def test_clients_that_do_not_read_a_response_hold_up_nobody(serve):
    """A hundred responses of 8 MiB each."""
    server = serve(APP, measured=True)
    assert get(server)[0] == 200
    before = server.rss_bytes()
    stuck = []
    for _ in range(100):
        sock = server.keep(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(b"GET /big/32 HTTP/1.1\r\nHost: test\r\n\r\n")
        stuck.append(sock)
    for _ in range(50):
        begun = time.monotonic()
        assert get(server)[0] == 200
        assert time.monotonic() - begun < 1
    assert server.rss_bytes() - before < 100 * MIB // 2
    assert len(read_response(stuck[0])[2]) == 8 * MIB


def test_clients_that_do_not_read_their_websocket_hold_up_nobody(serve):
    server = serve(APP, measured=True)
    websocket = RawWebSocket(server)
    before = server.rss_bytes()
    stuck = [RawWebSocket(server, "/stream", receive_buffer=4096) for _ in range(100)]
    for _ in range(50):
        begun = time.monotonic()
        websocket.echo(b"not held up")
        assert time.monotonic() - begun < 1
    assert server.rss_bytes() - before < 100 * MIB // 2
    assert idle_share(server) < 0.1
    for other in stuck[:50]:
        other.close()
    websocket.echo(b"on")


def test_memory_of_a_crowd_that_left_is_given_back(serve):
    """600 clients for each of whom as much waits as may."""
    server = serve(APP, "--edge-loops", 1, measured=True)
    idle = file_count(server.pid)
    before = server.rss_bytes()
    stuck = [RawWebSocket(server, "/stream", receive_buffer=4096) for _ in range(600)]
    wait_until(lambda: server.rss_bytes() - before > 600 * 32 * 1024, 10, "it waits for them")
    for websocket in stuck:
        websocket.reset()
    wait_until(lambda: file_count(server.pid) <= idle, 10, "the descriptors are free again")
    wait_until(lambda: server.rss_bytes() - before < 6 * MIB, 10, "the memory is the system's again")


@pytest.mark.parametrize("kind", ["silent", "sends pings", "is sent to"])
def test_peer_that_reads_nothing_is_dropped(serve, kind):
    """By the ping that it does not answer, or, when it is not read any more or no pings are sent, by what it does not
    take."""
    pings = 0 if kind == "is sent to" else 1
    server = serve(APP, "--ping-interval", pings, "--ping-timeout", 1, "--send-timeout", 2)
    idle = file_count(server.pid)
    path = "/stream" if kind == "is sent to" else "/"
    peers = [RawWebSocket(server, path, receive_buffer=4096) for _ in range(20)]
    if kind == "sends pings":
        flood = frame(PING, b"x" * 125) * 2000
        for peer in peers:
            peer.socket.setblocking(False)
        for _ in range(20):
            for peer in peers:
                with contextlib.suppress(BlockingIOError):
                    peer.socket.send(flood)
    wait_until(lambda: file_count(server.pid) <= idle, 10, "the descriptors are free again")
    for peer in peers:
        peer.close()


def test_slow_reader_is_not_taken_for_a_dead_one(serve):
    """It takes 40 KiB a second, far less than waits for it, for five times the limit."""
    server = serve(APP, "--ping-interval", 0, "--send-timeout", 1)
    websocket = RawWebSocket(server, "/stream", receive_buffer=8192)
    sock = server.keep(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", server.port))
    sock.sendall(b"GET /big/32 HTTP/1.1\r\nHost: test\r\n\r\n")
    got = dict.fromkeys((sock, websocket.socket), 0)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for reader in (websocket.socket, sock):
            got[reader] += len(reader.recv(2048))
        time.sleep(0.05)
    for reader, count in got.items():
        while count < 8 * MIB:
            chunk = reader.recv(65536)
            assert chunk, f"cut after {count} bytes"
            count += len(chunk)


def test_slow_reader_is_not_dropped_for_a_ping_that_has_not_come_to_it(serve):
    """The ping stands behind what it still takes, for four times as long as the answer may take; when it has come to it,
    the answer is awaited as ever."""
    server = serve(APP, "--ping-interval", 1, "--ping-timeout", 1)
    websocket = RawWebSocket(server, "/stream", receive_buffer=8192)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        websocket.data += websocket.socket.recv(2048)
        time.sleep(0.05)
    with pytest.raises(ConnectionError):
        while True:
            if websocket.receive()[0] == PING:
                end = time.monotonic()
    assert time.monotonic() - end < 4, "the ping came, and its answer did not"


def test_storm_of_reconnects_leaves_nothing_behind(serve):
    """2,000 connections twice: opened, upgraded, dropped in every manner."""
    server = serve(APP, measured=True)
    assert get(server)[0] == 200
    idle = file_count(server.pid)

    def storm():
        for _ in range(10):
            websockets = [RawWebSocket(server, handshake=False) for _ in range(200)]
            for number, websocket in enumerate(websockets):
                websocket.finish_handshake()
                if number % 4 == 0:
                    websocket.send(8, b"\x03\xe8")
                elif number % 4 == 1:
                    websocket.reset()
                websocket.close()
        wait_until(lambda: file_count(server.pid) <= idle, 10, "the descriptors are free again")

    storm()
    first = server.rss_bytes()
    storm()
    assert server.rss_bytes() - first < 4 * MIB
    websocket = RawWebSocket(server)
    websocket.echo(b"served")


def test_connections_that_say_nothing_or_reset_at_once_leave_nothing_behind(serve):
    server = serve(APP, "--header-timeout", 1)
    assert get(server)[0] == 200
    idle = file_count(server.pid)
    for _ in range(1000):
        reset(server.connect())
    silent = connect_all(server, 500)
    websocket = RawWebSocket(server)
    websocket.echo(b"served meanwhile")
    websocket.close()
    for sock in silent:
        assert sock.recv(1) == b""
        sock.close()
    wait_until(lambda: file_count(server.pid) <= idle, 10, "the descriptors are free again")
    assert get(server)[0] == 200


def test_reset_at_every_stage_is_only_the_end_of_that_connection(serve):
    server = serve(APP)
    neighbour = RawWebSocket(server)
    assert get(server)[0] == 200
    idle = file_count(server.pid)
    handshake = request("/")
    chance = random.Random(1)
    for size in range(1, len(handshake) + 1):
        sock = server.connect()
        sock.sendall(handshake[:size])
        reset(sock)
    for _ in range(100):
        websocket = RawWebSocket(server, chance.choice(["/", "/stream"]), handshake=False)
        if chance.random() < 0.5:
            websocket.finish_handshake()
            message = frame(1, b"hello" * 100)
            websocket.socket.sendall(message[: chance.randrange(len(message))])
        websocket.reset()
    for _ in range(50):
        sock = server.connect()
        sock.sendall(b"POST /big/8 HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
        if chance.random() < 0.8:
            sock.recv(chance.randrange(1, 65536))
        reset(sock)
    wait_until(lambda: file_count(server.pid) <= idle, 10, "the descriptors are free again")
    neighbour.echo(b"undisturbed")
    assert get(server)[0] == 200


def test_a_thousand_idle_websockets_cost_no_processor_time(serve):
    server = serve(APP)
    websockets = [RawWebSocket(server, handshake=False) for _ in range(1000)]
    for websocket in websockets:
        websocket.finish_handshake()
    assert idle_share(server, 2) < 0.05
    for websocket in websockets:
        websocket.close()
