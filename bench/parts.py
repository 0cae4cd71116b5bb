# SPDX-License-Identifier: BSD-3-Clause
"""What each part of the acceleration saves: `python3 -m bench.parts` prints the table of docs/performance.md.

Each row adds one part to those above it, in a process of its own: the worker's own code, a link to a peer that only reads,
and events fed as the edge would send them. So it is the cost of the Python side alone, in microseconds of CPU, the smallest
of many runs, which disturbance by other processes changes least.
"""

import argparse
import asyncio
import gc
import importlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time

PARTS = (
    ("threads", "asgiref: no thread to join a request's thread"),
    ("connections", "aclose_old_connections: a hop only if it would close something"),
    ("dispatch", "await_many_dispatch: no tasks"),
    ("memory", "in-memory layer: no task per receiver, one walk for expired messages per minute"),
    ("consumers", "dispatch() remembers names; one JSON encoder"),
    ("sync", "SyncConsumer's send: handed over instead of awaited"),
    ("auth", "get_user of a client without a session: no hop"),
    ("full", "mode full: Django's requests in one hop"),
)
MESSAGE = "x" * 128
HEADERS = ((b"host", b"localhost:8000"), (b"origin", b"http://localhost:8000"), (b"upgrade", b"websocket"))
ROUNDS = 60
# Those of a new project.
MIDDLEWARE = (
    "middleware.security.Security",
    "contrib.sessions.middleware.Session",
    "middleware.common.Common",
    "middleware.csrf.CsrfView",
    "contrib.auth.middleware.Authentication",
    "contrib.messages.middleware.Message",
    "middleware.clickjacking.XFrameOptions",
)


def _application():
    """A project in one function: settings, consumers, routes."""
    from django.conf import settings

    settings.configure(
        SECRET_KEY="only for measurements",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "django.contrib.messages",
            "channels",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        MIDDLEWARE=[f"django.{name}Middleware" for name in MIDDLEWARE],
        ROOT_URLCONF="bench.parts_urls",
        USE_TZ=True,
    )
    importlib.import_module("django").setup()
    http = importlib.import_module("django.core.asgi").get_asgi_application()
    generic = importlib.import_module("channels.generic.websocket")
    routing = importlib.import_module("channels.routing")
    stack = importlib.import_module("channels.auth").AuthMiddlewareStack
    path = importlib.import_module("django.urls").path

    class Echo(generic.AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=text_data, bytes_data=bytes_data)

    class SyncEcho(generic.WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=text_data, bytes_data=bytes_data)

    class Member(generic.AsyncJsonWebsocketConsumer):
        async def connect(self):
            await self.channel_layer.group_add("group", self.channel_name)
            await self.accept()

        async def note(self, event):
            await self.send_json({"message": event["message"]})

    routes = [
        path("echo/", Echo.as_asgi()),
        path("sync/", SyncEcho.as_asgi()),
        path("member/", Member.as_asgi()),
        path("auth/", stack(Echo.as_asgi())),
    ]
    return routing.ProtocolTypeRouter({"http": http, "websocket": routing.URLRouter(routes)})


def _install(parts):
    """The parts of channelsd.accelerate that are named."""
    accelerate = importlib.import_module("channelsd.accelerate")
    stock = importlib.import_module("channelsd.accelerate.stock").Stock()
    report = accelerate.Report()
    is_needless = None
    for part, _ in PARTS:
        if part not in parts:
            continue
        function = getattr(importlib.import_module(f"channelsd.accelerate.{part}"), f"install_{part}")
        if part == "connections":
            is_needless = function(report, stock)
        elif part == "threads":
            function(report)
        elif part == "full":
            function(report, accelerate.THREADS)
        elif part in ("consumers", "auth"):
            function(report, stock, is_needless)
        else:
            function(report, stock)
    if report.skipped:
        sys.exit(f"not as published: {report.skipped}")


