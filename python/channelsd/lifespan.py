# SPDX-License-Identifier: BSD-3-Clause
"""ASGI's lifespan protocol, version 2.0: startup before the worker is ready, shutdown after its last application."""

import asyncio
import logging

logger = logging.getLogger("channelsd.server")


class LifespanFailed(Exception):
    """The application said lifespan.startup.failed (the text is its message), or ended the process."""


class Lifespan:
    """`state` is the namespace that requests get a copy of; None if the application does not support lifespan."""

    def __init__(self, application, loop):
        self.application = application
        self.loop = loop
        self.state = None
        self._namespace = {}
        self._events = asyncio.Queue()
        self._started = None
        self._stopped = None
        self._task = None

    async def startup(self):
        """Returns when the application is started or does not support lifespan. Raises LifespanFailed."""
        self._started = self.loop.create_future()
        self._stopped = self.loop.create_future()
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = self.loop.create_task(self._run())
        await self._started
        failure = self._started.result()
        if failure is not None:
            raise LifespanFailed(failure)

    async def shutdown(self, timeout):
        """Tells the application, if it supports lifespan, and waits for its answer for at most `timeout` seconds."""
        if self._task is None or self._task.done():
            return
        if self.state is not None:
            self._events.put_nowait({"type": "lifespan.shutdown"})
            await asyncio.wait([self._stopped], timeout=timeout)
            if not self._stopped.done():
                logger.warning("The application did not end its lifespan within %g s.", timeout)
            elif self._stopped.result() is not None:
                logger.error("Application lifespan shutdown failed: %s", self._stopped.result())
        # Most applications return now; one that waits on is cancelled.
        await asyncio.wait([self._task], timeout=0.1)
        self._task.cancel()

    async def _run(self):
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._namespace,
        }
        failure = None
        try:
            await self.application(scope, self._events.get, self._send)
        except (SystemExit, KeyboardInterrupt) as error:
            failure = f"the application raised {type(error).__name__}"
            logger.error("Exception inside application: %s", failure, exc_info=error)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            if not self._started.done():
                # How applications without lifespan say so: Django's handler and Channels' router raise ValueError.
                logger.debug("The application does not support lifespan: %s", error)
            elif self._started.result() is None:
                logger.error("Exception inside application: %s", error, exc_info=error)
        for answer in (self._started, self._stopped):
            if not answer.done():
                answer.set_result(failure)

    async def _send(self, message):
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._answer(self._started, None)
            self.state = self._namespace
        elif kind == "lifespan.startup.failed":
            self._answer(self._started, message.get("message", "") or "the application gave no reason")
        elif kind == "lifespan.shutdown.complete":
            self._answer(self._stopped, None)
        elif kind == "lifespan.shutdown.failed":
            self._answer(self._stopped, message.get("message", "") or "the application gave no reason")
        else:
            raise ValueError(f"Cannot handle message type {kind}!")

    @staticmethod
    def _answer(future, failure):
        if future.done():
            raise ValueError("This lifespan event has been answered already")
        future.set_result(failure)
