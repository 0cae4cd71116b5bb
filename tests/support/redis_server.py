# SPDX-License-Identifier: BSD-3-Clause
"""A redis-server of its own for tests: nothing on disk, gone at the end."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

START_SECONDS = 10


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RedisServer:
    """`with RedisServer() as redis:` gives `url` (TCP), `socket_url` (unix socket) and command()."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="channelsd-redis-")
        self.path = str(Path(self._folder.name) / "redis.sock")
        self.socket_url = f"unix://{self.path}"
        self._process = None
        self._reader = None

    def __enter__(self):
        program = shutil.which("redis-server")
        assert program, "no redis-server on PATH: install it (apt-get install redis-server)"
        # Somebody else may take a free port before the server does: then it says so and another is tried.
        for _ in range(5):
            port = _free_port()
            if self._start(program, port):
                self.port = port
                self.url = f"redis://127.0.0.1:{port}/0"
                return self
        raise AssertionError("redis-server found no free port")

    def _start(self, program, port):
        self._process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", self.path]
            + ["--save", "", "--appendonly", "no", "--dir", self._folder.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        try:
            for line in self._process.stdout:
                if "eady to accept connections" in line:
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
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._folder.cleanup()

    def command(self, *words):
        """The answer to one command: str, int, None, or a list of these. Raises AssertionError for an error."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(START_SECONDS)
            client.connect(self.path)
            words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
            client.sendall(request)
            with client.makefile("rb") as answer:
                return self._read(answer)

    def _read(self, answer):
        line = answer.readline()
        kind, text = line[:1], line[1:].rstrip(b"\r\n")
        if kind == b"-":
            raise AssertionError(f"redis: {text.decode()}")
        if kind == b"+":
            return text.decode()
        size = int(text)
        if kind == b":":
            return size
        if size < 0:
            return None
        if kind == b"*":
            return [self._read(answer) for _ in range(size)]
        return answer.read(size + 2)[:-2].decode("utf-8", "backslashreplace")

    def blocked(self):
        """How many clients wait in a blocking command."""
        line = next(line for line in self.command("INFO", "clients").splitlines() if line.startswith("blocked_clients"))
        return int(line.partition(":")[2])

    def wait_blocked(self, count):
        """Returns when so many clients wait in a blocking command."""
        deadline = time.monotonic() + START_SECONDS
        while self.blocked() != count:
            assert time.monotonic() < deadline, f"{self.blocked()} clients wait, not {count}"
            time.sleep(0.005)

    def kill_blocked(self):
        """Cuts the connections of those that wait in a blocking command."""
        for line in self.command("CLIENT", "LIST").splitlines():
            client = dict(item.partition("=")[::2] for item in line.split())
            if "b" in client["flags"]:
                self.command("CLIENT", "KILL", "ID", client["id"])
