# SPDX-License-Identifier: BSD-3-Clause
"""How the server ends: on SIGTERM and SIGINT, in a hurry, in the middle of its start, and when it is killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rawws import RawWebSocket, wait_until
from server import read_response

GOING_AWAY = 1001


@pytest.fixture
def faulty(serve, tmp_path):
    """Starts the faulty application; `server.folder` is where it looks for files."""

    def start(*arguments, **keywords):
        server = serve("faults:application", *arguments, env={"FAULTS_DIR": str(tmp_path)}, **keywords)
        server.folder = tmp_path
        return server

    return start


def start_request(server, path):
    sock = server.connect()
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return sock


def ended(pid):
    """Whether the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def assert_refused(server):
    """Nobody accepts connections any more; the moment when the listeners close is not announced."""

    def refused():
        try:
            socket.create_connection(("127.0.0.1", server.port), 5).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, 5, "connections are refused")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_are_answered_and_websockets_closed_before_the_end(faulty, number):
    server = faulty()
    websockets = [RawWebSocket(server) for _ in range(200)]
    requests = [start_request(server, f"/wait/go{i}") for i in range(20)]
    idle = [start_request(server, "/") for _ in range(20)]
    for i in range(20):
        server.access_has(rf"waiting go{i}\n")
    for sock in idle:
        assert read_response(sock)[0] == 200
    server.signal(number)
    for websocket in websockets:
        assert websocket.wait_close() == GOING_AWAY
    for sock in idle:
        assert sock.recv(1) == b""
        sock.close()
    assert_refused(server)
    assert server.process.poll() is None
    for i in range(20):
        (server.folder / f"go{i}").touch()
    for sock in requests:
        status, headers, body, _ = read_response(sock)
        assert (status, body, headers["connection"]) == (200, b"waited", "close")
        sock.close()
    assert server.wait_exit(5) == 0
    assert server.stdout.data.count(b"lifespan shutdown\n") == 1
    assert b"worker.exit" not in server.stderr.data


def test_every_request_of_a_connection_that_was_made_is_answered_at_the_end(faulty):
    """New connections all the time while the server ends: each is refused, or gets its answer."""
    server = faulty()
    answers, failures, resets = [], [], []

    def ask():
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", server.port), 10)
            except ConnectionError:
                return
            try:
                with sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                    answers.append(read_response(sock)[0])
            except ConnectionResetError:
                resets.append(sock)  # it was made in the instant between the last accept and the close
            except ConnectionError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) > 100, 10, "a hundred answers")
    server.signal(signal.SIGTERM)
    assert server.wait_exit(10) == 0
    for thread in threads:
        thread.join(10)
    assert set(answers) == {200}
    assert not failures
    assert len(resets) <= 1


def test_second_signal_cuts_at_once(faulty):
    server = faulty("--graceful-timeout", 60, "--application-close-timeout", 60)
    request = start_request(server, "/wait/for-ever")
    server.access_has(r"waiting for-ever\n")
    server.signal(signal.SIGTERM)
    server.log_has(r"Shutting down")
    request.settimeout(0.1)
    # One that comes right behind the first is the same wish, told twice.
    for _ in range(50):
        server.signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            assert request.recv(1) == b""
            break
    assert server.wait_exit(5) == 0


def test_the_same_signal_told_twice_drains(faulty):
    server = faulty("--graceful-timeout", 10)
    request = start_request(server, "/wait/gate")
    server.access_has(r"waiting gate\n")
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGTERM)
    server.log_has(r"Shutting down")
    (server.folder / "gate").touch()
    assert read_response(request)[0] == 200
    assert server.wait_exit(5) == 0


def test_signal_that_comes_again_until_the_end_changes_nothing(faulty):
    """Also behind the last word: the exit code stays the server's own."""
    server = faulty()
    while server.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            server.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.002)
    assert server.wait_exit() == 0


def test_graceful_timeout_bounds_a_request_that_never_ends(faulty):
    server = faulty("--graceful-timeout", 1, "--application-close-timeout", 1)
    request = start_request(server, "/wait/for-ever")
    server.access_has(r"waiting for-ever\n")
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionResetError):
        assert request.recv(1) == b""
    assert 0.9 < time.monotonic() - begun < 2
    assert server.wait_exit(5) == 0
    assert b"lifespan shutdown\n" in server.stdout.data
    server.log_has(r"app\.drain")


def test_graceful_timeout_bounds_an_application_that_goes_on_without_its_client(faulty):
    server = faulty("--graceful-timeout", 1, "--application-close-timeout", 60)
    request = start_request(server, "/wait/for-ever")
    server.access_has(r"waiting for-ever\n")
    server.signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionResetError):
        assert request.recv(1) == b""
    assert server.wait_exit(10) == 0
    assert b"lifespan shutdown\n" in server.stdout.data


def test_client_that_does_not_answer_the_close_frame_is_not_waited_for(faulty):
    server = faulty("--graceful-timeout", 1)
    websockets = [RawWebSocket(server) for _ in range(10)]
    server.signal(signal.SIGTERM)
    for websocket in websockets:
        assert websocket.wait_close(answer=False) == GOING_AWAY
    assert server.wait_exit(5) == 0


