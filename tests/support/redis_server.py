# SPDX-License-Identifier: BSD-3-Clause
"""A redis-server of its own for tests: nothing on disk, gone at the end.

It is the redis-server on the PATH, of any version from 5. What an old one lacks ends a test as skipped, but only where
scripts/check_server.sh runs it (CHANNELSD_OTHER_REDIS is set): the usual server lacks nothing."""

import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

START_SECONDS = 10


def program():
    """The redis-server on the PATH."""
    found = shutil.which("redis-server")
    assert found, "no redis-server on PATH: install it (apt-get install redis-server)"
    return found


@functools.cache
def version():
    """Its version, as (6, 2). Valkey's is its own: it began with 7.2 and can what Redis of that version can."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r" v=(\d+)\.(\d+)", said).groups()))


@functools.cache
def has_tls():
    # Without a certificate it ends at once, and says so when it knows what that is.
    words = [program(), "--port", "0", "--tls-port", str(free_port())]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=START_SECONDS)
    return "No tls-cert-file" in ended.stdout


def need(has, what):
    """Ends the test as skipped when the server does not have `what`: see the top of this file."""
    if not has:
        other = os.environ.get("CHANNELSD_OTHER_REDIS")
        assert other, f"the redis-server on the PATH lacks {what}"
        pytest.skip(f"{other} lacks {what}")


def free_port():
    """A TCP port of this host that nobody has at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RedisError(AssertionError):
    """The server answered a command of the test with an error."""


class RedisServer:
    """`with RedisServer() as redis:` gives `url` (TCP), `socket_url` (unix socket) and command(). `arguments` are the
    server's own; a word {folder} in one is the folder that is gone at the end. It can be killed and started again
    (at the same port, empty), and stopped for a while."""

    MODE = ()

    def __init__(self, *arguments):
        self._folder = tempfile.TemporaryDirectory(prefix="channelsd-redis-")
        self.folder = Path(self._folder.name)
        self.path = str(self.folder / "redis.sock")
        self.socket_url = f"unix://{self.path}"
        self._arguments = [argument.format(folder=self.folder) for argument in arguments]
        self._process = None
        self._reader = None

    def __enter__(self):
        # Somebody else may take a free port before the server does: then it says so and another is tried.
        for _ in range(5):
            self.port = free_port()
            if self._start():
                self.url = f"redis://127.0.0.1:{self.port}/0"
                return self
        self._folder.cleanup()
        raise AssertionError(f"redis-server did not start:\n{self._said}")

    def _command_line(self):
        return ["--save", "", "--appendonly", "no"]

    def _start(self):
        self._said = ""
        self._process = subprocess.Popen(
            [program(), *self._command_line(), "--port", str(self.port), "--bind", "127.0.0.1"]
            + ["--unixsocket", self.path, "--dir", self._folder.name, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        try:
            for line in self._process.stdout:
                self._said += line
                if "eady to accept connections" in line or "monitor master" in line:
                    # What it says later must not fill the pipe.
                    self._reader = threading.Thread(target=self._process.stdout.read)
                    self._reader.start()
                    return True
        finally:
            watchdog.cancel()
        self._process.wait()
        self._process.stdout.close()
        return False

    def __exit__(self, *_):
        self.kill()
        self._folder.cleanup()

    def kill(self):
        """As a machine that loses its power; what was in it is gone. Does nothing when it does not run."""
        if self._process.stdout.closed:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def start_again(self):
        """After kill(): the same port, with nothing in it."""
        assert self._start(), f"redis-server could not have port {self.port} again:\n{self._said}"

    def pause(self):
        """Connections stay and are made, nothing is answered, until resume()."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words):
        """The answer to one command: str, int, None, or a list of these. Raises RedisError for an error."""
        return _readable(self.raw(*words))

    def raw(self, *words):
        """The same with bytes as they are."""
        return self.pipeline([words])[0]

    def pipeline(self, commands):
        """The answers to many commands, as bytes. Raises RedisError for the first error."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(START_SECONDS)
            client.connect(self.path)
            request = bytearray()
            for words in commands:
                words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
                request += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

            # The server answers before it has read all: who only writes would wait for it for ever.
            def write():
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who reads finds out
                    client.sendall(request)

            writer = threading.Thread(target=write)
            writer.start()
            try:
                with client.makefile("rb") as answer:
                    return [self._read(answer) for _ in commands]
            finally:
                client.shutdown(socket.SHUT_RDWR)
                writer.join()

    def _read(self, answer):
        line = answer.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("redis closed the connection")
        kind, text = line[:1], line[1:].rstrip(b"\r\n")
        if kind == b"-":
            raise RedisError(f"redis: {text.decode()}")
        if kind == b"+":
            return text
        size = int(text)
        if kind == b":":
            return size
        if size < 0:
            return None
        if kind == b"*":
            return [self._read(answer) for _ in range(size)]
        return answer.read(size + 2)[:-2]

    def info(self, section):
        """INFO as a dict of str."""
        lines = self.command("INFO", section).splitlines()
        return dict(line.partition(":")[::2] for line in lines if ":" in line)

    def calls(self):
        """How often each command was called since the server started (or CONFIG RESETSTAT), by its lower-case name. What a
        script or a transaction calls counts too."""
        return {
            name.removeprefix("cmdstat_"): int(text.partition("calls=")[2].partition(",")[0])
            for name, text in self.info("commandstats").items()
        }

    def blocked(self):
        """How many clients wait in a blocking command."""
        return int(self.info("clients")["blocked_clients"])

    def wait_blocked(self, count):
        """Returns when so many clients wait in a blocking command."""
        self.wait_until(lambda: self.blocked() == count, f"{count} clients wait")

    def wait_until(self, condition, what, seconds=START_SECONDS):
        """Returns when condition() is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
            time.sleep(0.005)

    def clients(self):
        """CLIENT LIST as dicts, without the one that asks."""
        own, text = self.pipeline([("CLIENT", "ID"), ("CLIENT", "LIST")])
        clients = [dict(item.partition("=")[::2] for item in line.split()) for line in text.decode().splitlines()]
        return [client for client in clients if client["id"] != str(own)]

    def kill_blocked(self):
        """Cuts the connections of those that wait in a blocking command."""
        for client in self.clients():
            if "b" in client["flags"]:
                self.command("CLIENT", "KILL", "ID", client["id"])

    def kill_clients(self):
        """Cuts every connection but those of this class."""
        for client in self.clients():
            with contextlib.suppress(RedisError):  # one that left by itself
                self.command("CLIENT", "KILL", "ID", client["id"])


def _readable(answer):
    if isinstance(answer, list):
        return [_readable(item) for item in answer]
    return answer.decode("utf-8", "backslashreplace") if isinstance(answer, bytes) else answer
