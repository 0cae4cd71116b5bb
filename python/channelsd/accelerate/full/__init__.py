# SPDX-License-Identifier: BSD-3-Clause
"""Django over HTTP in one hop, as a threaded WSGI server runs it: mode "full"; docs/acceleration.md.

Replaces ASGIHandler.handle(). For each request it is decided whether all on its way is Django's own and plain; if not,
Django's own handle() is called, and counted with the reason.
"""

import atexit
import functools
import importlib.util

from .tally import counters, log_summary

__all__ = ["counters", "install_full", "log_summary"]

_NAME = "django.core.handlers.asgi.ASGIHandler.handle"


def install_full(report, threads):
    """Replaces ASGIHandler.handle() for all handlers, those that exist and those to come.

    report: told by replaced(name) or left_alone(name, why). threads: request threads at most, but for requests that
    would have to wait for one another. Works before and after django.setup().
    """
    if importlib.util.find_spec("django") is None:
        return
    from . import hop
    from .stock import Stock

    if not hop.is_supported():
        report.left_alone(_NAME, "asgiref is older than 3.8, or newer than this version of channelsd knows")
        return
    try:
        stock = Stock()
    except LookupError as error:
        report.left_alone(_NAME, error.args[0])
        return
    from django.core.handlers.asgi import ASGIHandler

    from .handler import make_handle

    ASGIHandler.handle = functools.wraps(stock.handle)(make_handle(stock, threads))
    atexit.register(log_summary)
    report.replaced(_NAME)
