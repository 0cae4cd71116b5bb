# SPDX-License-Identifier: BSD-3-Clause
"""`channelsd layer …` for tests: commands run to their end, listeners in the background, and where the layer is."""

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from server import Output, binary

SECONDS = 20
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "XDG_RUNTIME_DIR")}


def layer(*arguments, text=None, env=None, seconds=SECONDS):
    """Runs a command to its end, which must come within `seconds`."""
    return subprocess.run(
        [binary(), "layer", *map(str, arguments)],
        input=text,
        env={**ENVIRONMENT, **(env or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def messages(done):
    """What a listener printed. Fails the test unless it ended well."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_until(is_so):
    """Fails the test unless it becomes so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_pipe(file):
    """The bytes that wait in a pipe."""
    return struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, b"\0" * 4))[0]


class Listener:
    """A `listen` or `group-listen` that runs in the background."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [binary(), "layer", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        self.errors = Output(self.process.stderr)

    def __enter__(self):
        return self

    def line(self):
        return json.loads(self.process.stdout.readline())

    def full_pipe(self):
        """Waits until it has written all that the pipe to us takes."""
        size = fcntl.fcntl(self.process.stdout, fcntl.F_GETPIPE_SZ)
        wait_until(lambda: in_pipe(self.process.stdout) > size - 2 * select.PIPE_BUF)

    def end(self):
        """Its exit status when it is told to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def blocks_signals(pid):
    """Whether the process takes its signals when it waits: it has begun. All are blocked where it is not yet the program."""
    mask = int(re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)
    return mask >> (signal.SIGTERM - 1) & 1 and not mask >> (signal.SIGUSR2 - 1) & 1


@contextlib.contextmanager
def a_place(request, tmp_path):
    """The arguments that name a layer: of a node without Redis, and Redis itself."""
    if request.param == "redis":
        redis = request.getfixturevalue("redis")
        redis.command("FLUSHALL")
        yield ["--redis", redis.url]
        return
    path = tmp_path / "layer.sock"
    process = subprocess.Popen(
        [binary(), "layer", "serve", "--layer-socket", path], stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    try:
        Output(process.stderr).wait_for("Serving the channel layer")
        yield ["--layer-socket", path]
    finally:
        process.terminate()
        assert process.wait(SECONDS) == 0
        assert not path.exists()
