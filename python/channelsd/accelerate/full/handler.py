# SPDX-License-Identifier: BSD-3-Clause
"""The function that takes the place of ASGIHandler.handle()."""

import logging

import django
from asgiref.sync import SyncToAsync
from django.core.exceptions import RequestAborted
from django.core.handlers import asgi
from django.db import connections

from .exchange import Exchange
from .exchange42 import Exchange42
from .exchange61 import Exchange61
from .plan import Plans
from .tally import count_fallback
from .threads import Pool

logger = logging.getLogger("channelsd.accelerate.full")


def is_spoilt():
    """Whether this thread must not serve another request: a transaction was left open, or a connection is broken."""
    try:
        return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
    except Exception as error:
        logger.warning("Looking at the database connections of a request thread: %s", error, exc_info=error)
        return True


def close_connections():
    """Closes the database connections of this thread, which ends: errors have nobody to go to but the log."""
    try:
        connections.close_all()
    except Exception as error:
        logger.warning("Closing the database connections of a request thread: %s", error, exc_info=error)


def make_handle(stock, threads):
    """Returns the coroutine function; `threads`: the ceiling of the pool, one for the process."""
    plans = Plans(stock)
    pool = Pool(threads, is_spoilt, close_connections)
    is_42 = django.VERSION < (5,)
    exchange_class = Exchange42 if is_42 else Exchange if django.VERSION < (6, 1) else Exchange61

    async def handle(self, scope, receive, send):
        plan, reason, advice = plans.of(self)
        if plan is None or SyncToAsync.thread_sensitive_context.get(None) is None:
            count_fallback(reason or "no ThreadSensitiveContext", advice or "handle() was not called by __call__()")
            await stock.handle(self, scope, receive, send)
            return
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return
        prefix = self.get_script_prefix(scope) if is_42 else asgi.get_script_prefix(scope)
        asgi.set_script_prefix(prefix)
        exchange = exchange_class(plan, self, scope, body_file, pool)
        try:
            await exchange.serve(receive, send)
        finally:
            exchange.count()
            await exchange.end()

    return handle
