# SPDX-License-Identifier: BSD-3-Clause
"""What clients see when a worker dies, hangs, breaks its links or cannot start again."""

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from memory import MIB
from rawws import RawWebSocket, file_count, request, wait_until
from server import read_response

SERVICE_RESTART = 1012
APP = "faults:application"


@pytest.fixture
def faulty(serve, tmp_path):
    """Starts the faulty application; `server.folder` is where it looks for files."""

    def start(*arguments, **keywords):
        keywords["env"] = {"FAULTS_DIR": str(tmp_path), **keywords.get("env", {})}
        server = serve(APP, *arguments, **keywords)
        server.folder = tmp_path
        return server

    return start


def get(server, path="/", timeout=10):
    """(status, body) of one request on a connection of its own."""
    with server.connect(timeout) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        status, _, body, _ = read_response(sock)
        return status, body


def start_request(server, path):
    """A connection on which the request was sent and no answer read."""
    sock = server.connect()
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return sock


def pid_of(websocket):
    websocket.send(1, b"pid")
    return int(websocket.receive()[1])


def assert_serves(server):
    """A new request and a new WebSocket are served; those that come before the new worker is ready wait for it."""
    status, _ = get(server)
    assert status == 200
    websocket = RawWebSocket(server)
    websocket.echo(b"again")
    websocket.close()


