# SPDX-License-Identifier: BSD-3-Clause
"""How many requests went which way, and why those that took Django's own way did."""

import logging

logger = logging.getLogger("channelsd.accelerate.full")

ONE_HOP = "served in one hop"
ON_LOOP = "served without a thread"
AROUND = "served around asynchronous middleware"
OWN_THREAD = "served by a thread of its own: all request threads are busy"

_served = dict.fromkeys((ONE_HOP, ON_LOOP, AROUND, OWN_THREAD), 0)
_fallbacks = {}


def count(way):
    """One more request: ONE_HOP, ON_LOOP, AROUND; or OWN_THREAD, which is one of the others too."""
    _served[way] += 1


def count_fallback(reason, advice=""):
    """One more request that takes Django's own way. The first one for a reason is logged, with what to change."""
    seen = _fallbacks.get(reason, 0)
    _fallbacks[reason] = seen + 1
    if not seen:
        logger.info("Requests are left to Django's own way: %s%s", reason, f" ({advice})" if advice else "")


def counters():
    """A new dict: requests by way, and by reason for those left to Django ("middleware a.b.C", say)."""
    return {**_served, **_fallbacks}


def log_summary():
    """One line at INFO about all requests of this process; nothing if there were none."""
    if any(_served.values()) or _fallbacks:
        parts = [f"{number} {name}" for name, number in _served.items() if number]
        parts += [f"{number} left to Django: {reason}" for reason, number in _fallbacks.items()]
        logger.info("Django's HTTP requests: %s", "; ".join(parts))
