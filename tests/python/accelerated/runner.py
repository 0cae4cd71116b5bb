# SPDX-License-Identifier: BSD-3-Clause
"""Runs the scenarios with acceleration off or on and prints their traces as JSON: runner.py <mode> <loop> [name ...]"""

import asyncio
import gc
import importlib
import json
import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "python"))

SECONDS = 20  # for one scenario
MODULES = (
    "turns",
    "sources",
    "kinds",
    "layers",
    "messages",
    "endings",
    "databases",
    "projects",
    "fanning",
    "fanning_own",
)


def configure(folder):
    """Settings of a project with two layers and two databases."""
    import django
    from django.conf import settings

    memory = "channels.layers.InMemoryChannelLayer"
    settings.configure(
        SECRET_KEY="only-for-tests",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "channels"],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CHANNEL_LAYERS={
            "default": {"BACKEND": memory, "CONFIG": {"capacity": 5}},
            "other": {"BACKEND": memory},
            "node": {"BACKEND": "channelsd.layer.ChannelLayer"},  # made by scenarios: node_layer.py
        },
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "one.sqlite3")},
            "second": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "two.sqlite3")},
        },
        USE_TZ=True,
    )
    django.setup()


def run(loop, function):
    """The trace of one scenario, and what it does not compare."""
    from world import World, reset_layers

    reset_layers()
    world = World(loop)

    async def main():
        try:
            await asyncio.wait_for(function(world), SECONDS)
        except Exception:
            world.note("failed", traceback.format_exc())
        await world.settle()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        # wait_for() may run its argument in a task of its own, which has ended.
        world.note("applications left", len(world.link.websockets), "tasks left", len(left))
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    try:
        loop.run_until_complete(main())
    finally:
        world.close()
    gc.collect()
    return world.trace, world.private


def main():
    mode, kind, *names = sys.argv[1:]
    if kind == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        configure(folder)
        import channelsd.accelerate

        report = channelsd.accelerate.install(mode)
        from world import scenario

        traces = {}
        private = {}
        for module in MODULES:
            scenario.scenarios = {}
            importlib.import_module(module)
            traces[module] = {}
            for name, function in scenario.scenarios.items():
                if not names or name in names:
                    traces[module][name], private[name] = run(loop, function)
    json.dump(
        {"replacements": report.replacements, "skipped": report.skipped, "traces": traces, "private": private},
        sys.stdout,
        default=repr,
    )


if __name__ == "__main__":
    main()
