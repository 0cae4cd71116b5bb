# SPDX-License-Identifier: BSD-3-Clause
"""Parts of Channels and Django replaced at run time by equivalents that do no needless work; docs/acceleration.md.

install() is called by the worker when the application is imported. It works in any other process too, a test run say:

    import channelsd.accelerate
    channelsd.accelerate.install("exact")
"""

import importlib.util
import logging
import sys

MODES = ("off", "exact", "full")
THREADS = 64  # request threads of mode "full", at most

logger = logging.getLogger("channelsd.accelerate")


class Report:
    """What install() did: `replacements`, names; `skipped`, pairs of a name and why it was left alone."""

    def __init__(self):
        self.replacements = []
        self.skipped = []

    def replaced(self, name):
        self.replacements.append(name)

    def left_alone(self, name, why):
        if (name, why) not in self.skipped:
            self.skipped.append((name, why))

    def log(self):
        if self.replacements:
            logger.info("Accelerated: %s", ", ".join(self.replacements))
        for name, why in self.skipped:
            logger.warning("Not accelerated: %s (%s)", name, why)


_reports = {}


def _has_channels():
    """Whether Django Channels is installed, and not something else of that name."""
    try:
        return importlib.util.find_spec("channels.consumer") is not None
    except ModuleNotFoundError:
        return False


def _install_exact(report):
    if "asgiref" in sys.modules or importlib.util.find_spec("asgiref") is not None:
        from .threads import install_threads

        install_threads(report)
    if not _has_channels():
        return
    from .auth import install_auth
    from .connections import install_connections
    from .consumers import install_consumers
    from .dispatch import install_dispatch
    from .memory import install_memory
    from .node import install_node
    from .redis import install_redis
    from .stock import Stock
    from .sync import install_sync

    stock = Stock()
    install_dispatch(report, stock)
    is_needless = install_connections(report, stock)
    install_consumers(report, stock, is_needless)
    install_sync(report, stock)
    if "django.contrib.auth" in sys.modules:
        install_auth(report, stock, is_needless)
    install_memory(report, stock)
    install_node(report, stock, is_needless)
    install_redis(report, stock)


def _install_full(report, threads):
    from .full import install_full

    install_full(report, threads)


def install(mode="exact", *, threads=THREADS):
    """Replaces what `mode` names ("full" has "exact" in it), once for all in this process. Returns the Report.

    Raises ValueError for a mode that there is not. What is not as it was published is left alone; see the report.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
    report = Report()
    if mode != "off" and "exact" not in _reports:
        _reports["exact"] = report
        _install_exact(report)
    if mode == "full" and "full" not in _reports:
        _reports["full"] = report
        _install_full(report, threads)
    report.log()
    return report
