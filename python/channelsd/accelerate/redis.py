# SPDX-License-Identifier: BSD-3-Clause
"""channels_redis.core.RedisChannelLayer: one task of a layer receives for all consumers that wait, and what it receives
goes straight to them. Stock has two tasks for each message and consumer, and all of them queue for one lock.

The layer stays whole: `receive_buffer` holds what has arrived and was not taken, under its capacity; the task takes the
receive lock as a receive() of stock would, so those who call receive() themselves have their turns beside it; and what
it calls is the layer's own receive_single().
"""

import asyncio
import collections
import contextlib
import functools
import importlib
import importlib.util
import sys
import types

from .dispatch import register
from .redis_pool import install_pool, warn_of_defaults
from .redis_send import make_group_send
from .source import ChannelSource
from .stock import is_known, is_own

# Digests, as in stock.py: channels_redis 4.0.0 to 4.3.0.
_KNOWN = {
    "cbcc07cdd752077b",
    "8b4782d2e4809849",
    "5ebfe7a441af62b7",
    "cf4b442cc683a234",
    "46d6aa3e3a565141",
}

# Backends with which nobody needs channels_redis.
_OTHER_BACKENDS = ("channels.layers.", "channelsd.")


class RedisSource(ChannelSource):
    """A consumer's channel in a layer: a BoundedQueue that drops its oldest message when it is full."""

    def __init__(self, poller, channel, maxsize):
        super().__init__(poller.layer, channel, maxsize)
        self.poller = poller
        self.error = None  # what receive() is to raise

    @property
    def real_channel(self):
        """The name without what stands behind the "!": what is asked of Redis."""
        return self.layer.non_local_name(self.channel)

    def ask(self):
        buffer = self.layer.receive_buffer
        queue = buffer.get(self.channel)
        if queue is None and not self._queue:
            # read_from() and join(), without the calls.
            self._reading = buffer[self.channel] = self
            self.asking = True
            poller = self.poller
            poller.asking[self] = None
            if not poller.is_running:
                poller.start()
            return
        if queue is None:
            queue = buffer[self.channel] = self
        elif queue is not self and not queue._getters:
            # The layer made it for what came while the consumer was busy. Nobody else waits at it.
            self._queue.extend(queue._queue)
            queue._queue.clear()
            queue = buffer[self.channel] = self
        self.read_from(queue)
        if self.asking:
            self.poller.join(self)

    def take(self):
        if self.error is not None:
            raise self.error
        message, self._message = self._message, None
        self.ready = False
        return message

    def fail(self, error):
        """take() is to raise `error`. As in stock, what the channel held is lost with it."""
        self.poller.asking.pop(self, None)
        self.asking = self.due = False
        self._forget()
        self.error = error
        self.ready = True
        for waiter in (self.waiter, self._watcher):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _arrived(self):
        self.poller.asking.pop(self, None)
        super()._arrived()

    def _overflow(self):
        self._queue.pop(0)

    def _unregister(self):
        buffer = self.layer.receive_buffer
        queue = buffer.get(self.channel)
        if queue is not None and not queue._queue:
            del buffer[self.channel]

    def _forget(self):
        """What stock's receive() does when it fails or is cancelled: the channel's buffer goes, whatever is in it."""
        reading = self._reading
        if reading is not self:
            getters = reading._getters
            if self in getters:
                getters.remove(self)
            elif reading._queue:
                # What was meant for this consumer is for the next that waits.
                reading._wakeup_next(getters)
        self.layer.receive_buffer.pop(self.channel, None)
        self._queue.clear()

    async def close(self):
        error = self.error
        self.poller.asking.pop(self, None)
        self._forget()
        self.asking = self.due = self.ready = False
        self.waiter = self._watcher = self._message = None
        await self.poller.left(self)
        # Stock awaits its task here, which raises what receive() did.
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error


