# SPDX-License-Identifier: BSD-3-Clause
"""A process in which consumers run behind the real Link and WebSocket, and what an application can observe is noted.

The other end of the link is this process too: World.put() hands records to the link in the same turn of the loop, so that
"at once" is exact. What scenarios wait for is quiet: the sensitive thread has done all it was given, and the loop has
turned many times without a new note.
"""

import asyncio
import contextvars
import functools
import logging
import socket
import threading

import msgpack
from asgiref.sync import sync_to_async
from channels.layers import channel_layers, get_channel_layer

from channelsd.link import Link

RECEIVE, PART, DISCONNECT = 4, 5, 6
WEBSOCKET = 3
READY, START, W_BODY, ACCEPT, SEND, W_PART, CLOSE, W_CREDIT, W_BEAT, END, SEND_MANY = range(11)
NAMES = ("ready", "start", "body", "accept", "send", "part", "close", "credit", "beat", "end")

TURNS = 40  # of the loop in one round of settle()
ROUNDS = 3  # without a note, until it is quiet

VAR = contextvars.ContextVar("var", default=None)


class _Worker:
    """What Link asks of its worker."""

    def __init__(self, loop):
        self.loop = loop
        self.state = None
        self.is_watching = False

    def link_lost(self, link, reason):
        raise AssertionError(f"the link was lost: {reason}")


class _Errors(logging.Handler):
    """Notes what is logged as an error, and exceptions that nobody retrieved."""

    def __init__(self, world):
        super().__init__(logging.WARNING)
        self.world = world

    def emit(self, record):
        error = record.exc_info[1] if record.exc_info else None
        self.world.note("logged", record.levelname, type(error).__name__, str(error))


class Client:
    """A WebSocket as its client sees it."""

    def __init__(self, world, id):
        self.world = world
        self.id = id

    @property
    def session(self):
        """The worker's WebSocket; None once its application has ended."""
        return self.world.link.websockets.get(self.id)

    def send(self, *items):
        self.world.put(*([RECEIVE, self.id, item] for item in items))

    def disconnect(self, code=1000):
        self.world.put([DISCONNECT, self.id, code, ""])

    def out(self):
        """What the application sent since the last call. Credit is left out: when it comes is the server's own affair."""
        self.world.drain()
        mine = [record for record in self.world.records if record[1] == self.id]
        self.world.records = [record for record in self.world.records if record[1] != self.id]
        return [[NAMES[op], *rest] for op, _, *rest in mine if op != W_CREDIT]


class World:
    """One scenario's link, its clients and its notes."""

    def __init__(self, loop):
        self.loop = loop
        self.trace = []
        self.records = []
        self.shared = []  # for how many clients each SEND_MANY was
        self.private = {}  # what may differ between the modes, by name
        self.app = None  # the ASGI application
        self.tasks = {}  # client id -> task of its application
        self._count = 0
        ours, theirs = socket.socketpair()
        self._edge = ours
        self._edge.setblocking(False)
        self._unpacker = msgpack.Unpacker(raw=False, use_list=True)
        self.link = Link(_Worker(loop), theirs.detach())
        self.link.start(self._run)
        # "django" was imported long ago, so late sends pass, as they do in a project.
        assert self.link.late_sends_pass
        self._errors = _Errors(self)
        logging.getLogger("channelsd.server").addHandler(self._errors)
        logging.getLogger("asyncio").addHandler(self._errors)

    def close(self):
        logging.getLogger("channelsd.server").removeHandler(self._errors)
        logging.getLogger("asyncio").removeHandler(self._errors)
        self.loop.remove_reader(self.link._fd)
        self.link.lost = True
        self.link._socket.close()
        self._edge.close()

    @property
    def layer(self):
        return get_channel_layer()

    def note(self, *items):
        self.trace.append(list(items))

    async def _run(self, scope, receive, send):
        """Around each application: notes how it ended."""
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            self.note("application raised", type(error).__name__, str(error))
            raise
        self.note("application returned")

    def put(self, *records):
        """Records from the edge, all in this turn of the loop."""
        self.link._unpacker.feed(b"".join(map(msgpack.packb, records)))
        self.link._dispatch()

    def open(self, path="/"):
        """A client whose application has not run yet."""
        self._count += 1
        record = [WEBSOCKET, self._count, "1.1", "ws", path, path.encode(), b"", "", [], None, None, ["a"]]
        self.put(record)
        return Client(self, self._count)

    async def connected(self, app=None):
        """A client whose application is quiet after its websocket.connect."""
        if app is not None:
            self.app = app
        client = self.open()
        await self.settle()
        return client

    def drain(self):
        """Reads what the worker wrote."""
        while True:
            try:
                data = self._edge.recv(1 << 16)
            except BlockingIOError:
                break
            self._unpacker.feed(data)
        for record in self._unpacker:
            if record[0] == SEND_MANY:
                self.shared.append(len(record[1]))
                self.records += [[SEND, id, record[2]] for id in record[1]]
            elif record[0] != READY:
                self.records.append(record)

    async def settle(self):
        """Returns when nothing happens any more."""
        quiet = 0
        while quiet < ROUNDS:
            before = len(self.trace), len(self.records)
            await sync_to_async(_nothing)()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self.drain()
            quiet = quiet + 1 if (len(self.trace), len(self.records)) == before else 0

    async def noted(self, what, count):
        """Returns when there are `count` notes that begin with `what`."""
        while sum(note[0] == what for note in self.trace) < count:
            await asyncio.sleep(0)

    def note_layer(self, layer=None):
        """Notes what a layer holds: the messages of each channel, the size of each group."""
        layer = layer or self.layer
        held = ([item[1] for item in queue._queue] for queue in layer.channels.values() if queue.qsize())
        channels = sorted(held, key=repr)
        self.note("layer", channels, {group: len(members) for group, members in sorted(layer.groups.items())})


def _nothing():
    pass


def thread_kind():
    """loop, or sensitive, or the name of another thread."""
    if threading.current_thread() is threading.main_thread():
        return "loop"
    return "executor" if threading.current_thread().name.startswith("ThreadPoolExecutor") else "other"


def current_task():
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def nap(turns=3):
    for _ in range(turns):
        await asyncio.sleep(0)


async def fill(layer, channel, limit=1000):
    """How many messages a channel takes at once until it is full."""
    from channels.exceptions import ChannelFull

    for number in range(limit):
        try:
            await layer.send(channel, {"type": "filled", "n": number})
        except ChannelFull:
            return number
    return limit


def reset_layers():
    channel_layers.backends = {}


class Registry:
    """Scenarios by name."""

    def __init__(self):
        self.scenarios = {}

    def __call__(self, function):
        assert function.__name__ not in self.scenarios, function.__name__
        self.scenarios[function.__name__] = function
        return function

    def of(self, **variants):
        """Decorator: one scenario for each variant, given as the second argument."""

        def register(function):
            for name, value in variants.items():
                self.scenarios[f"{function.__name__}-{name}"] = functools.partial(_call_variant, function, value)
            return function

        return register


async def _call_variant(function, value, world):
    await function(world, value)


scenario = Registry()
