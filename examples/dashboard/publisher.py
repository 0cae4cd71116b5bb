# SPDX-License-Identifier: BSD-3-Clause
"""Tells the group `dashboard` that something changed, at most once per interval and always about the last state.

Signals are sent in whatever thread made the change: one of the server's, a management command, a task queue. They
only leave a note here. A thread of our own waits out the interval, counts, and sends; it ends when there is nothing
left to tell, so an idle process has none. manage.py waits for it, so a command's last change is told too.
"""

import logging
import threading
import time

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connections

from dashboard.stats import collect_stats
from realtime.server_loop import run_from_thread

logger = logging.getLogger(__name__)

GROUP = "dashboard"
ATTEMPTS = 3


class Publisher:
    """Turns any number of notes from any threads into few calls of one function, from one thread at a time."""

    def __init__(self, publish, interval, clock=time.monotonic, sleep=time.sleep):
        self._publish = publish
        self._interval = interval
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
        self._dirty = False
        self._thread = None
        self._not_before = None

    def note(self):
        """Note that something changed; returns at once."""
        with self._changed:
            self._dirty = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dashboard-publisher")
                self._thread.start()

    def wait_idle(self, timeout=None):
        """Wait until everything noted was published (or given up); False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def _run(self):
        attempt = 0
        while True:
            if self._not_before is not None:
                self._sleep(max(0.0, self._not_before - self._clock()))
            with self._changed:
                self._dirty = False
            try:
                self._publish()
                attempt = 0
            except Exception:
                attempt += 1
                logger.exception("the dashboard was not told of a change (attempt %d of %d)", attempt, ATTEMPTS)
            self._not_before = self._clock() + self._interval()
            with self._changed:
                if not self._dirty and not 0 < attempt < ATTEMPTS:
                    self._thread = None
                    self._changed.notify_all()
                    return


def publish_stats():
    """Count and send; for a thread that has no other use for its database connection."""
    try:
        event = {"type": "stats_update", "data": collect_stats()}
    finally:
        connections.close_all()
    run_from_thread(get_channel_layer().group_send, GROUP, event)


publisher = Publisher(publish_stats, lambda: settings.DASHBOARD_INTERVAL)
