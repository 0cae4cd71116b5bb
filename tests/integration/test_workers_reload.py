# SPDX-License-Identifier: BSD-3-Clause
"""SIGHUP: every worker is replaced by a fresh one, and nobody who asks notices."""

import os
import signal
import sys
import time

import pytest
from rawws import CLOSE, RawWebSocket, wait_until
from rolling_clients import APP, Load, ask, get, pid_of, start_request
from server import read_response

SERVICE_RESTART = 1012
GOING_AWAY = 1001
ROUND_DONE = rb"worker\.reload workers=\d+ replaced=\d+\n"
ROUND_STOPPED = rb"worker\.reload reason=\"a new worker could not be started: those that serve go on\""


@pytest.fixture
def rolling(serve, tmp_path):
    """Starts the application; `server.folder` is where it looks for files."""

    def start(*arguments, **keywords):
        server = serve(APP, *arguments, env={"ROLLING_DIR": str(tmp_path)}, **keywords)
        server.folder = tmp_path
        return server

    return start


def rounds(server):
    return server.stderr.data.count(b"worker.reload workers=1 replaced=1\n")


def hang_up(server):
    """Sends SIGHUP; returns where in the log what follows begins."""
    start = len(server.stderr.data)
    server.signal(signal.SIGHUP)
    return start


def test_no_request_fails_while_every_worker_is_replaced(rolling):
    server = rolling("--workers", 2, "--graceful-timeout", 2)
    with Load(server) as load:
        for _ in range(3):
            load.goes_on()
            before = server.worker_pids()
            start = hang_up(server)
            server.log_has(ROUND_DONE, 30, start)
            after = server.worker_pids()
            assert len(after) == 2
            assert not set(before) & set(after)
            for pid in before:
                server.log_has(rf"worker\.exit worker=\d pid={pid} code=0", 1, start)
                server.access_has(rf"lifespan shutdown {pid}\n", 1)
        load.goes_on()
    assert load.failures == []
    assert load.statuses == []
    assert set(load.codes) == {SERVICE_RESTART}


def test_kept_connection_goes_on_through_the_new_worker(rolling):
    server = rolling()
    with server.connect() as sock:
        status, before = ask(sock)
        assert status == 200
        start = hang_up(server)
        server.log_has(ROUND_DONE, 10, start)
        status, after = ask(sock)
        assert (status, [after]) == (200, server.worker_pids())
        assert after != before


def test_request_in_progress_ends_on_the_old_worker_while_the_new_one_serves(rolling):
    server = rolling()
    old = server.worker_pids()[0]
    request = start_request(server, "/wait/gate")
    server.access_has(rf"waiting gate {old}\n")
    start = hang_up(server)
    server.log_has(r"worker\.ready worker=0", 10, start)
    wait_until(lambda: get(server)[1] != old, 5, "new requests go to the new worker")
    new = get(server)[1]
    assert sorted(server.worker_pids()) == sorted([old, new])
    (server.folder / "gate").touch()
    assert read_response(request)[2] == str(old).encode()
    server.log_has(ROUND_DONE, 10, start)
    assert server.worker_pids() == [new]


def test_websockets_are_closed_one_after_the_other(rolling):
    server = rolling("--graceful-timeout", 4)
    websockets = [RawWebSocket(server) for _ in range(40)]
    old = pid_of(websockets[0])
    start = hang_up(server)
    server.log_has(r"worker\.ready worker=0", 10, start)
    began = time.monotonic()
    moments = []
    waiting = dict(enumerate(websockets))
    while waiting:
        for number, websocket in list(waiting.items()):
            websocket.socket.settimeout(0.01)
            try:
                opcode, payload = websocket.receive()
            except TimeoutError:
                continue
            assert (opcode, int.from_bytes(payload[:2], "big"), payload[2:]) == (8, SERVICE_RESTART, b"worker restart")
            websocket.send(CLOSE, payload[:2])
            moments.append(time.monotonic() - began)
            del waiting[number]
    assert 1.5 < max(moments) - min(moments) < 4  # over three quarters of the grace
    assert max(sum(1 for m in moments if second / 2 <= m < second / 2 + 0.5) for second in range(10)) < 20
    server.log_has(ROUND_DONE, 10, start)
    assert server.stdout.data.count(f"left {SERVICE_RESTART} {old}\n".encode()) == 40
    assert b"link.cut" not in server.stderr.data


def test_client_that_does_not_answer_the_close_is_not_waited_for_beyond_the_grace(rolling):
    server = rolling("--graceful-timeout", 1)
    websocket = RawWebSocket(server)
    old = pid_of(websocket)
    start = hang_up(server)
    assert websocket.wait_close(answer=False) == SERVICE_RESTART
    server.log_has(ROUND_DONE, 10, start)
    server.access_has(rf"left {SERVICE_RESTART} {old}\n")
    server.access_has(rf"lifespan shutdown {old}\n")


