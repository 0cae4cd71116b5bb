# SPDX-License-Identifier: BSD-3-Clause
"""Database connections: what is closed, pinged and reset before which handler, and in which thread."""

import asyncio
import contextlib
import functools
import threading
import time
from unittest import mock

import channels.consumer
import channels.db
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from channels.db import database_sync_to_async
from django.db import DatabaseError, close_old_connections, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper
from turns import Noting, Raw, Sync, layered, noting
from world import scenario, thread_kind


@contextlib.asynccontextmanager
async def database(world, alias="default", **settings):
    """Notes what is really done to the connections of the sensitive thread, which start closed."""

    class Noted:
        def close(self):
            world.note("closed", self.alias, thread_kind())
            return close(self)

        def is_usable(self):
            world.note("pinged", self.alias)
            return is_usable(self)

    close, is_usable = DatabaseWrapper._close, DatabaseWrapper.is_usable
    await sync_to_async(connections.close_all)()
    before = dict(connections.settings[alias])
    connections.settings[alias].update(settings)

    def again():
        for each in connections.all(initialized_only=True):
            each.health_check_done = each.errors_occurred = False
            del connections[each.alias]

    await sync_to_async(again)()
    try:
        with (
            mock.patch.object(DatabaseWrapper, "_close", Noted.close),
            mock.patch.object(DatabaseWrapper, "is_usable", Noted.is_usable),
        ):
            yield
            await world.settle()
            world.note("end")
            await sync_to_async(connections.close_all)()
    finally:
        connections.settings[alias].clear()
        connections.settings[alias].update(before)
        await sync_to_async(again)()


def query(alias="default"):
    with connections[alias].cursor() as cursor:
        cursor.execute("select 1")
        return cursor.fetchone()[0]


def fail():
    with connection.cursor() as cursor:
        cursor.execute("select nonsense")


def lose():
    """The connection breaks, and Django is told."""
    query()
    connection.errors_occurred = True


def change_autocommit():
    query()
    connection.set_autocommit(False)


def both():
    query()
    query("second")


def start_atomic():
    connection.test_block = transaction.atomic()
    connection.test_block.__enter__()
    query()


class Worker(Noting):
    """Runs in its handlers what a scenario gives it, by name."""

    work = None

    async def receive(self, text_data=None, bytes_data=None):
        self.seen("receive", text_data)
        try:
            await self.work[text_data]()
        except DatabaseError as error:
            self.world.note("error", type(error).__name__)


WORK = {
    "query": sync_to_async(query),
    "channels query": database_sync_to_async(query),
    "both": sync_to_async(both),
    "fail": sync_to_async(fail),
    "channels fail": database_sync_to_async(fail),
    "lose": sync_to_async(lose),
    "autocommit": sync_to_async(change_autocommit),
    "nothing": functools.partial(asyncio.sleep, 0),
    "close": sync_to_async(connection.close),
}

SETTINGS = {
    "age_0": {"CONN_MAX_AGE": 0},
    "age_60": {"CONN_MAX_AGE": 60},
    "age_none": {"CONN_MAX_AGE": None},
    "checked": {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True},
    "checked_for_ever": {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True},
    "no_autocommit": {"CONN_MAX_AGE": 60, "AUTOCOMMIT": False},
}


@scenario.of(**SETTINGS)
async def every_work_before_every_handler(world, settings):
    async with database(world, **settings):
        client = await world.connected(noting(world, Worker, work=WORK).as_asgi())
        for name in WORK:
            world.note("now", name)
            client.send(name)
            await world.settle()
            client.send("nothing", "nothing")
            await layered(world, name)
            await world.settle()
        client.send("query")
        client.disconnect()
        await world.settle()


@scenario
async def connection_that_grows_old(world):
    async with database(world, CONN_MAX_AGE=60):
        client = await world.connected(noting(world, Worker, work=WORK).as_asgi())
        client.send("query", "nothing")
        await world.settle()
        clock = mock.Mock(monotonic=mock.Mock(return_value=time.monotonic() + 59))
        # The loop has to have its own.
        with (
            mock.patch("django.db.backends.base.base.time", clock),
            mock.patch("channelsd.accelerate.connections.time", clock),
        ):
            client.send("nothing")
            await world.settle()
            clock.monotonic.return_value += 2
            client.send("nothing", "nothing")
            await world.settle()
        client.send("both", "nothing")
        await world.settle()
        client.disconnect()


