# SPDX-License-Identifier: BSD-3-Clause
"""Settings for Django's own test runner: its usual ones, and mode full when $DJANGO_SUITE_COUNTERS names a file, to
which the counters are written at the end."""

import atexit
import json
import os
from pathlib import Path

from test_sqlite import *  # noqa: F403 - the settings that Django's suites come with

_counters = os.environ.get("DJANGO_SUITE_COUNTERS")


def _write_counters():
    from channelsd.accelerate import full

    Path(_counters).write_text(json.dumps(full.counters()))


if _counters:
    import channelsd.accelerate

    channelsd.accelerate.install("full")
    atexit.register(_write_counters)
