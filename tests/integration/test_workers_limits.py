# SPDX-License-Identifier: BSD-3-Clause
"""How clients are spread over workers, and which workers are replaced by themselves: worn, too large, hanging, dead."""

import contextlib
import os
import re
import signal
import time

import pytest
from rawws import RawWebSocket, wait_until
from rolling_clients import APP, Load, ask, get, pid_of, start_request
from server import read_response

SERVICE_RESTART = 1012


@pytest.fixture
def rolling(serve, tmp_path):
    """Starts the application; `server.folder` is where it looks for files."""

    def start(*arguments, **keywords):
        server = serve(APP, *arguments, env={"ROLLING_DIR": str(tmp_path)}, **keywords)
        server.folder = tmp_path
        return server

    return start


def count_by_worker(websockets):
    counts = {}
    for websocket in websockets:
        pid = pid_of(websocket)
        counts[pid] = counts.get(pid, 0) + 1
    return counts


# ---- the fewest ----


@pytest.mark.parametrize("loops", [1, 4])
def test_new_clients_go_to_the_worker_with_the_fewest_of_the_whole_process(rolling, loops):
    """The kernel chooses the loop; each loop knows of the others' clients."""
    server = rolling("--workers", 3, "--edge-loops", loops)
    websockets = [RawWebSocket(server) for _ in range(30)]
    assert sorted(count_by_worker(websockets).values()) == [10, 10, 10]
    emptied = pid_of(websockets[0])
    for websocket in [websocket for websocket in websockets if pid_of(websocket) == emptied]:
        websocket.send(8, b"\x03\xe8")
        assert websocket.wait_close(answer=False) == 1000
        websockets.remove(websocket)
    wait_until(lambda: server.stdout.data.count(f"left 1000 {emptied}\n".encode()) == 10, 5, "all have left")
    assert {pid_of(RawWebSocket(server)) for _ in range(10)} == {emptied}


def test_request_goes_past_a_worker_that_is_busy_with_others(rolling):
    server = rolling("--workers", 2, "--edge-loops", 2)
    waiting = [start_request(server, f"/wait/{i}") for i in range(3)]
    for i in range(3):
        server.access_has(rf"waiting {i} \d+\n")
    busy = [int(pid) for pid in re.findall(rb"waiting \d (\d+)\n", server.stdout.data)]
    fewer = min(server.worker_pids(), key=busy.count)
    assert [get(server)[1] for _ in range(4)] == [fewer] * 4
    for i, sock in enumerate(waiting):
        (server.folder / str(i)).touch()
        assert read_response(sock)[0] == 200


# ---- --max-requests ----


def test_worker_is_replaced_after_so_many_requests_and_none_fails(rolling):
    server = rolling("--max-requests", 200, "--workers", 2, "--graceful-timeout", 1)
    first = server.worker_pids()
    with Load(server) as load:
        wait_until(lambda: server.stderr.data.count(b"worker.replace ") >= 4, 40, "four replacements")
        wait_until(lambda: not set(first) & set(server.worker_pids()), 20, "both have been replaced")
        load.goes_on()
    assert load.failures == []
    assert load.statuses == []
    assert set(load.codes) <= {SERVICE_RESTART}
    server.log_has(r"worker\.replace worker=\d pid=\d+ reason=\"--max-requests\"")


def test_requests_and_websockets_of_all_loops_are_counted_up_to_a_tenth_less(rolling):
    server = rolling("--max-requests", 40, "--edge-loops", 2)
    worker = server.worker_pids()[0]
    for _ in range(17):
        assert get(server) == (200, worker)
        RawWebSocket(server).echo(b"counts too")
    assert b"worker.replace" not in server.stderr.data  # 34 of 36 to 40
    for _ in range(3):
        assert get(server)[0] == 200
        RawWebSocket(server, handshake=False).finish_handshake()
    server.log_has(rf"worker\.replace worker=0 pid={worker} reason=\"--max-requests\"")
    server.log_has(rf"worker\.exit worker=0 pid={worker} code=0", 20)