def test_half_a_request_is_not_waited_for_longer_than_the_grace(faulty):
    server = faulty("--graceful-timeout", 1)
    sock = server.connect()
    sock.sendall(b"GET / HTTP/1.1\r\nHost:")
    websocket = RawWebSocket(server)
    websocket.echo(b"so the other was accepted too")
    server.signal(signal.SIGTERM)
    assert websocket.wait_close() == GOING_AWAY
    assert server.wait_exit(5) == 0


def test_signal_during_a_slow_import_ends_the_server_at_once(faulty, tmp_path):
    (tmp_path / "slow-import").touch()
    server = faulty(start=False)
    server.access_has(r"importing\n")
    workers = server.worker_pids()
    server.signal(signal.SIGTERM)
    assert server.wait_exit(5) == 0
    assert workers
    assert all(ended(pid) for pid in workers)


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_worker_that_hangs_is_killed_at_the_end(faulty, fault):
    """Takes the 5 s that a worker has beyond the close timeout."""
    server = faulty("--graceful-timeout", 1, "--application-close-timeout", 0)
    request = start_request(server, f"/{fault}")
    server.access_has(r"hanging\n")
    websocket = RawWebSocket(server, handshake=False)
    workers = server.worker_pids()
    server.signal(signal.SIGTERM)
    assert_refused(server)
    assert server.wait_exit(10) == 0
    assert all(ended(pid) for pid in workers)
    for sock in (request, websocket.socket):
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""


def test_signal_while_the_application_cannot_be_started_again(faulty):
    server = faulty()
    (server.folder / "exit-import").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.log_has(r"worker\.restart worker=0 wait_ms=1000")
    waiting = start_request(server, "/")
    websocket = RawWebSocket(server, handshake=False)
    server.signal(signal.SIGTERM)
    server.log_has(r"Shutting down")
    server.signal(signal.SIGTERM)
    for sock in (waiting, websocket.socket):
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    assert server.wait_exit(5) == 0


def test_no_worker_outlives_a_killed_server(faulty):
    server = faulty("--workers", 2, expect_exit=-signal.SIGKILL)
    requests = [start_request(server, "/hang"), start_request(server, "/hang")]
    workers = server.worker_pids()
    assert len(workers) == 2
    server.signal(signal.SIGKILL)
    assert server.process.wait(5) == -signal.SIGKILL
    wait_until(lambda: all(ended(pid) for pid in workers), 2, "workers ended")
    for sock in requests:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_port_is_free_for_the_next_start_at_once(faulty, serve, number):
    server = faulty(expect_exit=0 if number == signal.SIGTERM else -number)
    websocket = RawWebSocket(server)
    websocket.echo(b"hello")
    idle = server.connect()
    server.signal(number)
    if number == signal.SIGTERM:
        websocket.wait_close()
    server.process.wait(10)
    again = faulty("-p", server.port)
    assert again.port == server.port
    with start_request(again, "/") as sock:
        assert read_response(sock)[0] == 200
    idle.close()


def test_path_of_a_unix_socket_is_free_while_the_server_ends(faulty, tmp_path):
    path = tmp_path / "server.sock"
    server = faulty("-u", path, tcp=False)
    client = server.keep(socket.socket(socket.AF_UNIX))
    client.connect(str(path))
    client.sendall(b"GET /wait/go HTTP/1.1\r\nHost: test\r\n\r\n")
    server.access_has(r"waiting go\n")
    server.signal(signal.SIGTERM)
    wait_until(lambda: not path.exists(), 5, "the path is gone")
    again = faulty("-u", path, tcp=False)
    (tmp_path / "go").touch()
    assert read_response(client)[0] == 200
    client.close()
    assert server.wait_exit(5) == 0
    assert path.exists()
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(path))
        other.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert read_response(other)[0] == 200
    again.stop()
    assert not path.exists()


def test_path_of_a_unix_socket_that_was_taken_during_the_import_stays_with_its_new_owner(faulty, tmp_path):
    """One that nobody listens on yet looks left over; who has lost it neither claims to listen nor takes it away."""
    path = tmp_path / "server.sock"
    (tmp_path / "slow-import").touch()
    first = faulty("-u", path, tcp=False, start=False, expect_exit=1)
    first.access_has(r"importing\n")
    second = faulty("-u", path, tcp=False, start=False)
    second.access_has(r"importing\n")
    (tmp_path / "slow-import").unlink()
    assert first.wait_exit(10) == 1
    assert f"Couldn't listen on {path}: it was taken away or replaced".encode() in first.stderr.data
    assert b"Listening on" not in first.stderr.data
    second.wait_ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert read_response(client)[0] == 200


def test_second_server_on_the_port_says_so(faulty):
    server = faulty()
    other = faulty("-p", server.port, start=False, expect_exit=1)
    assert other.wait_exit(10) == 1
    assert f"127.0.0.1:{server.port}: Address already in use".encode() in other.stderr.data
    with start_request(server, "/") as sock:
        assert read_response(sock)[0] == 200


BLOCKING = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_server_that_was_started_with_signals_blocked_hears_them(serve):
    server = serve("echo:application", prefix=(sys.executable, "-c", BLOCKING))
    worker = int(server.stderr.wait_for(rb"worker\.ready worker=0 pid=(\d+)")[1])
    os.kill(worker, signal.SIGKILL)
    server.stderr.wait_for(rb"worker\.exit worker=0 pid=\d+ signal=9")
    server.process.terminate()
    assert server.process.wait(20) == 0
