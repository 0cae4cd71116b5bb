# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: the scenarios, and one run of one of them against one server."""

import contextlib
import dataclasses
import json
import subprocess
from pathlib import Path

from bench import servers

PROJECT, BARE = "bench_project.asgi:application", "bare:application"
BODY = '{"ok": true, "answer": 42}'
WARMUP_MS = 500
OPENING_MS = 1000  # idle: the least time of opening; it takes as long as it takes
DRAIN_MS = 15000  # what is not there so long after the last message was sent is lost
FILL_MS = 60000  # idle: for opening all
QUIET_MS = 5000  # what is not there when nothing came for so long is lost too
QUICK = ("--warmup-ms", "100", "--quiet-ms", "1500")
PATIENCE_SECONDS = 120  # for the generator, beyond the measured time


@dataclasses.dataclass(frozen=True)
class Scenario:
    """load: options of the load generator. unit: what is counted. small: what --quick puts in place of counts."""

    name: str
    title: str
    unit: str
    kind: str
    load: tuple
    app: str = PROJECT
    redis: bool = False
    small: tuple = ()

    @property
    def is_memory(self):
        return self.kind == "idle"


def _echo(name, title, window, path="/ws/echo/", app=PROJECT):
    load = ("--path", path, "--connections", "100", "--window", str(window))
    return Scenario(name, title, "message", "echo", load, app, small=("--connections", "10"))


def _http(name, title, app=PROJECT):
    load = ("--path", "/json/", "--connections", "64", "--expect", BODY)
    return Scenario(name, title, "request", "http", load, app, small=("--connections", "8"))


def _connect(name, title, path="/ws/echo/", app=PROJECT):
    load = ("--path", path, "--connections", "32")
    return Scenario(name, title, "handshake", "connect", load, app, small=("--connections", "4"))


def _fanout(name, title, how, redis, path="/ws/member/"):
    load = ("--path", path, "--publish-path", "/ws/publish/", "--json", "--connections", "1000", *how)
    return Scenario(name, title, "delivery", "fanout", load, redis=redis, small=("--connections", "20"))


def _idle(name, title, app=PROJECT):
    load = ("--path", "/ws/echo/", "--connections", "5000")
    return Scenario(name, title, "WebSocket", "idle", load, app, small=("--connections", "100"))


MARKED = "/ws/marked/"
SATURATED, BY_CLOCK = ("--window", "2"), ("--rate", "25")

SCENARIOS = [
    _echo("echo_w1", "Echo, 100 clients, 1 message on the way each", 1),
    _echo("echo_w8", "Echo, 100 clients, 8 messages on the way each", 8),
    _fanout("fanout", "Group of 1,000, in-memory layer, as fast as it goes", SATURATED, False),
    _fanout("fanout_rate", "Group of 1,000, in-memory layer, 25 messages a second", BY_CLOCK, False),
    _fanout("fanout_redis", "Group of 1,000, channels_redis, as fast as it goes", SATURATED, True),
    _fanout("fanout_redis_rate", "Group of 1,000, channels_redis, 25 messages a second", BY_CLOCK, True),
    _fanout("fanout_marked", "Group of 1,000, channels_redis, handler marked @fanout", SATURATED, True, MARKED),
    _fanout("fanout_marked_rate", "The same at 25 messages a second", BY_CLOCK, True, MARKED),
    _http("http", "HTTP: a small JSON view of Django"),
    _connect("connect", "Open and close a WebSocket"),
    _connect("connect_auth", "Open and close a WebSocket behind AuthMiddlewareStack", "/ws/auth/"),
    _idle("idle", "Idle WebSocket, one of 5,000"),
    _echo("bare_echo_w1", "Echo, 100 clients, 1 message on the way each", 1, app=BARE),
    _echo("bare_echo_w8", "Echo, 100 clients, 8 messages on the way each", 8, app=BARE),
    _http("bare_http", "HTTP: 26 bytes of JSON", app=BARE),
    _connect("bare_connect", "Open and close a WebSocket", app=BARE),
    _idle("bare_idle", "Idle WebSocket, one of 5,000", app=BARE),
]


class LoadError(Exception):
    """The load generator gave no result; the text is one line."""


@dataclasses.dataclass(frozen=True)
class Tools:
    """Paths of what a run needs: binaries, the servers' environment, the folder of their logs."""

    channelsd: Path
    load: Path
    venv: Path
    logs: Path


class Probe:
    """Reads the server, and Redis if there is one, at the two marks of a run."""

    def __init__(self, running, redis, reads_memory):
        self.running, self.redis, self.reads_memory = running, redis, reads_memory
        self.marks = []

    def read(self):
        self.marks.append(
            (
                self.running.cpu_seconds(),
                self.redis.cpu_seconds() if self.redis else 0.0,
                self.running.pss_bytes() if self.reads_memory else 0,
            )
        )

    def differences(self):
        """CPU seconds of the server, of Redis, and bytes that the server grew, between the marks."""
        begin, end = self.marks
        return tuple(later - earlier for earlier, later in zip(begin, end))


def _drive(command, probe, seconds):
    """Runs the load generator in lock-step with the probe. Returns its result. Raises LoadError, ServerError."""
    generator = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    result = None
    try:
        for line in generator.stdout:  # the generator bounds its own time
            word, _, rest = line.partition(" ")
            if word == "mark":
                probe.read()  # first of all: nothing is on the way now
                generator.stdin.write("\n")
                generator.stdin.flush()
            elif word == "result":
                result = json.loads(rest)
        _, errors = generator.communicate(timeout=seconds + PATIENCE_SECONDS)
    finally:
        generator.kill()
        generator.wait()
        for stream in (generator.stdin, generator.stdout, generator.stderr):
            with contextlib.suppress(OSError):
                stream.close()
    if result is None:
        raise LoadError(f"the load generator gave no result: {errors.strip() or generator.returncode}")
    return result


def run(scenario, server, tools, seconds, quick=False):
    """Starts the server afresh, measures once, stops it. Returns a dict: what the generator reports, and
    cpu_us: CPU time of the server's process tree for each unit; redis_us: of Redis;
    kib: for idle scenarios, memory of the tree for each WebSocket.
    Raises ServerError, LoadError."""
    command = [str(tools.load), scenario.kind, "--lockstep", *scenario.load]
    command += ["--limit-ms", str(FILL_MS if scenario.is_memory else DRAIN_MS)]
    command += ["--measure-ms", str(OPENING_MS if scenario.is_memory else round(seconds * 1000))]
    command += ["--warmup-ms", str(WARMUP_MS), "--quiet-ms", str(QUIET_MS)]
    command += [*QUICK, *scenario.small] if quick else []
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(servers.Redis(tools.logs)) if scenario.redis else None
        running = stack.enter_context(servers.Running(server, scenario.app, tools, redis.url if redis else None))
        probe = Probe(running, redis, scenario.is_memory)
        result = _drive([*command, "--port", str(running.port)], probe, seconds)
    cpu, redis_cpu, grown = probe.differences()
    units = result["units"]
    result["cpu_us"] = cpu / units * 1e6 if units else None
    result["redis_us"] = redis_cpu / units * 1e6 if units and redis else None
    result["kib"] = grown / units / 1024 if units and scenario.is_memory else None
    return {**result, "scenario": scenario.name, "server": server.name}