def test_websocket_that_is_accepted_by_the_old_worker_is_closed_too(rolling):
    server = rolling("--graceful-timeout", 3)
    websocket = RawWebSocket(server, "/late", handshake=False)
    server.access_has(r"deciding \d+\n")
    start = hang_up(server)
    server.log_has(r"worker\.ready worker=0", 10, start)
    (server.folder / "accept").touch()
    websocket.finish_handshake()
    assert websocket.wait_close() == SERVICE_RESTART
    server.log_has(ROUND_DONE, 10, start)


def test_request_that_outlasts_the_grace_is_answered_502(rolling):
    server = rolling("--graceful-timeout", 1, "--application-close-timeout", 1)
    request = start_request(server, "/wait/for-ever")
    server.access_has(r"waiting for-ever \d+\n")
    start = hang_up(server)
    assert read_response(request)[0] == 502
    server.log_has(r"link\.cut process=\d+ loop=\d+ clients=1 ", 5, start)
    server.log_has(ROUND_DONE, 10, start)
    assert get(server)[0] == 200


def test_signals_during_a_round_are_one_more_round(rolling):
    server = rolling("--graceful-timeout", 20)
    request = start_request(server, "/wait/gate")
    server.access_has(r"waiting gate \d+\n")
    server.signal(signal.SIGHUP)
    server.log_has(r"worker\.ready[^\n]*\n(?s:.*)worker\.ready")
    for number in range(2, 7):
        server.signal(signal.SIGHUP)
        server.log_has(rf"(?s)(signal=SIGHUP.*){{{number}}}")
    assert rounds(server) == 0
    (server.folder / "gate").touch()
    assert read_response(request)[0] == 200
    wait_until(lambda: rounds(server) == 2, 10, "the second round")
    assert get(server)[0] == 200
    server.stop()
    assert rounds(server) == 2
    assert server.stderr.data.count(b"worker.replace ") == 2


def test_signal_before_the_first_worker_is_ready_is_kept(rolling, tmp_path):
    (tmp_path / "hold-import").touch()
    server = rolling(start=False)
    server.access_has(r"importing \d+\n")
    server.signal(signal.SIGHUP)
    server.log_has(r"signal=SIGHUP")
    old = server.worker_pids()[0]
    (tmp_path / "hold-import").unlink()
    server.wait_ready()
    server.log_has(ROUND_DONE)
    status, pid = get(server)
    assert status == 200
    assert pid != old


def test_signal_while_the_server_ends_does_nothing(rolling):
    server = rolling()
    request = start_request(server, "/wait/gate")
    server.access_has(r"waiting gate \d+\n")
    server.signal(signal.SIGTERM)
    server.log_has("Shutting down")
    server.signal(signal.SIGHUP)
    server.log_has(r"signal=SIGHUP reason=\"the server ends\"")
    (server.folder / "gate").touch()
    assert read_response(request)[0] == 200
    assert server.wait_exit(10) == 0
    assert b"worker.replace" not in server.stderr.data


def test_new_version_that_cannot_be_imported_leaves_the_old_one_serving(rolling):
    server = rolling("--workers", 2, "--graceful-timeout", 2)
    before = server.worker_pids()
    with Load(server, 1) as load:
        load.goes_on()
        (server.folder / "broken-import").touch()
        start = hang_up(server)
        server.log_has("the new version is broken", 10, start)
        server.log_has(r"worker\.exit worker=0 pid=\d+ code=3", 10, start)
        server.log_has(ROUND_STOPPED, 10, start)
        load.goes_on()
        assert server.worker_pids() == before
        assert server.stderr.data.count(b"worker.replace ") == 1
        (server.folder / "broken-import").unlink()
        start = hang_up(server)
        server.log_has(ROUND_DONE, 20, start)
        load.goes_on()
    assert load.failures == []
    assert load.statuses == []
    assert not set(server.worker_pids()) & set(before)


@pytest.mark.parametrize("where", ["import", "startup"])
def test_new_version_that_hangs_at_its_start_is_given_up(rolling, where):
    server = rolling("--worker-timeout", 1)
    before = server.worker_pids()
    (server.folder / f"hold-{where}").touch()
    start = hang_up(server)
    server.log_has(r"worker\.kill worker=0 pid=\d+ reason=\"it did not become ready", 20, start)
    server.log_has(r"worker\.exit worker=0 pid=\d+ signal=9", 5, start)
    server.log_has(ROUND_STOPPED, 5, start)
    assert server.worker_pids() == before
    assert get(server) == (200, before[0])