class Load:
    """Requests and messages in threads, until stopped; counts what came back."""

    def __init__(self, server, threads=2):
        self.server = server
        self.statuses = {}
        self.codes = []
        self.cut = 0
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._requests) for _ in range(threads)]
        self.threads += [threading.Thread(target=self._messages) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _requests(self):
        while not self.stopping.is_set():
            try:
                status, _ = get(self.server)
            except ConnectionError:
                with self.lock:
                    self.cut += 1
                continue
            with self.lock:
                self.statuses[status] = self.statuses.get(status, 0) + 1

    def _messages(self):
        while not self.stopping.is_set():
            with contextlib.suppress(ConnectionError):
                websocket = RawWebSocket(self.server)
                try:
                    while not self.stopping.is_set():
                        websocket.send(1, b"load")
                        opcode, payload = websocket.receive()
                        if opcode == 8:
                            self.codes.append(int.from_bytes(payload[:2], "big"))
                            break
                finally:
                    websocket.close()

    def wait_answers(self, count, status=200, seconds=10):
        wait_until(lambda: self.statuses.get(status, 0) >= count, seconds, f"{count} answers {status}")

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(15)
            assert not thread.is_alive(), "a client hangs"


def test_clients_of_a_killed_worker_hear_of_it_within_a_second(faulty):
    server = faulty()
    websockets = [RawWebSocket(server) for _ in range(10)]
    waiting = [start_request(server, f"/wait/{i}") for i in range(5)]
    begun = [start_request(server, f"/begin/{i}") for i in range(5)]
    for i in range(5):
        server.access_has(rf"waiting {i}\n")
        server.access_has(rf"begun {i}\n")
    for sock in begun:
        assert b"half" in sock.recv(65536)
    killed = time.monotonic()
    os.kill(pid_of(websockets[0]), signal.SIGKILL)
    for websocket in websockets:
        assert websocket.wait_close() == SERVICE_RESTART
    for sock in waiting:
        assert read_response(sock)[0] == 502
    for sock in begun:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(65536) == b""
    assert time.monotonic() - killed < 1
    assert_serves(server)
    server.log_has(r"worker\.exit worker=0 pid=\d+ signal=9")


def test_worker_killed_under_load_costs_only_what_was_in_flight(faulty):
    server = faulty()
    load = Load(server)
    for _ in range(3):
        before = load.statuses.get(200, 0)
        load.wait_answers(before + 20)
        worker = server.worker_pids()[0]
        os.kill(worker, signal.SIGKILL)
        server.log_has(rf"worker\.exit worker=0 pid={worker} signal=9")
    load.wait_answers(load.statuses.get(200, 0) + 20)
    load.stop()
    assert set(load.statuses) <= {200, 502}
    # Of each of two threads one request at each end, and perhaps the next: another edge may see the end a little later.
    assert load.statuses.get(502, 0) + load.cut <= 3 * 2 * 2
    assert set(load.codes) <= {SERVICE_RESTART}


def test_clients_of_the_other_worker_notice_nothing(faulty):
    server = faulty("--workers", 2)
    websockets = [RawWebSocket(server) for _ in range(20)]
    pids = [pid_of(websocket) for websocket in websockets]
    victim = pids[0]
    assert len(set(pids)) == 2
    os.kill(victim, signal.SIGKILL)
    for websocket, pid in zip(websockets, pids):
        if pid == victim:
            assert websocket.wait_close() == SERVICE_RESTART
        else:
            websocket.echo(b"still here")
    assert get(server)[0] == 200
    server.log_has(r"(?s)worker\.exit.*worker\.ready")
    assert len(server.worker_pids()) == 2
    for websocket, pid in zip(websockets, pids):
        if pid != victim:
            websocket.echo(b"and still")


def test_requests_wait_while_no_worker_is_ready(faulty):
    server = faulty()
    (server.folder / "broken-import").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.log_has(r"worker\.exit worker=0 pid=\d+ code=3")
    waiting = [start_request(server, "/") for _ in range(10)]
    handshakes = [RawWebSocket(server, handshake=False) for _ in range(10)]
    server.log_has(r"worker\.restart worker=0 wait_ms=250")
    (server.folder / "broken-import").unlink()
    for sock in waiting:
        assert read_response(sock)[0] == 200
    for websocket in handshakes:
        websocket.finish_handshake()
        websocket.echo(b"late but served")


def test_clients_that_left_while_no_worker_was_ready_are_not_served(faulty):
    """They leave, and a worker becomes ready, in the same turn of the loop."""
    server = faulty("--edge-loops", "1")
    (server.folder / "slow-import").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.access_has(rb"importing\n")
    files = file_count(server.pid)
    waiting = [start_request(server, "/begin/1") for _ in range(10)]
    waiting += [RawWebSocket(server, "/stream", handshake=False).socket for _ in range(10)]
    wait_until(lambda: file_count(server.pid) >= files + len(waiting), what="all accepted")
    get_nothing = start_request(server, "/")  # behind the others in every queue of the loop
    server.signal(signal.SIGSTOP)
    for sock in waiting:
        sock.close()
    (server.folder / "slow-import").unlink()
    pid = server.worker_pids()[0]
    wait_until((server.folder / f"ready-{pid}").exists, what="READY is on the link")
    server.signal(signal.SIGCONT)
    assert read_response(get_nothing)[0] == 200
    assert_serves(server)


def test_what_waits_for_a_worker_that_is_stopped_has_a_ceiling(faulty):
    """Clients ask for much and leave, one after the other; the worker reads nothing of it."""
    server = faulty("--edge-loops", "1", measured=True)
    assert_serves(server)
    before = server.rss_bytes()
    worker = server.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)
    head = b"GET /gone HTTP/1.1\r\nHost: test\r\nX-Much: " + b"x" * 60_000 + b"\r\n\r\n"
    files = file_count(server.pid)

    def come_and_go():
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
                sock.sendall(head)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves by a reset
        wait_until(lambda: file_count(server.pid) <= files, 5, "all have left")
        return server.rss_bytes() - before

    # A reset also takes away what the edge has not read yet: until much was read.
    wait_until(lambda: come_and_go() > 3 * MIB, 60, "requests wait")
    for _ in range(20):
        assert come_and_go() < 16 * MIB
    waiting = start_request(server, "/")
    os.kill(worker, signal.SIGCONT)
    assert read_response(waiting)[0] == 200
    assert_serves(server)


def test_response_with_too_many_headers_costs_that_response_only(faulty):
    server = faulty()
    websocket = RawWebSocket(server)
    pid = pid_of(websocket)
    assert get(server, "/headers/512")[0] == 200
    assert get(server, "/headers/513")[0] == 500
    server.log_has("ValueError: A response of 513 headers")
    assert pid_of(websocket) == pid


