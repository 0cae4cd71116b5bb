# SPDX-License-Identifier: BSD-3-Clause
"""The service of a worker: its links, the lifespan, the close timeout of applications, and the orderly end."""

import asyncio
import logging

from .lifespan import Lifespan
from .link import Link

EXIT_LOST = 1

# Seconds: how often the close timeout is looked at; how long a cancelled application may still take.
CHECK_INTERVAL = 1.0
CANCEL_GRACE = 2.0

logger = logging.getLogger("channelsd.server")


class Worker:
    """Links, lifespan and the close timeout of one process."""

    def __init__(self, loop, fds, close_timeout):
        self.loop = loop
        self.close_timeout = close_timeout
        self.state = None
        self.exit_code = 0
        self._lifespan = None
        # Session -> time when it is to be killed. Filled by the check, so that one that ends at once costs nothing.
        self._lingering = {}
        self.is_watching = False  # whether forgot() has anything to do
        self._interval = max(0.05, min(CHECK_INTERVAL, close_timeout / 4))
        self._is_started = False
        self._layer_lost = None  # why, if it was before startup() had ended
        self._ending = None
        self._stopped = False
        self._idle = None
        self.links = [Link(self, fd) for fd in fds]
        self._runners = []  # of channel names; see channelsd.runworker

    def startup(self, application):
        """Lifespan startup, then READY on every link. Raises LifespanFailed."""
        self._lifespan = Lifespan(application, self.loop)
        self.loop.run_until_complete(self._lifespan.startup())
        self.state = self._lifespan.state
        for link in self.links:
            link.start(application)
        self.loop.call_later(self._interval, self._check_lingering)
        self._is_started = True
        if self._layer_lost is not None:
            self.layer_lost(self._layer_lost)

    def run_channel(self, runner):
        """Has a ChannelRunner begin; it ends with the worker."""
        self._runners.append(runner)
        runner.start()

    def serve(self):
        """Returns the exit code, after SHUTDOWN or the loss of a link."""
        while not self._stopped:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # A task or callback of the application's own; its tasks for requests never let one through.
                logger.error("Exception inside application: %s", type(error).__name__, exc_info=error)
        for link in self.links:
            link.close(1.0)
        return self.exit_code

    # What links and sessions report

    def forgot(self, session):
        self._lingering.pop(session, None)
        if self._idle is not None and not self._busy():
            self._idle.set_result(None)
            self._idle = None

    def runner_ended(self, runner, error):
        """`error`: why its channel cannot be received from, or None. A worker without one of its channels would look well."""
        self._runners.remove(runner)
        if error is not None:
            logger.error("Channel %r: %s; the worker ends.", runner.channel, error, exc_info=error)
            self.exit_code = EXIT_LOST
            self._end(self.close_timeout)
        if self._idle is not None and not self._busy():
            self._idle.set_result(None)
            self._idle = None

    def link_shutdown(self, grace):
        """A link has no new ids for us; `grace`: seconds that the applications have to end."""
        if all(link.draining or link.lost for link in self.links):
            self._end(min(grace, self.close_timeout))

    def link_lost(self, link, reason):
        for session in link.sessions():
            session.kill()
        if link.draining:
            logger.debug("The link to the server ended: %s", reason)
            self.link_shutdown(self.close_timeout)
            return
        logger.error("The link to the server was lost (%s); the worker ends.", reason)
        self.exit_code = EXIT_LOST
        self._end(0)

    def layer_lost(self, reason):
        """The channel layer's connection ended, and cannot be made again here: another worker will have its own."""
        if not self._is_started:
            self._layer_lost = reason  # startup() comes back to it
            return
        if self._ending is not None or all(link.draining or link.lost for link in self.links):
            return
        logger.error("The connection to the channel layer was lost (%s); the worker ends.", reason)
        self.exit_code = EXIT_LOST
        self._end(0)

    def _busy(self):
        return bool(self._runners) or any(link.busy() for link in self.links)

    def _check_lingering(self):
        """Kills applications that outlived their client by the close timeout. One timer for all; nothing ends it."""
        try:
            now = self.loop.time()
            for link in self.links:
                for session in link.sessions():
                    if session.ended and session not in self._lingering:
                        self._lingering[session] = now + self.close_timeout
            self.is_watching = self._idle is not None or bool(self._lingering)
            for session, deadline in list(self._lingering.items()):
                if deadline > now:
                    continue
                # One that swallows the cancellation is asked again.
                self._lingering[session] = now + self.close_timeout
                try:
                    logger.warning(
                        "Application instance %r for connection %s took too long to shut down and was killed.",
                        session.task,
                        repr(session),
                    )
                finally:
                    session.kill()
        except Exception as error:
            logger.error("Check of the close timeout: %s", error, exc_info=error)
        finally:
            if not self._stopped:
                self.loop.call_later(self._interval, self._check_lingering)

    # The end

    def _end(self, grace):
        """Begins to end: waits `grace` seconds for the applications, cancels them, ends the lifespan."""
        for runner in self._runners:
            runner.stop()
        if self._ending is None:
            self._ending = self.loop.create_task(self._run_end(grace))
        elif not grace and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    async def _run_end(self, grace):
        try:
            if not await self._wait_idle(grace):
                killed = [session for link in self.links for session in link.sessions()]
                logger.info("Killed %i pending application instances", len(killed))
                for session in killed:
                    session.kill()
                for runner in self._runners:
                    runner.kill()
                await self._wait_idle(CANCEL_GRACE)
            await self._lifespan.shutdown(max(self.close_timeout, CANCEL_GRACE) if not self.exit_code else CANCEL_GRACE)
            await self._cancel_others()
        except Exception as error:
            logger.error("End of the worker: %s", error, exc_info=error)
        finally:
            self._stopped = True
            self.loop.stop()

    async def _wait_idle(self, timeout):
        """Waits until no application runs; returns whether that came within `timeout` seconds."""
        if self._busy() and timeout > 0:
            self._idle = self.loop.create_future()
            self.is_watching = True
            await asyncio.wait([self._idle], timeout=timeout)
            self._idle = None
        return not self._busy()

    async def _cancel_others(self):
        """Cancels the tasks that the application started by itself, as asyncio.run() does."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=CANCEL_GRACE)
        await asyncio.wait([asyncio.ensure_future(self.loop.shutdown_asyncgens())], timeout=CANCEL_GRACE)
