# SPDX-License-Identifier: BSD-3-Clause
"""Connected sockets for calls from event loops that live for one call: async_to_sync() in views, tasks and shells.

A socket is leased for one request and its answer, by whatever thread and loop. It has HELLO and OPEN behind it, and no
channels: nothing comes in on it but answers, and FLUSHED, which are skipped here.
"""

import asyncio
import os
import select
import socket
import threading
import time
import weakref

import msgpack

from ..records import READ_MAX, make_unpacker
from .errors import LOST, NO_ANSWER, ChannelLayerUnavailable, error_of
from .protocol import RECORD_MAX, VERSION, FromNode, ProtocolError, ToNode, check_hello
from .settings import Settings

# Idle sockets of one layer; layers with different settings that have some. A process that makes a layer for each call or test
# does not keep the node's places for layers that nobody uses any more.
IDLE_MAX = 16
LAYERS_MAX = 8

# A loop that asks for more leases at once, or in all, gets a connection of its own.
AT_ONCE = 4
IN_ALL = 64

PAUSE_LEAST = 0.05
PAUSE_MOST = 0.5
GRACE = 0.25  # see connection.py

# Seconds that the first call of a loop may block it. That loop was most likely made for this one call, and the answer is
# there before the loop could be told to wait for it.
FIRST = 0.002


class _Gone(Exception):
    """The node has closed the socket. `unsent`: nothing of the request was taken."""

    def __init__(self, reason, unsent=False):
        super().__init__(reason)
        self.unsent = unsent


