# SPDX-License-Identifier: BSD-3-Clause
"""Two costs of asgiref's hops to a thread, which every request of Django's ASGI handler pays several times.

ThreadSensitiveContext, one for each request, ends its thread by a second thread that only joins the first. Here the loop
waits for the last piece of the first one's work instead; the thread ends right behind it.

sync_to_async() looks for AsyncToSync.executors.current, which mostly is not set, and the Local makes an exception of that,
with a text that nobody reads. Set to None, which means the same, it is found.
"""

import asyncio
import functools
import importlib
from concurrent.futures import ThreadPoolExecutor

from .stock import is_own


def _nothing():
    """The last work of a thread."""


def _make_aexit(sync, stock_aexit):
    executors = sync.SyncToAsync.context_to_thread_executor

    async def __aexit__(self, exc, value, tb):
        executor = executors.get(self) if self.token and getattr(self, "_executor", None) is None else None
        if type(executor) is not ThreadPoolExecutor:
            return await stock_aexit(self, exc, value, tb)
        try:
            last = executor.submit(_nothing)
        except RuntimeError:
            # Somebody has shut it down, or the interpreter ends.
            return await stock_aexit(self, exc, value, tb)
        executor.shutdown(wait=False)
        del executors[self]
        await stock_aexit(self, exc, value, tb)
        # Work that others have left to the thread comes before.
        await asyncio.wrap_future(last)

    return __aexit__


def install_threads(report):
    """Replaces ThreadSensitiveContext.__aexit__ of asgiref, and sets AsyncToSync.executors.current for the calling context
    and those that are copied from it."""
    sync = importlib.import_module("asgiref.sync")
    context = sync.ThreadSensitiveContext
    if is_own(context.__aexit__, sync):
        context.__aexit__ = functools.wraps(context.__aexit__)(_make_aexit(sync, context.__aexit__))
        report.replaced("asgiref.sync.ThreadSensitiveContext.__aexit__")
    else:
        report.left_alone("asgiref.sync.ThreadSensitiveContext.__aexit__", "somebody has patched it")
    if getattr(sync.AsyncToSync.executors, "current", None) is None:
        sync.AsyncToSync.executors.current = None