@scenario
async def work_of_somebody_else(world):
    """A view, say: the thread is one for all."""
    async with database(world, CONN_MAX_AGE=0):
        client = await world.connected(noting(world).as_asgi())
        await sync_to_async(query)()
        client.send("a")
        await world.settle()
        await sync_to_async(query)()
        await layered(world, 1)
        await world.settle()
        client.disconnect()


@scenario.of(age_0={"CONN_MAX_AGE": 0}, age_60={"CONN_MAX_AGE": 60})
async def atomic_block_over_several_hops(world, settings):
    async with database(world, **settings):
        work = {**WORK, "enter": sync_to_async(start_atomic)}
        client = await world.connected(noting(world, Worker, work=work).as_asgi())
        client.send("enter", "nothing", "query", "nothing")
        await world.settle()
        client.disconnect()
        await world.settle()

        def state():
            return connection.in_atomic_block, connection.connection is None, connection.closed_in_transaction

        world.note(await sync_to_async(state)())

        def leave():
            connection.in_atomic_block = False
            connection.closed_in_transaction = False
            connection.atomic_blocks = []
            connection.savepoint_ids = []
            connection.connection = None

        await sync_to_async(leave)()


class OwnWrapper(DatabaseWrapper):
    """A backend with its own idea of when to close."""

    world = None

    def close_if_unusable_or_obsolete(self):
        self.world.note("own close_if", self.connection is None)


class OwnAutocommit(DatabaseWrapper):
    world = None

    def get_autocommit(self):
        self.world.note("own get_autocommit")
        return super().get_autocommit()


class BrokenWrapper(DatabaseWrapper):
    """One whose close fails."""

    world = None

    def _close(self):
        self.world.note("broken close")
        self.connection = None
        raise DatabaseError("cannot close")


class NotAWrapper:
    """As some pools put there."""

    world = None

    def __init__(self, settings, alias):
        pass

    def close_if_unusable_or_obsolete(self):
        self.world.note("foreign close_if")

    def close(self):
        pass


@scenario.of(own=OwnWrapper, autocommit=OwnAutocommit, broken=BrokenWrapper, foreign=NotAWrapper)
async def connections_that_are_not_plain(world, base):
    async with database(world, CONN_MAX_AGE=0):

        def put():
            made = type(base.__name__, (base,), {"world": world})(dict(connections.settings["default"]), "default")
            connections["default"] = made
            if base is not NotAWrapper:
                query()

        client = await world.connected(noting(world).as_asgi())
        client.send("a", "b")
        await world.settle()
        await sync_to_async(put)()
        client.send("c")
        await world.settle()
        client.send("d", "e")
        await layered(world, 1)
        await world.settle()
        world.note(client.out())
        client.disconnect()
        await world.settle()

        def remove():
            with contextlib.suppress(DatabaseError):
                connections["default"].close()
            with contextlib.suppress(AttributeError):
                del connections["default"]

        await sync_to_async(remove)()


@scenario
async def connection_without_usual_settings(world):
    """KeyError comes out before the handler, and not out of the work that put it there."""
    async with database(world):

        def put():
            settings = dict(connections.settings["default"])
            del settings["AUTOCOMMIT"]
            made = DatabaseWrapper({**settings, "AUTOCOMMIT": True}, "default")
            connections["default"] = made
            query()
            del made.settings_dict["AUTOCOMMIT"]
            return "put"

        client = await world.connected(noting(world).as_asgi())
        world.note(await sync_to_async(put)())
        client.send("a")
        await world.settle()
        world.note(client.out())
        client.disconnect()
        await world.settle()

        def remove():
            connections["default"].connection = None
            del connections["default"]

        await sync_to_async(remove)()


@scenario
async def close_if_set_on_the_connection(world):
    async with database(world):

        def put():
            connections["default"].close_if_unusable_or_obsolete = lambda: world.note("patched on the instance")

        client = await world.connected(noting(world).as_asgi())
        await sync_to_async(put)()
        client.send("a", "b")
        await world.settle()
        client.disconnect()


@scenario
async def health_check_of_the_next_query(world):
    """health_check_done is reset before each handler, so the next query pings."""
    async with database(world, CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True):
        client = await world.connected(noting(world, Worker, work=WORK).as_asgi())
        client.send("query", "query", "nothing", "query")
        await world.settle()
        client.send("nothing")
        await world.settle()
        client.send("query")
        await world.settle()
        client.disconnect()


@scenario
async def patched_close_old_connections(world):
    client = await world.connected(noting(world).as_asgi())

    def noted():
        world.note("close_old_connections", thread_kind())

    with mock.patch("channels.db.close_old_connections", noted):
        client.send("a")
        await layered(world, 1)
        await world.settle()
    client.send("b")
    await world.settle()
    client.disconnect()