class Wire:
    """One socket."""

    __slots__ = ("_fd", "_future", "_req", "_socket", "_unpacker", "settings")

    def __init__(self, sock):
        self._socket = sock
        self._fd = sock.fileno()
        self._unpacker = make_unpacker(RECORD_MAX)
        self._req = 0
        self._future = None
        self.settings = None

    def close(self):
        self._socket.close()

    def is_sound(self):
        """Whether the node has not closed it."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False

    async def open(self, loop, config, deadline):
        """HELLO and OPEN. Returns (code, value)."""
        hello = msgpack.packb((ToNode.HELLO, VERSION, os.getpid(), "client"))
        opening = msgpack.packb((ToNode.OPEN, 0, 0, config, ()))
        code, value = await self._exchange(loop, hello + opening, deadline)
        if code == 0:
            self.settings = Settings(value[1])
        return code, value

    async def call(self, loop, op, items, deadline, is_first):
        """One request. Returns (code, value). Raises _Gone."""
        self._req += 1
        return await self._exchange(loop, msgpack.packb((op, 0, self._req, *items)), deadline, is_first)

    async def _exchange(self, loop, data, deadline, is_first=False):
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            raise _Gone(str(error), unsent=True) from None
        if sent < len(data):
            left = max(0.0, deadline - time.monotonic())
            try:
                await asyncio.wait_for(loop.sock_sendall(self._socket, memoryview(data)[sent:]), left)
            except asyncio.TimeoutError:
                return NO_ANSWER, "the channel layer's node did not take the message in time"
            except OSError as error:
                raise _Gone(str(error)) from None
        future = self._future = loop.create_future()
        if is_first:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            if poll.poll(FIRST * 1000):
                self._readable()
                if future.done():
                    self._future = None
                    return future.result()
        loop.add_reader(self._fd, self._readable)
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._late)
        try:
            return await future
        finally:
            timer.cancel()
            loop.remove_reader(self._fd)
            self._future = None

    def _late(self):
        if not self._future.done():
            self._future.set_result((NO_ANSWER, "the channel layer's node did not answer in time"))

    def _readable(self):
        future = self._future
        if future is None or future.done():
            return
        try:
            data = self._socket.recv(READ_MAX)
            if not data:
                raise _Gone("the node has closed the connection")
            self._unpacker.feed(data)
            for record in self._unpacker:
                op = record[0]
                if op == FromNode.REPLY and record[1] == self._req:
                    future.set_result((record[2], record[3]))
                    return
                if op == FromNode.OPENED and record[2] == self._req:
                    future.set_result((0, (record[3], record[4])))
                    return
                if op == FromNode.HELLO:
                    check_hello(record)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            future.set_exception(_Gone(str(error)))
        except (ValueError, IndexError, TypeError, msgpack.UnpackException) as error:
            future.set_exception(_Gone(f"protocol error: {error}"))
        except (_Gone, ProtocolError) as error:
            future.set_exception(error if isinstance(error, _Gone) else _Gone(str(error)))


class Pool:
    """The idle sockets of a process, by layer."""

    def __init__(self):
        self._made()

    def _made(self):
        self._lock = threading.Lock()
        self._idle = {}  # key -> list of Wire, the last used last, as the keys themselves
        self._loops = weakref.WeakKeyDictionary()  # loop -> [leases now, leases in all]

    def forked(self):
        """In a child process: the sockets are the parent's."""
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._made()

    def lease(self, loop):
        """Counts a lease of this loop, and returns how many that makes; 0 if it is to have a connection of its own. Then
        end_lease()."""
        with self._lock:
            counts = self._loops.get(loop)
            if counts is None:
                counts = self._loops[loop] = [0, 0]
            if counts[0] >= AT_ONCE or counts[1] >= IN_ALL:
                return 0
            counts[0] += 1
            counts[1] += 1
            return counts[1]

    def end_lease(self, loop):
        with self._lock:
            counts = self._loops.get(loop)
            if counts is not None:
                counts[0] -= 1

    async def call(self, loop, layer, lease, op, *items):
        """Asks the node, and returns (code, value); see Connection.call(). `layer`: endpoint, config, timeout. `lease`: what
        lease() has returned."""
        key = (layer.endpoint.key, layer.config)
        deadline = time.monotonic() + layer.timeout + GRACE
        message = items[1] if op in (ToNode.GROUP_SEND, ToNode.SEND) else None
        while True:
            wire = self._take(key)
            is_old = wire is not None
            if not is_old:
                wire = await self._make(loop, layer)
            try:
                if message is not None:
                    items = (items[0], wire.settings.pack(message))
                answer = await wire.call(loop, op, items, deadline, lease == 1)
            except _Gone as error:
                wire.close()
                if error.unsent and is_old:
                    continue
                return LOST, (
                    f"the connection to the channel layer's node was lost ({error}); it is not known whether the call "
                    "was carried out"
                )
            except (TypeError, ValueError, OverflowError, RecursionError):
                self._give(key, wire)  # a message that cannot be packed
                raise
            except BaseException:
                wire.close()
                raise
            if answer[0] == NO_ANSWER:
                wire.close()
            else:
                self._give(key, wire)
            return answer

    def _take(self, key):
        """A sound socket, or None."""
        while True:
            with self._lock:
                wires = self._idle.get(key)
                if not wires:
                    return None
                wire = wires.pop()
            if wire.is_sound():
                return wire
            wire.close()

    def _give(self, key, wire):
        spare = []
        with self._lock:
            wires = self._idle[key] = self._idle.pop(key, None) or []
            wires.append(wire)
            if len(wires) > IDLE_MAX:
                spare.append(wires.pop(0))
            while len(self._idle) > LAYERS_MAX:
                spare += self._idle.pop(next(iter(self._idle)))
        for old in spare:
            old.close()

    async def _make(self, loop, layer):
        """A new socket, with the layer open. Raises ChannelLayerUnavailable after the timeout, ChannelLayerRefused."""
        endpoint = layer.endpoint
        deadline = time.monotonic() + (min(layer.timeout, 0.1) if endpoint.is_down else layer.timeout)
        pause = PAUSE_LEAST
        while True:
            wire = None
            try:
                wire = Wire(endpoint.connect())
                code, value = await wire.open(loop, layer.config, time.monotonic() + layer.timeout + GRACE)
                if code == 0:
                    return wire
                wire.close()
                error = error_of(code, value)
            except _Gone as gone:
                wire.close()
                error = ChannelLayerUnavailable(
                    f"the channel layer's node has not taken the connection ({gone}): if it runs, its log says why "
                    "(layer.refused)"
                )
            except ChannelLayerUnavailable as unavailable:
                error = unavailable
            except BaseException:
                if wire is not None:
                    wire.close()
                raise
            if not isinstance(error, ChannelLayerUnavailable):
                raise error
            if time.monotonic() + pause > deadline:
                endpoint.is_down = True
                raise error
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MOST)

    def close(self, layer):
        """Closes the idle sockets of a layer."""
        with self._lock:
            wires = self._idle.pop((layer.endpoint.key, layer.config), ())
        for wire in wires:
            wire.close()