def test_without_a_limit_nobody_is_replaced(rolling):
    server = rolling()
    with server.connect() as sock:
        assert len({ask(sock) for _ in range(300)}) == 1
    assert b"worker.replace" not in server.stderr.data


def test_worn_worker_whose_successor_cannot_start_serves_on_until_it_can(rolling):
    server = rolling("--max-requests", 5)
    old = server.worker_pids()[0]
    (server.folder / "broken-import").touch()
    with server.connect() as sock:
        for _ in range(5):
            assert ask(sock) == (200, old)
        server.log_has(r"worker\.exit worker=0 pid=\d+ code=3")
        server.log_has(r"worker\.restart worker=0 wait_ms=250 ")
        server.log_has(r"worker\.restart worker=0 wait_ms=500 ")
        assert ask(sock) == (200, old)
        (server.folder / "broken-import").unlink()
        server.log_has(rf"worker\.exit worker=0 pid={old} code=0")
        status, new = ask(sock)
    assert status == 200
    assert new != old


# ---- --worker-memory-limit ----

MIB = 1024 * 1024


def worker_rss(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def limited(rolling):
    """A server whose worker may have 60 MiB more than it has at its start."""
    server = rolling()
    usual = worker_rss(server.worker_pids()[0])
    server.stop()
    return rolling("--worker-memory-limit", usual + 60 * MIB, "--graceful-timeout", 2)


def test_worker_over_the_limit_is_replaced_and_its_clients_told(limited):
    old = limited.worker_pids()[0]
    websocket = RawWebSocket(limited)
    request = start_request(limited, "/wait/gate")
    limited.access_has(r"waiting gate \d+\n")
    assert get(limited, "/grow/80") == (200, old)
    match = limited.log_has(rf"worker\.memory worker=0 pid={old} resident_bytes=(\d+) limit_bytes=(\d+)")
    assert int(match[1]) > int(match[2])
    limited.log_has(rf"worker\.replace worker=0 pid={old} reason=\"--worker-memory-limit\"")
    assert websocket.wait_close() == SERVICE_RESTART
    (limited.folder / "gate").touch()
    assert read_response(request)[2] == str(old).encode()
    limited.log_has(rf"worker\.exit worker=0 pid={old} code=0")
    assert get(limited)[1] != old
    assert limited.stderr.data.count(b"worker.memory") == 1


def test_worker_over_twice_the_limit_is_killed(limited):
    old = limited.worker_pids()[0]
    websocket = RawWebSocket(limited)
    with contextlib.suppress(AssertionError):  # it may be killed before it has answered
        assert get(limited, "/grow/400")[0] in (200, 502)
    limited.log_has(rf"worker\.kill worker=0 pid={old} reason=\"it has more than twice the memory")
    limited.log_has(rf"worker\.exit worker=0 pid={old} signal=9")
    assert websocket.wait_close() == SERVICE_RESTART
    assert get(limited)[0] == 200


def test_limit_below_what_the_application_needs_is_slowed_down(rolling):
    server = rolling()
    usual = worker_rss(server.worker_pids()[0])
    server.stop()
    server = rolling("--worker-memory-limit", int(usual * 0.8), "--graceful-timeout", 1)
    for wait_ms in (250, 500):
        server.log_has(rf"worker\.restart worker=0 wait_ms={wait_ms} ", 20)
    assert get(server)[0] == 200


# ---- that do not react ----


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_clients_of_a_worker_that_hangs_hear_of_it_within_a_second_of_the_verdict(rolling, fault):
    server = rolling("--workers", 2, "--worker-timeout", 1)
    websockets = [RawWebSocket(server) for _ in range(6)]
    pids = [pid_of(websocket) for websocket in websockets]
    hanging = start_request(server, "/hang")
    match = server.access_has(r"hanging (\d+)\n")
    victim = int(match[1])
    if fault == "stop":
        os.kill(victim, signal.SIGSTOP)
    server.log_has(rf"worker\.hung worker=\d pid={victim} timeout_ms=1000")
    verdict = time.monotonic()
    for websocket, pid in zip(websockets, pids):
        if pid == victim:
            assert websocket.wait_close() == SERVICE_RESTART
    assert read_response(hanging)[0] == 502
    assert time.monotonic() - verdict < 1
    for websocket, pid in zip(websockets, pids):
        if pid != victim:
            websocket.echo(b"still here")
    server.log_has(rf"worker\.exit worker=\d pid={victim} signal=9")
    assert get(server)[0] == 200


@pytest.mark.parametrize("where", ["import", "startup"])
def test_replacement_that_hangs_at_its_start_is_killed_and_tried_again(rolling, where):
    server = rolling("--worker-timeout", 1)
    old = server.worker_pids()[0]
    (server.folder / f"hold-{where}").touch()
    os.kill(old, signal.SIGKILL)
    match = server.access_has(r"(?:importing|starting) (\d+)\n")
    waiting = start_request(server, "/")
    websocket = RawWebSocket(server, handshake=False)
    hanging = int(match[1])
    server.log_has(rf"worker\.kill worker=0 pid={hanging} reason=\"it did not become ready: the import or", 20)
    server.log_has(rf"worker\.exit worker=0 pid={hanging} signal=9")
    (server.folder / f"hold-{where}").unlink()
    assert read_response(waiting)[0] == 200
    websocket.finish_handshake()
    websocket.echo(b"late but served")


def test_first_start_that_hangs_is_told(rolling, tmp_path):
    (tmp_path / "hold-startup").touch()
    server = rolling("--worker-timeout", 1, start=False)
    server.access_has(r"starting \d+\n")
    server.log_has(r"worker\.slow_start worker=0 pid=\d+ waited_ms=1\d\d\d reason=\"still in the import")
    server.log_has(r"(?s)worker\.slow_start.*worker\.slow_start")
    (tmp_path / "hold-startup").unlink()
    server.wait_ready()
    assert get(server)[0] == 200
    assert b"worker.kill" not in server.stderr.data


# ---- that die ----


def test_worker_killed_under_load_costs_its_own_clients_only(rolling):
    server = rolling("--workers", 2)
    witnesses = [RawWebSocket(server) for _ in range(20)]
    pids = [pid_of(websocket) for websocket in witnesses]
    with Load(server) as load:
        load.goes_on()
        victim = server.worker_pids()[0]
        waiting = [start_request(server, f"/wait/gate{i}") for i in range(4)]
        for i in range(4):
            server.access_has(rf"waiting gate{i} \d+\n")
        held = dict(re.findall(rb"waiting gate(\d) (\d+)\n", server.stdout.data))
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        for websocket, pid in zip(witnesses, pids):
            if pid == victim:
                assert websocket.wait_close() == SERVICE_RESTART
        mine = [i for i in range(4) if int(held[b"%d" % i]) == victim]
        for i in mine:
            assert read_response(waiting[i])[0] == 502
        assert time.monotonic() - killed < 1
        assert get(server)[0] == 200  # the next connection
        assert time.monotonic() - killed < 1
        for i in set(range(4)) - set(mine):
            (server.folder / f"gate{i}").touch()
            assert read_response(waiting[i])[0] == 200
        for websocket, pid in zip(witnesses, pids):
            if pid != victim:
                websocket.echo(b"nothing lost")
        server.log_has(rf"worker\.exit worker=\d pid={victim} signal=9")
        load.goes_on()
    assert load.failures == []
    # Of each of four threads one request at most was with it, and perhaps one more before every loop knew.
    assert set(load.statuses) <= {502}
    assert len(load.statuses) <= 8
    assert set(load.codes) <= {SERVICE_RESTART}
    assert len(mine) in range(1, 4)
