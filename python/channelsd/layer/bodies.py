# SPDX-License-Identifier: BSD-3-Clause
"""The queue of one channel of this process."""

import contextlib

from ..accelerate.source import ChannelQueue


class BodyQueue(ChannelQueue):
    """Bodies of messages, which are unpacked by who receives them."""

    was_read = False  # since the last look for channels that nobody reads


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
