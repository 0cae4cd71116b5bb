# SPDX-License-Identifier: BSD-3-Clause
"""What the sources of all known layers share: a queue for one channel, and a consumer's reading of it without tasks."""

import asyncio
import collections


def _set_event():
    event = asyncio.Event()
    event.set()
    return event


# Attributes of asyncio.Queue, made when they are used.
_LAZY = {
    "_finished": _set_event,
    "_getters": collections.deque,
    "_loop": asyncio.get_running_loop,  # Python 3.9; later ones have an attribute of the class
    "_putters": collections.deque,
}


class ChannelQueue(asyncio.Queue):
    """asyncio.Queue for the messages of one channel, without its task_done() and join().

    What the base class makes at once is made when somebody uses it: one of these stands behind every idle consumer, and
    each of these containers has half a kilobyte.
    """

    # What the base class sets, with the values of an empty queue.
    _unfinished_tasks = 0
    _is_shutdown = False

    def __init__(self, maxsize=0):
        self._maxsize = maxsize
        self._queue = []  # a list: it is short, and an empty deque has ten times its size

    def __getattr__(self, name):
        make = _LAZY.get(name)
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self.__dict__[name] = make()
        return value

    def _get(self):
        return self._queue.pop(0)


class ChannelSource(ChannelQueue):
    """A source for channelsd.accelerate.dispatch that is the queue of its channel while it waits for a message.

    A message that arrives stays in the queue until the consumer's next turn, or the next turn of the loop if the
    consumer is in a handler: then it is taken ahead, as the task of stock's receive() would take it.

    Subclasses bring ask(), _unregister() (the queue is empty: the layer forgets it), and what _overflow() does.
    """

    def __init__(self, layer, channel, maxsize):
        super().__init__(maxsize)
        self.layer = layer
        self.channel = channel
        self.ready = False  # _message was taken ahead
        self.due = False  # a message waits for fetch()
        self.waiter = None  # future of a consumer that calls fetch() itself when it is set
        self._watcher = None  # future of one that does not
        self._message = None
        self.asking = False  # the next item is for us; the queue is empty then
        self._reading = self  # the queue that has what was asked for
        self._loop = asyncio.get_running_loop()

    def read_from(self, queue):
        """Begins to read `queue`, which stands for the channel in the layer, perhaps this very one, perhaps not."""
        self._reading = queue
        if queue._queue:
            if "_getters" in queue.__dict__:
                # Perhaps it is meant for somebody else who waits here, and whose turn comes before.
                self.due = True
                self._loop.call_soon(self.fetch)
            else:
                self._take_ahead()
            return
        self.asking = True
        if queue is not self:
            queue._getters.append(self)

    def bind(self, socket, dispatch):
        """Told by channelsd.accelerate.dispatch before the first ask(): the consumer's WebSocket, and what it hands its
        messages to."""

    # As one of the futures in asyncio.Queue._getters.

    def done(self):
        return not self.asking

    def set_result(self, _result):
        self._arrived()

    # A source of channelsd.accelerate.dispatch; ask() is the subclass's.

    def take(self):
        message, self._message = self._message, None
        self.ready = False
        return message

    def watch(self, waiter):
        self._watcher = waiter

    def put_nowait(self, item):
        if self.asking:
            self.deliver(item)
            return
        if 0 < self._maxsize <= len(self._queue):
            self._overflow()
        self._queue.append(item)
        if "_getters" in self.__dict__:
            self._wakeup_next(self._getters)

    def _overflow(self):
        raise asyncio.QueueFull

    def deliver(self, item):
        """put_nowait() while `asking`."""
        self._queue.append(item)
        self._arrived()

    def _arrived(self):
        """The message that was asked for is in the queue."""
        self.asking = False
        self.due = True
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        else:
            self._loop.call_soon(self.fetch)

    def fetch(self):
        """Takes ahead what is due."""
        if not self.due:
            return
        self.due = False
        if self._reading._queue:
            self._take_ahead()
        else:
            # Somebody else took it, or it has expired.
            self.ask()
            if not self.ready:
                return
        watcher = self._watcher
        if watcher is not None and not watcher.done():
            watcher.set_result(None)

    def _take_ahead(self):
        reading = self._reading
        self._message = self._content(reading._get())
        self.ready = True
        if not reading._queue:
            self._unregister()

    def _content(self, item):
        """The message in an item of the queue."""
        return item

    async def close(self):
        self.asking = self.due = self.ready = False
        self.waiter = self._watcher = self._message = None
        reading = self._reading
        if reading is not self and self in reading._getters:
            reading._getters.remove(self)
        if not reading._queue:
            self._unregister()
        elif "_getters" in reading.__dict__:
            # What was meant for this consumer is for the next that waits.
            reading._wakeup_next(reading._getters)
        self._reading = None  # perhaps this very object, which is to be freed without the garbage collector