def test_old_worker_that_dies_leaves_its_place_to_the_new_one(rolling):
    server = rolling()
    old = server.worker_pids()[0]
    (server.folder / "hold-import").touch()
    start = hang_up(server)
    server.access_has(r"importing \d+\n")
    os.kill(old, signal.SIGKILL)
    server.log_has(rf"worker\.exit worker=0 pid={old} signal=9", 5, start)
    waiting = start_request(server, "/")
    new = server.worker_pids()
    assert len(new) == 1
    (server.folder / "hold-import").unlink()
    assert read_response(waiting)[2] == str(new[0]).encode()
    server.log_has(ROUND_DONE, 5, start)
    assert server.worker_pids() == new


def test_signal_ends_the_pause_before_another_attempt(rolling):
    server = rolling()
    (server.folder / "broken-import").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.log_has(r"worker\.restart worker=0 wait_ms=4000 ", 20)
    (server.folder / "broken-import").unlink()
    asked = time.monotonic()
    server.signal(signal.SIGHUP)
    assert get(server)[0] == 200
    assert time.monotonic() - asked < 3.5


def test_old_worker_that_hangs_is_killed(rolling):
    server = rolling("--worker-timeout", 1)
    old = server.worker_pids()[0]
    request = start_request(server, "/wait/gate")
    server.access_has(r"waiting gate \d+\n")
    start = hang_up(server)
    server.log_has(r"worker\.ready", 10, start)
    os.kill(old, signal.SIGSTOP)
    server.log_has(rf"worker\.hung worker=0 pid={old}", 10, start)
    assert read_response(request)[0] == 502
    server.log_has(ROUND_DONE, 5, start)
    assert get(server)[0] == 200


@pytest.mark.parametrize("moment", ["start", "drain"])
def test_end_of_the_server_during_a_round(rolling, moment):
    server = rolling("--workers", 2)
    request = start_request(server, "/wait/gate")
    server.access_has(r"waiting gate \d+\n")
    websockets = [RawWebSocket(server) for _ in range(4)]
    if moment == "start":
        (server.folder / "hold-import").touch()
        server.signal(signal.SIGHUP)
        server.access_has(r"importing \d+\n")
    else:
        start = hang_up(server)
        server.log_has(r"worker\.ready", 10, start)
    server.signal(signal.SIGTERM)
    codes = {websocket.wait_close() for websocket in websockets}
    assert codes == {GOING_AWAY} if moment == "start" else codes <= {GOING_AWAY, SERVICE_RESTART}
    (server.folder / "gate").touch()
    assert read_response(request)[0] == 200
    assert server.wait_exit(10) == 0
    assert b" ERROR " not in server.stderr.data
    assert server.stdout.data.count(b"lifespan shutdown") == (2 if moment == "start" else 3)


def test_end_of_an_idle_server_during_a_round_is_no_error(rolling):
    """The worker that was being started is killed: that is ours to know."""
    server = rolling("--workers", 2)
    (server.folder / "hold-import").touch()
    server.signal(signal.SIGHUP)
    server.access_has(r"importing \d+\n")
    server.signal(signal.SIGTERM)
    assert server.wait_exit(10) == 0
    assert b" ERROR " not in server.stderr.data


# Runs a program in the terminal that is named first.
IN_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


def close_terminal_of(rolling, *prefix):
    """A server that ran in a terminal, which was closed."""
    primary, secondary = os.openpty()
    server = rolling(prefix=[sys.executable, "-c", IN_TERMINAL, os.ttyname(secondary), *prefix])
    websocket = RawWebSocket(server)
    websocket.echo(b"before")
    os.close(secondary)
    os.close(primary)
    return server, websocket


def test_end_of_its_terminal_ends_the_server(rolling):
    server, websocket = close_terminal_of(rolling)
    assert websocket.wait_close() == GOING_AWAY
    assert server.wait_exit(10) == 0
    server.log_has(r"signal=SIGHUP reason=\"the terminal is gone\"")
    assert b"worker.exit" not in server.stderr.data
    assert server.stdout.data.count(b"lifespan shutdown") == 1


def test_server_under_nohup_outlives_its_terminal(rolling):
    server, websocket = close_terminal_of(rolling, "nohup")
    assert websocket.wait_close() == SERVICE_RESTART
    server.log_has(ROUND_DONE)
    assert get(server)[0] == 200


def test_workers_do_not_mind_the_signal(rolling):
    server = rolling()
    worker = server.worker_pids()[0]
    os.kill(worker, signal.SIGHUP)
    assert get(server) == (200, worker)
