# SPDX-License-Identifier: BSD-3-Clause
"""An equivalent of channels.db.aclose_old_connections that goes to the thread only if something would happen there.

Stock sends close_old_connections() through sync_to_async() before each handler: a hop to the thread of all sensitive code
and back. Database connections belong to their thread, so whether there is anything to do is found out there: after each
piece of work that the thread was given, while it still has it. Until it is given the next, nothing but time changes that.
"""

import contextvars
import functools
import importlib
import math
import threading
import time

from .stock import is_own


class ThreadWatch:
    """What close_old_connections() would find in the one thread of an executor.

    `settled` is written by the thread and by those who submit, under the lock, and read without it.
    """

    def __init__(self, executor):
        self.executor = executor
        self._submit = executor.submit
        self._lock = threading.Lock()
        self._db = importlib.import_module("django.db")
        self._base = base = importlib.import_module("django.db.backends.base.base").BaseDatabaseWrapper
        self._close_if_unusable = base.close_if_unusable_or_obsolete
        self._get_autocommit = base.get_autocommit
        self._handler_type = importlib.import_module("django.db.utils").ConnectionHandler
        self._all = self._handler_type.all
        self._pending = 0
        # None: something is to be done. Else (time.monotonic() from when something is, connections that are closed now).
        self._found = None
        self.nothing = (math.inf, ())
        self.settled = None  # _found, while nothing is pending; `nothing`, the very object, for no connection at all
        executor.submit = self.submit

    def submit(self, function, /, *args, **kwargs):
        """Stands for the executor's submit()."""
        with self._lock:
            self._pending += 1
            self.settled = None
        try:
            future = self._submit(self._run, function, args, kwargs)
        except BaseException:
            self._done(None)
            raise
        # Also called for work that is cancelled before the thread takes it.
        future.add_done_callback(self._done)
        return future

    def _done(self, _future):
        with self._lock:
            self._pending -= 1
            if not self._pending:
                self.settled = self._found

    def _run(self, function, args, kwargs):
        self._found = None
        try:
            return function(*args, **kwargs)
        finally:
            self._found = self._inspect()

    def _is_plain(self, connection):
        """Whether the state of a connection tells what its close_if_unusable_or_obsolete() would do."""
        cls = type(connection)
        return (
            isinstance(connection, self._base)
            and cls.close_if_unusable_or_obsolete is self._close_if_unusable
            and cls.get_autocommit is self._get_autocommit
            and "close_if_unusable_or_obsolete" not in connection.__dict__
            and "AUTOCOMMIT" in connection.settings_dict
            and not connection.allow_thread_sharing
        )

    def _inspect(self):
        """In the thread. Returns the value for _found."""
        handler = self._db.connections
        if type(handler) is not self._handler_type or self._handler_type.all is not self._all:
            return None
        until = math.inf
        closed = []
        # Without settings, asking for them may raise: that is for stock to do, before each handler.
        if "settings" not in handler.__dict__:
            return None
        for connection in handler.all(initialized_only=True):
            if not self._is_plain(connection):
                return None
            if connection.connection is None:
                closed.append(connection)
                continue
            if (
                connection.health_check_done
                or connection.errors_occurred
                or connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
            ):
                return None
            if connection.close_at is not None:
                until = min(until, connection.close_at)
        return (until, tuple(closed)) if closed or until != math.inf else self.nothing

    def is_settled(self):
        """Whether close_old_connections() in the thread would change nothing now."""
        settled = self.settled
        if settled is None:
            return False
        until, closed = settled
        # One that threads share may have been opened by another.
        for connection in closed:
            if connection.connection is not None:
                return False
        return until == math.inf or time.monotonic() < until


def _make_is_needless(sync, db, watch):
    """A function that returns whether aclose_old_connections() would do nothing: it would go to the process's one thread
    of sensitive code (not to one that the calling context has for itself), and close_old_connections() is Django's."""
    sync_class = sync.SyncToAsync
    own_context = sync_class.thread_sensitive_context.get
    deadlock = sync_class.deadlock_context.get
    executors = sync.AsyncToSync.executors
    loops = sync.AsyncToSync.loop_thread_executors
    close_old_connections = importlib.import_module("django.db").close_old_connections
    # The variable behind the Local; where it is not set, or as it was here, `current` is None. The Local itself is slow.
    variable = getattr(getattr(executors, "_storage", None), "_data", None)
    is_set = variable.get if isinstance(variable, contextvars.ContextVar) else lambda default: executors
    plain = is_set(None) if getattr(executors, "current", None) is None else None
    nothing = watch.nothing

    def is_needless():
        return (
            (watch.settled is nothing or watch.is_settled())
            and own_context(None) is None
            and not deadlock(False)
            and not loops
            and (is_set(None) in (None, plain) or getattr(executors, "current", None) is None)
            and db.close_old_connections is close_old_connections
            and sync_class.single_thread_executor is watch.executor
        )

    return is_needless


def install_connections(report, stock):
    """Replaces aclose_old_connections where Channels has it (4.2 and later): in channels.db and in those who import it.

    Returns a function that tells whether a call would do nothing, or None if nothing was replaced.
    """
    if stock.version < (4, 2):
        return None
    db = stock.module("channels.db")
    if not stock.has_functions(report, db, ("aclose_old_connections",)):
        return None
    django_db = importlib.import_module("django.db")
    if not is_own(django_db.close_old_connections, django_db):
        report.left_alone("channels.db.aclose_old_connections", "somebody has patched django.db.close_old_connections")
        return None
    sync = importlib.import_module("asgiref.sync")
    stock_aclose = db.aclose_old_connections
    is_needless = _make_is_needless(sync, db, ThreadWatch(sync.SyncToAsync.single_thread_executor))

    @functools.wraps(stock_aclose)
    async def aclose_old_connections():
        if not is_needless():
            await stock_aclose()

    stock.replace(report, stock_aclose, aclose_old_connections)
    return is_needless
