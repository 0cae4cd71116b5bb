# SPDX-License-Identifier: BSD-3-Clause
"""Tasks of Celery: `celery -A programs.tasks worker`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "programs.settings")

import celery
import django
from celery.exceptions import SoftTimeLimitExceeded

django.setup()

from programs import calls  # noqa: E402

app = celery.Celery("programs", broker=os.environ["PROGRAMS_BROKER"], backend=os.environ["PROGRAMS_BROKER"])
app.conf.broker_connection_retry_on_startup = True

if os.environ.get("PROGRAMS_TELL_AT_IMPORT"):
    calls.tell(at="import")


@app.task
def tell(count):
    calls.tell(count)
    return os.getpid()


@app.task
def ask(number):
    return calls.ask(number)


@app.task(soft_time_limit=1)
def tell_until_stopped():
    """Is in the middle of a call, or between two, when the limit comes. Returns how many were made."""
    made = 0
    try:
        while True:
            calls.tell(n=made)
            made += 1
    except SoftTimeLimitExceeded:
        return made
