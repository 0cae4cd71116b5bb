# SPDX-License-Identifier: BSD-3-Clause
"""A process that uses the channel layer, as the node sees it: the records of docs/layer-protocol.md over its socket,
written and read by hand, so that the node is tested against the page and not against our Python package."""

import os
import select
import socket
import subprocess
import time

import msgpack
from server import Channelsd, Output, binary

HELLO, OPEN, SEND, GROUP_SEND, JOIN, LEAVE, GROUP_ADD, GROUP_DISCARD, RECEIVE, CANCEL = range(10)
TAKEN, RETURN, MAILBOX, ACCEPTED, DROPPED, FLUSH, PING, GROUPS, STATS, LISTEN = range(10, 20)
TOLD_HELLO, OPENED, REPLY, DELIVER, MESSAGE, ADD, DISCARD, FLUSHED = range(8)
DONE, FULL, INVALID, UNAVAILABLE, TIMED_OUT, CLOSED, UNSUPPORTED, FAILED = range(8)

REST = "0123456789abcdef012"  # what a peer appends to its base


def body(**message):
    return msgpack.packb(message)


class Peer:
    """One connection to a node. What arrives is kept in the order of its arrival until it is asked for."""

    def __init__(self, path, hello=True, layer=0, config="", bases=(), open_layer=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(path))
        self._unpacker = msgpack.Unpacker(max_buffer_size=20 * 1024 * 1024)
        self._kept = []
        self._requests = 0
        self.base = self.settings = None
        if hello:
            self.write(HELLO, 1, os.getpid(), "client")
            assert self.read()[:2] == [TOLD_HELLO, 1]
            if open_layer:
                self.open(layer, config, bases)

    def open(self, layer=0, config="", bases=()):
        req = self.ask(OPEN, layer, config, list(bases))
        answer = self.take(lambda r: r[:3] == [OPENED, layer, req] or r[:2] == [REPLY, req])
        if answer[0] == REPLY:
            return answer[2:]
        _, _, _, self.base, self.settings = answer
        return None

    def channel(self, rest=REST):
        return self.base + rest

    def write(self, *record):
        self.sock.sendall(msgpack.packb(list(record)))

    def ask(self, op, layer, *items):
        """Sends a request; returns its number."""
        self._requests += 1
        if op == PING:
            self.write(op, self._requests)
        else:
            self.write(op, layer, self._requests, *items)
        return self._requests

    def call(self, op, *items, layer=0):
        """Sends a request and waits for its answer: [code, value]."""
        req = self.ask(op, layer, *items)
        return self.take(lambda r: r[:2] == [REPLY, req])[2:]

    def done(self, op, *items, layer=0):
        code, value = self.call(op, *items, layer=layer)
        assert code == DONE, value
        return value

    def read(self, seconds=10):
        """The next record, in the order of the stream. Raises EOFError when the node has closed, TimeoutError."""
        if self._kept:
            return self._kept.pop(0)
        return self._receive(seconds)

    def take(self, wanted, seconds=10):
        """The first record for which wanted(record) holds; the others are kept."""
        for i, record in enumerate(self._kept):
            if wanted(record):
                return self._kept.pop(i)
        deadline = time.monotonic() + seconds
        while True:
            record = self._receive(max(0.0, deadline - time.monotonic()))
            if wanted(record):
                return record
            self._kept.append(record)

    def _receive(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            for record in self._unpacker:
                return record
            if not select.select([self.sock], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no record in {seconds} s; kept: {self._kept!r}")
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError("the node has closed the connection")
            self._unpacker.feed(data)

    def nothing_waits(self):
        """Whether the node has told nothing that was not asked for; a PING goes through first."""
        self.done(PING)
        return not self._kept

    def is_closed(self, seconds=10):
        """Whether the node closes this connection."""
        try:
            while True:
                self._receive(seconds)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return True
        except TimeoutError:
            return False

    def stats(self):
        return dict(self.done(STATS))

    def groups(self):
        return dict(self.done(GROUPS))

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class LayerServe(Channelsd):
    """`channelsd layer serve` on a socket at `path`."""

    def __init__(self, path, *arguments, env=None, start=True, expect_exit=0):
        self.path = path
        self.expect_exit = expect_exit
        self.sockets = []
        self.env = dict(os.environ)
        self.env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        self.env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1:exitcode=99")
        self.env.update(env or {})
        named = ["--layer-socket", str(path)] if path is not None else []
        self.process = subprocess.Popen(
            [str(binary()), "layer", "serve", *named, *map(str, arguments)],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.stdout = Output(self.process.stdout)
        self.stderr = Output(self.process.stderr)
        if start:
            try:
                self.stderr.wait_for(rb"Serving the channel layer on unix socket", 30)
            except BaseException:
                self.kill_group()
                raise

    def peer(self, **keywords):
        return self.keep(Peer(self.path, **keywords))
