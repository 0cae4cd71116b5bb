# SPDX-License-Identifier: BSD-3-Clause
"""What happened to one request, in order, in words that are the same with and without acceleration."""

import asyncio
import contextvars
import threading

events = []
waiting = {}  # name -> threading.Event that a view waits for, or sets

colour = contextvars.ContextVar("colour", default="none")


def place():
    """ "loop" or "thread": where the caller runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "thread"
    return "loop"


def note(what, *details):
    events.append([what, *map(str, details)])


def take():
    taken, events[:] = list(events), []
    return taken


def event(name):
    return waiting.setdefault(name, threading.Event())