@scenario
async def patched_aclose_old_connections(world):
    if not hasattr(channels.consumer, "aclose_old_connections"):
        world.note("this version has none")
        return
    client = await world.connected(noting(world).as_asgi())

    async def noted():
        world.note("aclose_old_connections")

    with mock.patch("channels.consumer.aclose_old_connections", noted):
        client.send("a")
        await layered(world, 1)
        await world.settle()
    client.send("b")
    await world.settle()
    client.disconnect()


@scenario
async def close_old_connections_that_raises(world):
    def broken():
        raise DatabaseError("broken backend")

    client = await world.connected(noting(world).as_asgi())
    with mock.patch("channels.db.close_old_connections", broken):
        client.send("a")
        await world.settle()
        world.note(client.out())
    client.disconnect()


@scenario
async def a_thread_of_its_own(world):
    """ThreadSensitiveContext around the application: its connections live in that thread."""
    async with database(world, CONN_MAX_AGE=0):
        consumer = noting(world, Worker, work={**WORK, "end": sync_to_async(connections.close_all)})

        async def middleware(scope, receive, send):
            async with ThreadSensitiveContext():
                await consumer.as_asgi()(scope, receive, send)

        client = await world.connected(middleware)
        # settle() knows nothing of that thread.
        client.send("query", "nothing", "both", "nothing", "channels query", "nothing", "query")
        await world.noted("receive", 7)
        client.send("end", "nothing")
        await world.noted("receive", 9)
        client.disconnect()
        await world.noted("application returned", 1)


@scenario
async def consumer_under_async_to_sync(world):
    """In a thread with a loop of its own, as a test client has it: sensitive code runs in that very thread."""
    async with database(world, CONN_MAX_AGE=0):
        consumer = noting(world, Worker, work=WORK)
        events = [
            {"type": "websocket.connect"},
            *({"type": "websocket.receive", "text": text} for text in ("query", "nothing", "query", "nothing")),
            {"type": "websocket.disconnect", "code": 1000},
        ]

        async def receive():
            return events.pop(0)

        async def send(message):
            world.note(message["type"])

        def run():
            async_to_sync(consumer.as_asgi())({"type": "websocket"}, receive, send)
            connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            await sync_to_async(thread.join)(0.01)


@scenario
async def work_cancelled_in_the_queue(world):
    """It never runs; what was found before holds."""
    async with database(world, CONN_MAX_AGE=0):
        client = await world.connected(noting(world).as_asgi())
        begun, go = threading.Event(), threading.Event()

        def block():
            begun.set()
            go.wait(10)

        blocking = asyncio.ensure_future(sync_to_async(block)())
        while not begun.is_set():
            await asyncio.sleep(0)
        queued = asyncio.ensure_future(sync_to_async(query)())
        for _ in range(5):
            await asyncio.sleep(0)
        queued.cancel()
        await asyncio.wait([queued])
        go.set()
        await blocking
        world.note(queued.cancelled())
        client.send("a")
        await world.settle()
        await sync_to_async(query)()
        client.send("b")
        await world.settle()
        client.disconnect()


@scenario
async def sync_consumer_and_database(world):
    class Queries(Sync):
        def receive(self, text_data=None, bytes_data=None):
            self.seen("receive", text_data)
            self.world.note(query())

    async with database(world, CONN_MAX_AGE=0):
        client = await world.connected(noting(world, Queries).as_asgi())
        client.send("a", "b")
        await layered(world, 1)
        await world.settle()
        client.disconnect()


@scenario
async def handlers_that_fill_the_thread_for_others(world):
    """One consumer's work is what the next handler of another closes."""
    async with database(world, CONN_MAX_AGE=0):
        world.app = noting(world, Worker, work=WORK).as_asgi()
        one = await world.connected()
        other = await world.connected()
        for _ in range(3):
            one.send("query")
            await world.settle()
            other.send("nothing")
            await world.settle()
        one.disconnect()
        await world.settle()
        other.disconnect()


@scenario
async def without_a_layer(world):
    async with database(world, CONN_MAX_AGE=0):
        consumer = noting(world, Raw, channel_layer_alias="nothing")
        client = await world.connected(consumer.as_asgi())
        await sync_to_async(query)()
        client.send("a", "b")
        await world.settle()
        client.disconnect()


@scenario
async def names_that_stay(world):
    world.note(channels.db.close_old_connections is close_old_connections)
    world.note("close_if_unusable_or_obsolete" in BaseDatabaseWrapper.__dict__)
