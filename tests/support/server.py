# SPDX-License-Identifier: BSD-3-Clause
"""Runs the real binary for a test: starts it on a free port, waits until it listens, collects its logs, and fails the
test if it ended badly or a sanitizer complained.

The binary is $CHANNELSD_BIN (default build/dev/channelsd, else build/release/channelsd), the workers' interpreter
$CHANNELSD_PYTHON (default: the one that runs the tests)."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ROOT / "tests" / "integration" / "apps"
RELEASE = ROOT / "build" / "release" / "channelsd"
START_SECONDS = 30
STOP_SECONDS = 20
SANITIZER = re.compile(rb"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|UndefinedBehaviorSanitizer)")


def binary(measured=False):
    """Path of the server to test. Raises AssertionError naming what is missing.

    measured: its memory is looked at. What a sanitizer adds to it hides what is asked for, so this is the release build,
    where there is one.
    """
    if measured and RELEASE.is_file():
        return RELEASE
    named = os.environ.get("CHANNELSD_BIN")
    candidates = [Path(named)] if named else [ROOT / "build" / kind / "channelsd" for kind in ("dev", "release")]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    raise AssertionError(f"no channelsd at {', '.join(map(str, candidates))}: build it (make dev) or set CHANNELSD_BIN")


class Output:
    """Collects one stream of the server in a thread; waiting is on new bytes, never on time alone."""

    def __init__(self, stream):
        self.data = bytearray()
        self.ended = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream):
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                with self.changed:
                    self.data += chunk
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, pattern, seconds=10, start=0):
        """The first match of the bytes pattern at or behind `start`. Raises AssertionError with what there is."""
        pattern = re.compile(pattern if isinstance(pattern, bytes) else pattern.encode())
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                match = pattern.search(self.data, start)
                if match:
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError(f"not seen in {seconds} s: {pattern.pattern!r}\n{self.text()}")
                self.changed.wait(left)

    def text(self):
        return bytes(self.data).decode("utf-8", "replace")


class Channelsd:
    """One server process. `arguments` stand before the application; `app` is module:object in `cwd`. `prefix` is a command
    that executes the server (prlimit); `stdout` and `stderr` are what Popen takes, collected if they are pipes."""

    def __init__(
        self,
        app,
        *arguments,
        cwd=APPS,
        env=None,
        tcp=True,
        start=True,
        expect_exit=0,
        workers_python=None,
        prefix=(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        measured=False,
    ):
        self.measured = measured
        self.expect_exit = expect_exit
        self.port = None
        self.sockets = []  # of clients; closed at the end of the test
        self.command = [*prefix, *self.program()]
        if tcp:
            self.command += ["-b", "127.0.0.1", "-p", "0"]
        self.command += [*map(str, arguments)]
        if app is not None:
            self.command.append(app)
        self.env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        self.env.setdefault("CHANNELSD_PYTHON", sys.executable)
        if workers_python:
            self.env["CHANNELSD_PYTHON"] = workers_python
        self.env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        self.env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1:exitcode=99")
        self.env.update(env or {})
        self.process = subprocess.Popen(
            self.command,
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.stdout = Output(self.process.stdout or open(os.devnull, "rb"))
        self.stderr = Output(self.process.stderr or open(os.devnull, "rb"))
        if start:
            try:
                self.wait_ready()
            except BaseException:
                self.kill_group()
                raise

    def program(self):
        return [str(binary(self.measured))]

    def wait_ready(self):
        match = self.stderr.wait_for(rb"Listening on (?:TCP address \S*:(\d+)|unix socket)", START_SECONDS)
        if match[1]:
            self.port = int(match[1])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self):
        return f"ws://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def connect(self, timeout=10):
        """A plain TCP socket to the server."""
        return self.keep(socket.create_connection(("127.0.0.1", self.port), timeout))

    def keep(self, sock):
        """Has the socket closed at the end of the test; returns it."""
        self.sockets.append(sock)
        return sock

    def signal(self, number):
        self.process.send_signal(number)

    def log_has(self, pattern, seconds=10, start=0):
        return self.stderr.wait_for(pattern, seconds, start)

    def access_has(self, pattern, seconds=10, start=0):
        return self.stdout.wait_for(pattern, seconds, start)

    def worker_pids(self):
        """Process ids of the workers that run now."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def rss_bytes(self):
        """Resident memory of the edge process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def wait_exit(self, seconds=STOP_SECONDS):
        code = self.process.wait(seconds)
        self.stdout.thread.join(seconds)
        self.stderr.thread.join(seconds)
        return code

    def kill_group(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM, and the checks that every server must pass at its end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.wait_exit()
        except subprocess.TimeoutExpired:
            self.kill_group()
            raise AssertionError(
                f"the server did not end {STOP_SECONDS} s after SIGTERM\n{self.stderr.text()}"
            ) from None
        finally:
            self.kill_group()
        assert not SANITIZER.search(self.stderr.data), self.stderr.text()
        assert code == self.expect_exit, f"exit code {code}, expected {self.expect_exit}\n{self.stderr.text()}"
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for sock in self.sockets:
            sock.close()
        if kind is None:
            self.stop()
        else:
            self.kill_group()
            print(self.stderr.text(), file=sys.stderr)


class Daphne(Channelsd):
    """The server that channelsd replaces, run the same way: what is the same is measured on both."""

    def __init__(self, app, *arguments, env=None, **kwargs):
        super().__init__(app, *arguments, env={"PYTHONUNBUFFERED": "1", **(env or {})}, **kwargs)

    def program(self):
        return [sys.executable, "-m", "daphne"]


def read_response(sock, method="GET"):
    """Reads one HTTP/1 response from a socket: (status, headers dict lower-case, body bytes, rest bytes)."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(65536)
        if not chunk:
            raise ConnectionError(f"ended in the head of a response: {data!r}")
        data += chunk
    head, rest = data.split(b"\r\n\r\n", 1)
    lines = head.split(b"\r\n")
    status = int(lines[0].split()[1])
    headers = {}
    for line in lines[1:]:
        name, value = line.split(b":", 1)
        headers[name.strip().lower().decode()] = value.strip().decode("latin-1")
    if method == "HEAD" or status in (204, 304) or status < 200:
        return status, headers, b"", rest
    if headers.get("transfer-encoding") == "chunked":
        return (status, headers, *_read_chunks(sock, rest))
    if "content-length" in headers:
        length = int(headers["content-length"])
        while len(rest) < length:
            chunk = sock.recv(65536)
            if not chunk:
                raise ConnectionError(f"body ended after {len(rest)} of {length} bytes")
            rest += chunk
        return status, headers, rest[:length], rest[length:]
    while chunk := sock.recv(65536):
        rest += chunk
    return status, headers, rest, b""


def _read_chunks(sock, data):
    body = b""
    while True:
        while b"\r\n" not in data:
            data += _more(sock)
        size, data = data.split(b"\r\n", 1)
        count = int(size, 16)
        while len(data) < count + 2:
            data += _more(sock)
        body += data[:count]
        data = data[count + 2 :]
        if count == 0:
            return body, data


def _more(sock):
    chunk = sock.recv(65536)
    if not chunk:
        raise ConnectionError("ended in a chunked body")
    return chunk