class Poller:
    """Receives for the sources of one layer in one event loop. Its task lives while one of them asks."""

    def __init__(self, layer, loop):
        self.layer = layer
        self.loop = loop
        self.asking = {}  # sources as keys, in the order in which they would get the receive lock
        self._source = None  # the one whose receive() would be in receive_single() now
        self.is_running = False
        self._task = None
        self._stopping = False

    def join(self, source):
        self.asking[source] = None
        if not self.is_running:
            self.start()

    async def left(self, source):
        """Ends the task if no source is left that it could work for. `source` asks no more."""
        if not self.is_running or self._stopping:
            return
        if source is self._source:
            real_channel = source.real_channel
            for other in self.asking:
                if other.real_channel == real_channel:
                    self._source = other
                    return
        elif self.asking:
            return
        self._stopping = True
        task = self._task
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def start(self):
        """Begins to receive. Sources of another loop than the one that receives already get stock's error."""
        layer = self.layer
        if layer.receive_count and layer.receive_event_loop != self.loop:
            for source in list(self.asking):
                source.fail(RuntimeError("Two event loops are trying to receive() on one channel layer at once!"))
            return
        layer.receive_count += 1
        if layer.receive_count == 1:
            layer.receive_lock = asyncio.Lock()
            layer.receive_event_loop = self.loop
        self.is_running = True
        self._begin()

    def _begin(self):
        self._stopping = False
        self._task = self.loop.create_task(self._run())
        # Not at the end of _run(), which is not reached by a task that is cancelled before its first step.
        self._task.add_done_callback(self._ended)

    async def _run(self):
        lock = self.layer.receive_lock
        while self.asking:
            # After each message, so that others who wait for the lock get it.
            async with lock:
                if self.asking:
                    await self._poll()

    async def _poll(self):
        """Receives one message and puts it where it belongs; an error goes to one source."""
        layer = self.layer
        asking = self.asking
        self._source = next(iter(asking))
        try:
            channel, message = await layer.receive_single(self._source.real_channel)
            buffer = layer.receive_buffer
            if isinstance(channel, list):
                for name in channel:
                    buffer[name].put_nowait(message)
            else:
                buffer[channel].put_nowait(message)
        except Exception as error:
            source = self._source
            if source not in asking and not source.due:
                raise
            source.fail(error)
        else:
            source = self._source
            if source in asking:
                # It would queue for the lock again, behind the others.
                del asking[source]
                asking[source] = None
        finally:
            self._source = None

    def _ended(self, task):
        if task.cancelled() and not self._stopping:
            # Somebody cancelled all tasks of the loop: those of stock's receive() calls would be among them.
            for source in list(self.asking):
                source.fail(asyncio.CancelledError())
        if self.asking:
            self._begin()
            return
        self.is_running = False
        self._task = None
        layer = self.layer
        layer.receive_count -= 1
        if layer.receive_count == 0:
            assert not layer.receive_lock.locked()
            layer.receive_lock = None
            layer.receive_event_loop = None


def _poller_of(layer):
    loop = asyncio.get_running_loop()
    poller = layer.__dict__.get("_channelsd_poller")
    if poller is None or poller.loop is not loop:
        poller = layer._channelsd_poller = Poller(layer, loop)
    return poller


def _capacity(layer, queue_class):
    """Messages that a queue of `receive_buffer` holds; None if its queues are none that stock makes."""
    buffer = layer.receive_buffer
    make = buffer.default_factory if type(buffer) is collections.defaultdict else None
    if type(make) is functools.partial and make.func is queue_class and len(make.args) == 1 and not make.keywords:
        return make.args[0]
    return None


def maker(core):
    """A maker of sources for the layers of `core`, a channels_redis.core that is known."""
    receive = core.RedisChannelLayer.receive
    base = importlib.import_module("channels.layers").BaseChannelLayer
    prefix = "require_" if hasattr(base, "require_valid_channel_name") else ""
    check = getattr(base, f"{prefix}valid_channel_name")

    def make(function, arguments):
        if type(function) is not types.MethodType or function.__func__ is not receive or len(arguments) != 1:
            return None
        layer, channel = function.__self__, arguments[0]
        capacity = _capacity(layer, core.BoundedQueue)
        # What receive() checks; it has the right words if something is wrong.
        try:
            own = check(layer, channel) and layer.non_local_name(channel).endswith(layer.client_prefix + "!")
        except TypeError:
            own = False
        return RedisSource(_poller_of(layer), channel, capacity) if own and capacity is not None else None

    return make


def _is_wanted():
    """Whether the project may use channels_redis. Importing it for nothing would cost megabytes."""
    if "channels_redis.core" in sys.modules:
        return True
    if importlib.util.find_spec("channels_redis") is None:
        return False
    settings = importlib.import_module("django.conf").settings
    if not settings.configured:
        return True
    layers = getattr(settings, "CHANNEL_LAYERS", {}).values()
    return not all(layer.get("BACKEND", "").startswith(_OTHER_BACKENDS) for layer in layers)


def install_redis(report, stock):
    """Replaces the reading of consumers from RedisChannelLayer, and cures its pools of redis-py's defaults."""
    if not _is_wanted():
        return
    core = stock.module("channels_redis.core")
    cls = core.RedisChannelLayer
    if not is_known(core.__name__, _KNOWN):
        version = importlib.import_module("channels_redis").__version__
        report.left_alone(
            core.__name__, f"channels_redis {version}: {core.__file__} is none of the versions known here"
        )
        warn_of_defaults(cls)
        return
    install_pool(core)
    for owner, name in ((cls, "receive"), (cls, "group_send"), (core.BoundedQueue, "put_nowait")):
        if not is_own(owner.__dict__[name], core):
            report.left_alone(f"{owner.__name__}.{name}", "somebody has patched it")
            return
    cls.group_send = make_group_send(core)
    register(maker(core))
    report.replaced("channels_redis.core.RedisChannelLayer")