class _Bench:
    """A worker whose edge is this very code. Sessions are driven through the link's own handlers."""

    def __init__(self, parts):
        self.loop = self._make_loop()
        asyncio.set_event_loop(self.loop)
        ours, theirs = socket.socketpair()
        if not os.fork():
            ours.close()
            while theirs.recv(1 << 20):
                pass
            os._exit(0)
        theirs.close()
        application = _application()
        _install(parts)
        self.worker = importlib.import_module("channelsd.service").Worker(self.loop, [ours.detach()], 10.0)
        self.worker.startup(application)
        self.link = self.worker.links[0]
        self.ids = itertools.count(1)

    @staticmethod
    def _make_loop():
        try:
            return importlib.import_module("uvloop").new_event_loop()
        except ImportError:
            return asyncio.new_event_loop()

    def open(self, path, count):
        """The sessions of so many new clients."""
        sessions = []
        for id in itertools.islice(self.ids, count):
            raw = path.encode()
            record = (3, id, "1.1", "ws", path, raw, b"", "", HEADERS, ("127.0.0.1", 5), ("127.0.0.1", 8000), ())
            self.link._websocket(record)
            sessions.append(self.link.websockets[id])
        return sessions

    def until(self, condition, idle=0):
        async def wait():
            while not condition():
                # Threads are at work; a loop that spins would take the processor from them and be counted.
                await asyncio.sleep(idle)

        self.loop.run_until_complete(wait())

    def opened(self, path, count):
        sessions = self.open(path, count)
        self.until(lambda: all(session.state for session in sessions))
        return sessions

    def measure(self, count, start, is_done, idle=0):
        """Microseconds of CPU for each of `count` units, from start() until is_done()."""
        best = float("inf")
        for _ in range(ROUNDS):
            gc.collect()
            began = time.process_time()
            start()
            self.until(is_done, idle)
            best = min(best, (time.process_time() - began) / count * 1e6)
        return round(best, 1)

    def messages(self, path, clients, window):
        """Echoes: each of the clients sends `window` messages at once."""
        sessions = self.opened(path, clients)

        def start():
            for session in sessions:
                session.unsent = 0
                session.queue.extend([MESSAGE] * window)
                session.wake()

        expected = window * len(MESSAGE)
        idle = 0.0005 if path == "/sync/" else 0
        done = lambda: all(session.unsent == expected for session in sessions)  # noqa: E731
        return self.measure(clients * window, start, done, idle)

    def group(self, clients):
        sessions = self.opened("/member/", clients)
        layer = importlib.import_module("channels.layers").get_channel_layer()

        def start():
            for session in sessions:
                session.unsent = 0
            self.loop.run_until_complete(layer.group_send("group", {"type": "note", "message": MESSAGE}))

        return self.measure(clients, start, lambda: all(session.unsent for session in sessions))

    def lives(self, path, clients):
        """Handshake and disconnect."""

        def start():
            for session in self.opened(path, clients):
                session.disconnected(1000, "")

        before = len(self.link.websockets)
        return self.measure(clients, start, lambda: len(self.link.websockets) == before)

    def requests(self, path, count):
        """Requests to a view, all at once."""

        def start():
            for id in itertools.islice(self.ids, count):
                addresses = ("127.0.0.1", 5), ("127.0.0.1", 8000)
                self.link._http(
                    (1, id, "1.1", "GET", "http", path, path.encode(), b"", "", HEADERS, *addresses, b"", False)
                )

        return self.measure(count, start, lambda: not self.link.requests, idle=0.0005)


def _run(parts):
    bench = _Bench(parts)
    figures = {
        "async view": bench.requests("/async/", 32),
        "view": bench.requests("/sync/", 32),
        "connect": bench.lives("/auth/", 32),
        "echo": bench.messages("/echo/", 100, 8),
        "sync": bench.messages("/sync/", 20, 4),
        "group": bench.group(1000),
    }
    print(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(prog="bench.parts", description=__doc__.split("\n")[0])
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        _run(arguments.run.split(","))
    columns = {
        "echo": "echo",
        "sync": "echo, synchronous consumer",
        "group": "delivery to a group of 1,000",
        "connect": "open and close, AuthMiddlewareStack",
        "async view": "request, async view",
        "view": "request, view",
    }
    print("| with |", " | ".join(columns.values()), "|")
    print("|---" * (len(columns) + 1) + "|")
    parts = []
    for name, text in (("", "Channels and Django as published"), *PARTS):
        parts.append(name)
        command = [sys.executable, "-m", "bench.parts", "--run", ",".join(parts)]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(f"| {text} |", " | ".join(f"{figures[key]:,}" for key in columns), "|")


if __name__ == "__main__":
    main()
