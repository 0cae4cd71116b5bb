# SPDX-License-Identifier: BSD-3-Clause
"""What this process has of channel layers as a whole: the connection that a worker inherits, the pool, and what a fork
does to them. Imports neither Django nor Channels."""

import asyncio
import concurrent.futures
import contextlib
import errno
import os
import socket
import threading
import time
import weakref

from . import paths
from .connection import Answer, Connection
from .errors import ChannelLayerUnavailable, error_of
from .pool import Pool
from .protocol import ToNode

HOP_GRACE = 1.0


def worker_socket(fd):
    """The socket that a worker has inherited. Raises OSError."""
    sock = socket.socket(fileno=fd)
    if sock.family != socket.AF_UNIX:
        sock.detach()
        raise OSError(errno.ENOTSOCK, "is no socket of the channel layer's node")
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


class Worker:
    """The connection of a worker of channelsd, on the worker's own loop."""

    def __init__(self, fd, loop, on_lost=None):
        self.loop = loop
        self._lock = threading.Lock()
        self._layers = {}  # config -> Channels
        self._announced = None
        self.has_begun = False
        # Without a loop until that runs: until then the application is being imported, and whoever calls blocks.
        self.connection = Connection(None, None, "worker")
        self.connection.on_lost = on_lost
        self.connection.use(worker_socket(fd))
        loop.call_soon(self._begin)

    def _begin(self):
        """The loop's first turn."""
        with self._lock:
            self.has_begun = True
            self.announce()
            self.connection.adopt(self.loop)

    def announce(self):
        """Tells the node where other processes of the project look for it, once that is known."""
        if self._announced is None:
            path = paths.project_path()
            if path is not None:
                self._announced = path
                self.connection.put((ToNode.LISTEN, path))

    def channels(self, config):
        """The layer with these settings; layers of several aliases with the same ones are one."""
        channels = self._layers.get(config)
        if channels is None:
            channels = self._layers[config] = self.connection.add_layer(config)
            self.announce()
        return channels

    def is_here(self, loop):
        """Whether the connection is this loop's."""
        return loop is self.loop and self.has_begun

    def _submit(self, coroutine):
        """Runs it in the worker's loop, from another; returns its concurrent Future."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise ChannelLayerUnavailable("the worker has ended") from None

    async def hop(self, coroutine, timeout):
        """Runs it in the worker's loop, from another."""
        future = asyncio.wrap_future(self._submit(coroutine))
        # Not wait_for(): what it raises cannot be told from a ChannelLayerTimeout of the call.
        try:
            await asyncio.wait([future], timeout=timeout + HOP_GRACE)
        finally:
            is_late = future.cancel()
        if is_late:
            raise ChannelLayerUnavailable("the worker's event loop does not run", maybe_sent=True)
        return future.result()

    async def lent(self, receive_held, channel):
        """What receive_held(channel) brings in the worker's loop, for another loop. If that does not wait for it any more when
        it comes, it is put back."""
        handed = concurrent.futures.Future()

        async def lend():
            held = failure = None
            try:
                held = await receive_held(channel)
            except asyncio.CancelledError:
                failure = ChannelLayerUnavailable("the worker has ended")
            except Exception as error:
                failure = error
            if not handed.set_running_or_notify_cancel():
                if held is not None:
                    held.put_back()
            elif failure is not None:
                handed.set_exception(failure)
            else:
                handed.set_result(held)

        lending = self._submit(lend())
        try:
            return await asyncio.wrap_future(handed)
        except asyncio.CancelledError:
            if handed.cancel():
                lending.cancel()
            else:
                handed.add_done_callback(self._put_back)
            raise

    def _put_back(self, handed):
        """In any loop."""
        if handed.exception() is None:
            with contextlib.suppress(RuntimeError):  # the loop has closed, and what the node lent is the node's again
                self.loop.call_soon_threadsafe(handed.result().put_back)

    def call_blocking(self, config, op, items, timeout):
        """The same as Connection.call(), while the application is being imported. None: the loop has begun to run since."""
        with self._lock:
            if self.has_begun:
                return None
            channels = self.channels(config)
            deadline = time.monotonic() + timeout
            if not channels.is_open:
                code, value = self._wait(self.connection.open(channels), deadline)
                self.connection.opened(channels, code, value)
                if not channels.is_open:
                    raise error_of(code, value) if code else self.connection.error
            if op in (ToNode.GROUP_SEND, ToNode.SEND):
                items = (items[0], channels.settings.pack(items[1]))
            answer = Answer()
            self.connection.request(answer, channels, op, *items)
            return self._wait(answer, deadline)

    def _wait(self, answer, deadline):
        self.connection.exchange(answer, deadline)
        if not answer.done():
            raise ChannelLayerUnavailable("the channel layer's node does not answer", maybe_sent=True)
        return answer.result


class Process:
    def __init__(self):
        self.worker = None
        self.pool = Pool()
        self.layers = weakref.WeakSet()
        self._pid = os.getpid()
        self._looking = threading.Lock()

    def look(self):
        """Notices a fork of which Python was not told, as uWSGI makes them; once in a loop is enough."""
        if os.getpid() != self._pid:
            with self._looking:
                if os.getpid() != self._pid:
                    self.forked()

    def forked(self):
        """In a child process, which is nobody's worker: it finds the node as any other process does."""
        if self.worker is not None:
            self.worker.connection.forked()
            self.worker = None
        self.pool.forked()
        for layer in list(self.layers):
            layer.forked()
        self._pid = os.getpid()


process = Process()
os.register_at_fork(after_in_child=process.forked)


def attach_worker(fd, loop, on_lost=None):
    """Called once in a worker, before the application is imported: the layers of this process go over the inherited
    socket `fd`, on `loop`. `on_lost` is called with the reason if the connection ends, which nothing can mend. Raises
    OSError if it is no socket."""
    process.worker = Worker(fd, loop, on_lost)


def detach_worker():
    """Closes the worker's connection. Its loop does not run any more."""
    if process.worker is not None:
        process.worker.connection.close()
