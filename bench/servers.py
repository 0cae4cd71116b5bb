# SPDX-License-Identifier: BSD-3-Clause
"""The servers that are measured, how each is started with one worker, and the private Redis of the channel layer."""

import contextlib
import dataclasses
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Optional

from bench import processes

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
STOP_SECONDS = 10
LOG_LINES = 5  # of a server that failed, in its error

CHANNELSD = ["{channelsd}", "-b", "127.0.0.1", "-p", "{port}", "-v", "0", "--python", "{bin}/python"]
UVICORN = ["{bin}/uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"]
GRANIAN = ["{bin}/granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"]


@dataclasses.dataclass(frozen=True)
class Server:
    """command: {bin} is the environment's bin folder, {channelsd} the binary, {port} and {app} what they say.
    scenarios: the only ones that it takes part in (None: all). layer: BENCH_LAYER of the project."""

    name: str
    command: list
    scenarios: Optional[tuple] = None
    note: str = ""
    layer: str = ""


SERVERS = [
    Server("daphne", ["{bin}/daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}", "{app}"]),
    Server(
        "uvicorn",
        [*UVICORN, "--ws", "websockets-sansio", "--no-access-log", "--log-level", "warning", "{app}"],
        note="uvloop, httptools, websockets-sansio",
    ),
    Server(
        "hypercorn",
        ["{bin}/hypercorn", "-b", "127.0.0.1:{port}", "-w", "1", "-k", "uvloop", "--log-level", "warning", "{app}"],
        note="uvloop",
    ),
    Server(
        "granian",
        [*GRANIAN, "--loop", "uvloop", "--ws", "--no-access-log", "--log-level", "warning", "{app}"],
        note="uvloop",
    ),
    Server("channelsd", [*CHANNELSD, "{app}"], note="as it comes"),
    Server(
        "channelsd-off",
        [*CHANNELSD, "--accelerate", "off", "{app}"],
        ("echo_w1", "echo_w8", "http", "connect", "connect_auth", "fanout", "fanout_redis"),
        "--accelerate off",
    ),
    Server("channelsd-full", [*CHANNELSD, "--accelerate", "full", "{app}"], ("http",), "--accelerate full"),
    Server(
        "channelsd-2",
        [*CHANNELSD, "--workers", "2", "{app}"],
        ("echo_w8", "fanout_redis", "fanout_redis_rate"),
        "--workers 2",
    ),
    Server(
        "channelsd-layer",
        [*CHANNELSD, "{app}"],
        ("fanout", "fanout_rate", "fanout_redis", "fanout_redis_rate", "fanout_marked", "fanout_marked_rate", "idle"),
        "channelsd's own channel layer",
        layer="channelsd",
    ),
]


class ServerError(Exception):
    """A server did not start or did not live; the text is one line and names its log."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _wait_until(is_up, process, name, log):
    """Returns when is_up() says so. Raises ServerError when the process ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not is_up():
        code = process.poll()
        if code is not None or time.monotonic() > deadline:
            what = f"ended with {code}" if code is not None else f"gave no answer within {START_SECONDS} s"
            raise ServerError(f"{name} did not start: it {what}: {_last_lines(log)} (log: {log})")
        time.sleep(0.05)


def _last_lines(log):
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-LOG_LINES:]) or "it wrote nothing"


def _spawn(command, name, log, **kwargs):
    """The process, leader of a session of its own, with its output in `log`."""
    with log.open("w") as output:
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **kwargs
            )
        except OSError as error:
            raise ServerError(f"{name} did not start: {command[0]}: {error.strerror}") from None


def _end(process):
    """SIGTERM, and SIGKILL for what is left of its session."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Running:
    """A server of SERVERS that answers HTTP requests, as a context manager."""

    def __init__(self, server, app, tools, redis_url=None):
        """tools: of Tools. Raises ServerError."""
        self.name = server.name
        self.port = free_port()
        self.log = tools.logs / f"{server.name}.log"
        words = {"bin": tools.venv / "bin", "channelsd": tools.channelsd, "port": self.port, "app": app}
        environment = {
            "PATH": f"{tools.venv / 'bin'}:{os.environ.get('PATH', '')}",
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{ROOT / 'bench' / 'app'}:{ROOT / 'python'}",
            "PYTHONPYCACHEPREFIX": str(tools.logs.parent / "pycache"),
            "DJANGO_SETTINGS_MODULE": "bench_project.settings",
            **({"BENCH_REDIS": redis_url} if redis_url else {}),
            **({"BENCH_LAYER": server.layer} if server.layer else {}),
        }
        command = [word.format(**words) for word in server.command]
        self.process = _spawn(command, self.name, self.log, cwd=ROOT / "bench" / "app", env=environment)
        try:
            _wait_until(self._answers, self.process, self.name, self.log)
        except BaseException:  # also an interrupt: it does not reach a session of its own
            _end(self.process)
            raise

    def _answers(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/json/")
            connection.getresponse().read()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def cpu_seconds(self):
        """Of the whole process tree. Raises ServerError when the server has ended."""
        if self.process.poll() is not None:
            raise ServerError(f"{self.name} ended with {self.process.returncode}: {_last_lines(self.log)}")
        return processes.cpu_seconds(self.process.pid)

    def pss_bytes(self):
        return processes.pss_bytes(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _end(self.process)


class Redis:
    """A Redis server of its own, without persistence, as a context manager."""

    def __init__(self, logs):
        program = shutil.which("redis-server")
        if program is None:
            raise ServerError("redis-server is not there (Debian: apt-get install redis-server)")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        log = logs / "redis.log"
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = _spawn(command, "redis-server", log, cwd=logs)
        try:
            _wait_until(self._answers, self.process, "redis-server", log)
        except BaseException:  # also an interrupt: it does not reach a session of its own
            _end(self.process)
            raise

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
        return False

    def cpu_seconds(self):
        return processes.cpu_seconds(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _end(self.process)
