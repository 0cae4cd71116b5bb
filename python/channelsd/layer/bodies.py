# SPDX-License-Identifier: BSD-3-Clause
"""The queue of one channel of this process."""

import asyncio
import collections
import contextlib


class BodyQueue:
    """Bodies of messages, which are unpacked by who receives them. To channelsd.accelerate.source it is an asyncio.Queue, of
    which it has the names; it is none, because each of its attributes would be looked for in vain first."""

    _getters = ()  # a deque of futures, once somebody waits
    was_read = False  # since the last look for channels that nobody reads

    def __init__(self, maxsize=0):
        self._maxsize = maxsize  # 0: none
        self._queue = []

    def put_nowait(self, item):
        if 0 < self._maxsize <= len(self._queue):
            raise asyncio.QueueFull
        self._queue.append(item)
        self._wakeup_next(self._getters)

    def _get(self):
        return self._queue.pop(0)

    def _wakeup_next(self, getters):
        while getters:
            getter = getters.popleft()
            if not getter.done():
                getter.set_result(None)
                break


def expect(queue, getter):
    """Puts it, a future, to those that wait for something in the queue, which is empty."""
    getters = queue._getters
    if getters.__class__ is tuple:
        getters = queue._getters = collections.deque()
    getters.append(getter)


class FarGetter:
    """Somebody who waits in another loop than that of the channel's connection. To the queue it is a future; all but `future`
    can be used in any thread."""

    __slots__ = ("_is_set", "_loop", "future", "name")

    def __init__(self, loop, name):
        self._loop = loop
        self._is_set = False
        self.future = loop.create_future()
        self.name = name

    def done(self):
        return self._is_set or self._loop.is_closed()

    def set_result(self, _):
        """Has him look again."""
        self._is_set = True
        with contextlib.suppress(RuntimeError):  # his loop has closed this very moment
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self):
        if not self.future.done():
            self.future.set_result(None)


def give_up(queue, getter):
    """`getter`, which waits in the queue, was not waited for to its end: what it was set for is for the next."""
    getter.cancel()
    getters = queue._getters
    if getter in getters:
        getters.remove(getter)
    if queue._queue and not getter.cancelled():
        queue._wakeup_next(getters)