def test_subprotocol_that_fits_no_record_costs_that_handshake_only(faulty):
    server = faulty("--max-header-bytes", "200000")
    pid = server.worker_pids()
    name = b"p" * 70_000
    with server.connect() as sock:
        offer = b"Sec-WebSocket-Protocol: %s\r\n\r\n" % name
        sock.sendall(request("/subprotocol").removesuffix(b"\r\n") + offer)
        assert read_response(sock)[0] == 500
    assert get(server)[0] == 200
    assert server.worker_pids() == pid


@pytest.mark.parametrize(
    ("fault", "trace"),
    [
        ("exit/0", r"worker\.exit worker=0 pid=\d+ code=0"),
        ("exit/5", r"worker\.exit worker=0 pid=\d+ code=5"),
        ("segfault", r"worker\.exit worker=0 pid=\d+ signal=11"),
        ("kill/6", r"worker\.exit worker=0 pid=\d+ signal=6"),
        ("close-links", r"worker\.exit worker=0 pid=\d+ "),
        ("close-link", r"worker\.exit worker=0 pid=\d+ code=1"),
        ("garbage/c1", r"(?s)link\.broken process=1 .*worker\.exit"),  # no msgpack
        ("garbage/9100", r"worker\.exit worker=0 pid=\d+ "),  # READY without its items
        ("garbage/93000101", r"served"),  # READY again
        ("garbage/9200ff", r"worker\.exit worker=0 pid=\d+ "),
        ("garbage/94cd7fff0101c3", r"worker\.exit worker=0 pid=\d+ "),  # an unknown operation
        ("garbage/9402cf7fffffffffffffffc400c3", r"served"),  # a body for an id that never was: dropped
        ("garbage/dd7fffffff", r"worker\.exit worker=0 pid=\d+ "),  # an array of 2^31 items
        ("garbage/9204c67fffffff", r"worker\.exit worker=0 pid=\d+ "),  # 2 GB of content
        ("garbage/" + "91" * 400, r"worker\.exit worker=0 pid=\d+ "),  # deep
    ],
)
def test_worker_that_ends_or_breaks_its_links_is_replaced(faulty, fault, trace):
    server = faulty()
    websocket = RawWebSocket(server)
    neighbour = RawWebSocket(server)
    websocket.send(1, b"!" + fault.encode())
    if trace == "served":
        websocket.echo(b"on")
        neighbour.echo(b"on")
        return
    assert websocket.wait_close() == SERVICE_RESTART
    assert neighbour.wait_close() == SERVICE_RESTART
    server.log_has(trace)
    assert_serves(server)


def test_sys_exit_in_a_consumer_ends_that_consumer_only(faulty):
    server = faulty()
    neighbour = RawWebSocket(server)
    victim = RawWebSocket(server)
    victim.send(1, b"!sysexit")
    assert victim.wait_close() == 1011
    assert get(server, "/sysexit")[0] == 500
    neighbour.echo(b"still here")


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_worker_that_does_not_react_is_replaced(faulty, fault):
    server = faulty("--worker-timeout", 1)
    websocket = RawWebSocket(server)
    request = start_request(server, "/wait/for-ever")
    server.access_has(r"waiting for-ever\n")
    websocket.send(1, b"!" + fault.encode())
    websocket.send(1, b"never answered")
    assert websocket.wait_close() == SERVICE_RESTART
    assert read_response(request)[0] == 502
    server.log_has(r"worker\.hung worker=0 pid=\d+ timeout_ms=1000")
    assert_serves(server)


def test_server_that_was_suspended_does_not_take_its_worker_for_hung(faulty):
    server = faulty("--worker-timeout", 1, "--ping-interval", 1, "--ping-timeout", 1)
    websocket = RawWebSocket(server)
    worker = pid_of(websocket)
    server.signal(signal.SIGSTOP)
    os.kill(worker, signal.SIGSTOP)
    time.sleep(3)  # that long nobody ran
    websocket.send(10)  # what a client said meanwhile counts
    server.signal(signal.SIGCONT)
    os.kill(worker, signal.SIGCONT)
    websocket.send(1, b"pid")
    opcode = 9
    while opcode == 9:
        opcode, payload = websocket.receive()
    assert (opcode, payload) == (1, str(worker).encode())
    assert b"worker.hung" not in server.stderr.data


