# SPDX-License-Identifier: BSD-3-Clause
"""The place where the synchronous outer part of a chain calls the asynchronous rest.

Stock makes an async_to_sync() object there, which synchronous-only middleware keep as get_response: the loop would run
the rest, and come back to the thread for each step. make() gives that object another class. Called in the thread of a
request that is served in one hop, it serves the rest there; called in any other way it does what it always did.
"""

import threading

from asgiref.sync import AsyncToSync

_current = threading.local()


class Bridge(AsyncToSync):
    """An AsyncToSync with a short cut."""

    def __call__(self, *args, **kwargs):
        """What get_response(request) gives."""
        exchange = getattr(_current, "exchange", None)
        if exchange is None or exchange.plan.bridge is not self or len(args) != 1 or kwargs:
            return AsyncToSync.__call__(self, *args, **kwargs)
        return exchange.inside(args[0])


def make(async_to_sync):
    """Makes an AsyncToSync a Bridge; one that is already stays as it is. Any other class is left alone."""
    if type(async_to_sync) is AsyncToSync:
        async_to_sync.__class__ = Bridge


def call(exchange, function, request):
    """Calls `function(request)`, the outer part, so that the bridge of `exchange` knows whom it serves."""
    outer = getattr(_current, "exchange", None)
    _current.exchange = exchange
    try:
        return function(request)
    finally:
        _current.exchange = outer
