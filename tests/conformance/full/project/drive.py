# SPDX-License-Identifier: BSD-3-Clause
"""Serves every scenario in this process and prints what happened, as JSON: drive.py off|full

The application is called as a server calls it; the receive() of a scenario is scripted.
"""

import asyncio
import json
import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django
from django.test.utils import override_settings

django.setup()

import middleware  # noqa: E402
import traced  # noqa: E402
from django.core import signals  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

TIMEOUT = 10  # seconds: a scenario that takes longer is a bug

_handlers = {}


def handler_of(names):
    if names not in _handlers:
        with override_settings(MIDDLEWARE=list(names)):
            _handlers[names] = ASGIHandler()
    return _handlers[names]


def make_scope(scenario):
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": scenario.get("method", "GET"),
        "scheme": "http",
        "path": scenario.get("root_path", "") + scenario["path"],
        "raw_path": scenario["path"].encode(),
        "query_string": scenario.get("query", "").encode("latin1"),
        "root_path": scenario.get("root_path", ""),
        "headers": [(b"host", b"localhost"), (b"user-agent", b"u")]
        + [(name.encode(), value.encode()) for name, value in scenario.get("headers", {}).items()],
        "client": ["127.0.0.1", 1],
        "server": ["127.0.0.1", 80],
        "loop": id(asyncio.get_running_loop()),
    }


def after_turns(count, callback):
    """Calls `callback` when the loop has turned `count` times."""
    if count:
        asyncio.get_running_loop().call_soon(after_turns, count - 1, callback)
    else:
        callback()


class Client:
    """The server's side: receive() gives the body in pieces, then what the scenario says; send() keeps what came."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.pieces = [piece.encode("latin1") for piece in scenario.get("body", [""])]
        self.sent = []
        self.has_sent = asyncio.Event()

    async def receive(self):
        if self.pieces:
            piece = self.pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or "cut" in self.scenario}
        if self.scenario.get("then") == "nonsense":
            return {"type": "http.request", "body": b"more", "more_body": False}
        then = self.scenario.get("then", "")
        if then.startswith("leave"):
            await self.until(then.rpartition(" when ")[2])
            return {"type": "http.disconnect"}
        if "cut" in self.scenario:
            return {"type": "http.disconnect"}
        return await asyncio.get_running_loop().create_future()

    async def until_given_up(self):
        """Returns when the server is to cancel the application. It does so too when the client of Django 4.2 leaves,
        which does not ask after the body."""
        then = self.scenario.get("then", "")
        if then.startswith("given up") or (then.startswith("leave") and django.VERSION < (5,)):
            await self.until(then.rpartition(" when ")[2])
        else:
            await asyncio.get_running_loop().create_future()

    async def until(self, moment):
        """Returns when "it waits", or "it sends"."""
        if moment == "it sends":
            await self.has_sent.wait()
        else:
            await asyncio.get_running_loop().run_in_executor(None, traced.event("waits").wait, TIMEOUT)
            after_turns(50, traced.event("go").set)  # the view goes on when the cancellation has come everywhere

    async def send(self, message):
        if message["type"] == "http.response.start":
            headers = sorted([name.decode(), value.decode()] for name, value in message["headers"])
            self.sent.append(["start", message["status"], [header for header in headers if header[0] != "Date"]])
        else:
            body = message.get("body", b"")
            self.sent.append(["body", len(body), body[:60].decode("latin1"), message.get("more_body", False)])
            self.has_sent.set()


async def until_tasks_rest():
    """What a request leaves behind when an exception comes out of it goes on by itself; it is not to be noted later."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if others:
        await asyncio.wait(others, timeout=TIMEOUT)


async def serve(scenario):
    """Returns [what was sent, what was noted, the exception that came out]."""
    traced.take()
    traced.waiting.clear()
    for signal, receiver in scenario.get("receivers", ()):
        getattr(signals, signal).connect(getattr(sys.modules["scenarios"], receiver))
    client = Client(scenario)
    error = None
    traced.colour.set("server")
    handler = handler_of(tuple(scenario.get("middleware", ())))
    task = asyncio.ensure_future(handler(make_scope(scenario), client.receive, client.send))
    given_up = asyncio.ensure_future(client.until_given_up())
    given_up.add_done_callback(lambda given_up: given_up.cancelled() or task.cancel())
    try:
        done, _ = await asyncio.wait({task}, timeout=TIMEOUT)
        assert done, scenario
        # Not raised here: a GeneratorExit that comes by a future would close this coroutine.
        caught = asyncio.CancelledError() if task.cancelled() else task.exception()
        if caught is not None:
            error = f"{type(caught).__name__}: {caught}"
    finally:
        given_up.cancel()
        traced.event("waits").set()  # a thread that waits for a view which was never called
        await until_tasks_rest()
        for signal, receiver in scenario.get("receivers", ()):
            getattr(signals, signal).disconnect(getattr(sys.modules["scenarios"], receiver))
    if scenario.get("compare") == "error":
        return error
    return [client.sent, traced.take(), error]


async def main():
    results = {}
    for name, scenario in SCENARIOS.items():
        with override_settings(**scenario.get("settings", {})):
            results[name] = await serve(scenario)
    return results


if __name__ == "__main__":
    report = {}
    if sys.argv[1] == "full":
        from channelsd.accelerate import full

        class Report:
            def replaced(self, name):
                report["replaced"] = name

            def left_alone(self, name, why):
                report["left alone"] = [name, why]

        full.install_full(Report(), 64)
        report["traces"] = asyncio.run(main())
        report["counters"] = full.counters()
    else:
        report["traces"] = asyncio.run(main())
    report["made"] = middleware.made
    report["django"] = list(django.VERSION[:2])
    print(json.dumps(report))