def test_crash_loop_is_slowed_down_and_ends_with_the_repair(faulty):
    """Takes four pauses that double from 250 ms."""
    server = faulty()
    (server.folder / "exit-import").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    for wait_ms in (250, 500, 1000, 2000):
        server.log_has(rf"worker\.restart worker=0 wait_ms={wait_ms} ")
    request = start_request(server, "/")
    (server.folder / "exit-import").unlink()
    assert read_response(request)[0] == 200
    assert server.stderr.data.count(b"worker.exit") == 5


def test_worker_that_dies_in_its_lifespan_startup_is_tried_again(faulty):
    server = faulty()
    (server.folder / "exit-startup").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.log_has(r"worker\.exit worker=0 pid=\d+ code=9")
    (server.folder / "exit-startup").unlink()
    assert_serves(server)


def test_worker_without_its_output_serves_on(faulty):
    server = faulty()
    websocket = RawWebSocket(server)
    worker = pid_of(websocket)
    websocket.send(1, b"!close-output")
    websocket.echo(b"quietly")
    assert get(server)[0] == 200
    assert pid_of(websocket) == worker


def test_first_start_that_fails_ends_the_server_with_the_reason(faulty, tmp_path):
    (tmp_path / "broken-import").touch()
    server = faulty("--workers", 2, start=False, expect_exit=1)
    assert server.wait_exit(10) == 1
    assert b"the application is broken" in server.stderr.data
    assert b"Listening" not in server.stderr.data


def test_child_processes_of_an_application_do_not_hold_up_the_end(faulty):
    """A child inherits the worker's output: its end of the pipe stays open when the worker is gone."""
    server = faulty()
    seconds = f"30.{os.getpid()}"
    assert get(server, f"/child/{seconds}")[0] == 200
    assert get(server, "/exit/4")[0] == 502
    server.log_has(r"worker\.exit worker=0 pid=\d+ code=4")
    assert_serves(server)
    assert get(server, f"/child/{seconds}")[0] == 200
    server.signal(signal.SIGTERM)
    assert server.process.wait(5) == 0
    children = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if command(pid) == f"sleep {seconds}"]
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert len(children) >= 2


def command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
    return ""


SUBREAPER = """
import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
# The application leaves a program behind, which ends when the reader of its output is gone.
PARENTING = """
import os, subprocess, sys
LEFT = [sys.executable, "-c", "import os, sys; sys.stdin.read()"]
READ, WRITE = os.pipe()
child = os.fork()
if child == 0:
    print("left", subprocess.Popen(LEFT, stdin=READ).pid, flush=True)
    os._exit(0)
os.waitpid(child, 0)
os.close(READ)

async def application(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/end":
        os.close(WRITE)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers are Linux's")
def test_what_a_worker_leaves_behind_is_waited_for_by_process_1(serve, tmp_path):
    """Process 1 of a container gets orphans as a subreaper does."""
    (tmp_path / "parenting.py").write_text(PARENTING)
    server = serve("parenting:application", cwd=tmp_path, prefix=(sys.executable, "-c", SUBREAPER))
    left = int(server.stdout.wait_for(rb"left (\d+)")[1])
    status = Path(f"/proc/{left}/stat")
    assert int(status.read_text().rpartition(")")[2].split()[1]) == server.process.pid, "it is the server's"
    assert get(server, "/end")[0] == 204
    wait_until(lambda: not status.exists(), 10, "nothing is left of it")
    worker = int(server.stderr.wait_for(rb"worker\.ready worker=0 pid=(\d+)")[1])
    os.kill(worker, signal.SIGKILL)
    server.stderr.wait_for(rb"worker\.exit worker=0 pid=%d signal=9" % worker)
