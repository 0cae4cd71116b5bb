# SPDX-License-Identifier: BSD-3-Clause
"""`channelsd runworker`: the application's consumers for channel names, in place of `manage.py runworker`.

Each channel has one instance of the application, which is made when the first message comes and again after it has ended.
A message counts as handled when the application asks for the next one, returns or raises; only then does the layer forget
it, so that what a killed worker was at is given to another. What the application cannot handle is logged and counted, and
the next message comes. A layer that gives no message is asked again as long as it takes, for what hinders it may be mended
without a restart (a Redis that is away, an ACL); only where no attempt could change it the channel, and with it the worker,
ends.
"""

import asyncio
import contextlib
import importlib
import logging
import time

logger = logging.getLogger("channelsd.server")

# Seconds between two attempts after a layer's receive() has failed.
PAUSE_LEAST = 0.1
PAUSE_MOST = 5.0
# Seconds between two lines in the log about one and the same failure.
REPEAT = 60.0


async def check_layer(layer):
    """Raises what the layer's node says of its settings when it does not take them: TypeError, which is a ValueError, too."""
    if hasattr(layer, "receive_held"):
        with contextlib.suppress(OSError, RuntimeError):  # anything else is for the receivers to wait for
            # Nobody hears of the channel; it is forgotten by itself.
            await layer.new_channel()


def unshared(layer):
    """Why nothing of what a server of the project sends comes here by this layer, which was checked; None if it does."""
    if isinstance(layer, importlib.import_module("channels.layers").InMemoryChannelLayer):
        return (
            "is Channels' in-memory layer, which lives in one process: only what this process itself sends comes here. "
            "Use channels_redis, or channelsd.layer.ChannelLayer with Redis in its CONFIG"
        )
    if getattr(layer, "receive_held", None) is not None and layer.backend == "memory":
        return (
            "has no Redis and is in the memory of this runworker: what a channelsd server of the project sends does not "
            "come here. Name Redis in its CONFIG, or run manage.py runworker, which uses the server's layer"
        )
    return None


class _Received:
    """A message of a layer that forgets it when it gives it."""

    def __init__(self, message):
        self.message = message

    def taken(self):
        pass

    def put_back(self):
        pass


class ChannelRunner:
    """Feeds one channel's messages to the application. `worker`: see Worker in service.py for what it reports there."""

    def __init__(self, worker, application, layer, channel):
        self.worker = worker
        self.channel = channel
        self.failed = 0  # messages that the application, or nobody, could handle
        self._application = application
        self._receive_held = getattr(layer, "receive_held", None)
        self._layer = layer
        self._task = None
        self._instance = None
        self._first = None  # the message for which the instance was made
        self._current = None  # the one that is being handled
        self._stopping = False
        self._failure = None  # of the last receive()
        self._failure_told = 0.0  # when
        self._failure_untold = 0  # how often since

    def __repr__(self):
        return f"<{type(self).__name__} channel={self.channel!r}>"

    def start(self):
        self._task = self.worker.loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    @property
    def busy(self):
        """Whether a message is being handled."""
        return self._current is not None

    def stop(self):
        """No further message. The one that is being handled goes on; see kill()."""
        self._stopping = True
        if not self.busy:
            self._task.cancel()

    def kill(self):
        """Cancels the application; its message goes back to the channel."""
        self._stopping = True
        self._task.cancel()

    def _ended(self, task):
        if self._current is not None:
            self._current.put_back()
            self._current = None
        self.worker.runner_ended(self, None if task.cancelled() else task.exception())

    async def _run(self):
        while not self._stopping:
            held = await self._next()
            self._first = self._current = held
            self._instance = asyncio.ensure_future(
                self._application({"type": "channel", "channel": self.channel}, self._receive, self._send)
            )
            try:
                await self._instance
            except asyncio.CancelledError:
                if not self._instance.done():
                    self._instance.cancel()
                    await asyncio.wait([self._instance])
                if self._stopping:
                    raise
                self._fail("the application was cancelled", None)
            except Exception as error:
                self._fail(error, error)
            except BaseException as error:  # SystemExit would end the event loop, and with it the other channels
                self._fail(type(error).__name__, error)
            else:
                self._handled()

    async def _next(self):
        """The next message that is one."""
        while True:
            held = await self._fetch()
            try:
                message = held.message
            except ValueError as error:
                reason = f"it cannot be decoded: {error}"
            else:
                if isinstance(message, dict) and message.get("type"):
                    return held
                reason = "it has no type"
            self.failed += 1
            logger.error("Channel %r: a message was dropped, %s (%d so far)", self.channel, reason, self.failed)
            held.taken()

    async def _fetch(self):
        pause = PAUSE_LEAST
        while True:
            try:
                if self._receive_held is not None:
                    held = await self._receive_held(self.channel)
                else:
                    held = _Received(await self._layer.receive(self.channel))
            except Exception as error:
                # Of its own layer it is known that this is about the name or the settings. Others say no more than that: a
                # message that does not decode, or a server that is away.
                if self._receive_held is not None and isinstance(error, (AssertionError, TypeError, ValueError)):
                    raise
                self._tell_failure(error)
            else:
                self._failure = None
                return held
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MOST)

    def _tell_failure(self, error):
        """Logs it once, and again after a while if it goes on."""
        failure = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if failure != self._failure:
            self._failure_untold = 0
            logger.error("Channel %r: receive() failed, trying on: %s", self.channel, error, exc_info=error)
        elif now - self._failure_told >= REPEAT:
            times = self._failure_untold + 1
            self._failure_untold = 0
            logger.error("Channel %r: receive() failed %d more times: %s", self.channel, times, error)
        else:
            self._failure_untold += 1
            return
        self._failure = failure
        self._failure_told = now

    async def _receive(self):
        """What the application is given as receive()."""
        first, self._first = self._first, None
        if first is not None:
            return first.message
        self._handled()
        if self._stopping:
            # The end of the worker: nothing follows, and the task is cancelled.
            self._task.cancel()
        held = await self._next()
        self._current = held
        return held.message

    async def _send(self, message):
        raise NotImplementedError("a consumer of a channel name has no client to send to")

    def _handled(self):
        current, self._current = self._current, None
        if current is not None:
            current.taken()

    def _fail(self, reason, error):
        """The message that was being handled is one that the application cannot handle."""
        self.failed += 1
        logger.error(
            "Channel %r: exception inside application: %s (%d messages so far)",
            self.channel,
            reason,
            self.failed,
            exc_info=error,
        )
        self._handled()
