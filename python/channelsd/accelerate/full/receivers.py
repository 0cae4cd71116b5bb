# SPDX-License-Identifier: BSD-3-Clause
"""Who listens to request_started and request_finished: only Django itself, or the project too?"""

import contextvars

from django.core import signals
from django.core.cache import caches, close_caches
from django.core.handlers.base import reset_urlconf
from django.db import close_old_connections, reset_queries

# These look after what the request's thread holds, and caches: without a thread there is nothing else for them to do,
# and nobody can tell whether they run just before or just after the last byte is sent.
_KNOWN = {reset_queries, close_old_connections, close_caches, reset_urlconf}


class Receivers:
    """The receivers of one signal, looked at again when they change."""

    def __init__(self, signal):
        self.signal = signal
        self._seen = None
        self._known = False
        self._asynchronous = False

    def _look(self):
        signal = self.signal
        if self._seen != signal.receivers or signal._dead_receivers:
            self._seen = list(signal.receivers)
            live = signal._live_receivers(None) if not self._has_senders() else None
            if live is None:
                self._known, self._asynchronous = False, _is_split(signal)
            else:
                synchronous, asynchronous = live if isinstance(live, tuple) else (live, [])
                self._known = not asynchronous and all(receiver in _KNOWN for receiver in synchronous)
                self._asynchronous = bool(asynchronous)

    def _has_senders(self):
        """Whether a receiver listens to one sender only; then any request may have other ones."""
        from django.dispatch.dispatcher import NONE_ID

        return any(entry[0][1] != NONE_ID for entry in self._seen)

    @property
    def are_known(self):
        """Whether all of them are Django's own."""
        self._look()
        return self._known

    @property
    def may_be_asynchronous(self):
        """Whether only send_on_loop() sends it as stock does."""
        self._look()
        return self._asynchronous

    async def send_on_loop(self, **named):
        """Sends the signal as ASGIHandler.handle() does from Django 5.0 on."""
        await self.signal.asend(**named)  # codespell:ignore asend


def has_caches():
    """Whether a cache was used in this context, which request_finished closes."""
    # The variable behind the Local: where it is not set, there is none. The Local itself is slow.
    variable = getattr(getattr(caches._connections, "_storage", None), "_data", None)
    if isinstance(variable, contextvars.ContextVar) and not variable.get(None):
        return False
    return bool(caches.all(initialized_only=True))


def _is_split(signal):
    """Whether receivers of this Django may be asynchronous (5.0)."""
    return hasattr(signal, "asend")  # codespell:ignore asend


started = Receivers(signals.request_started)
finished = Receivers(signals.request_finished)
