# SPDX-License-Identifier: BSD-3-Clause
"""An equivalent of channels.utils.await_many_dispatch that makes no task for a source it knows.

A source is where a consumer's events come from: its client's receive(), its channel in the layer. Stock keeps a task for
each, and makes a new one for each event. What of that an application can see is kept:

- Turns: one event of each source that has one, in the order of the sources; never all of one first.
- Read-ahead: a source is asked for one event at a time, and not again before the handler of its last one has ended. What
  it holds ready meanwhile has left the layer; all else stays there, under the layer's capacity and expiry.
- Handlers run in the application's own task, so they share its context variables. A receive() that is not the
  server's own runs in a task of its own, with a copy of them.
- An exception of a source comes out at its turn. When the consumer ends, every source is closed, and that is awaited.
- Between two events the loop turns, whatever the handlers do.

A source has: ask(), which comes first and after each take(); `ready`, whether an event or an exception is there; take(),
which returns or raises it; watch(future), to set its result when ready becomes true; close(), a coroutine.
"""

import asyncio
import contextlib
import functools
import types

from ..websocket import WebSocket


class Turn:
    """`await TURN` lets the loop turn once; asyncio.sleep(0) without what that makes anew each time."""

    __slots__ = ()

    def __await__(self):
        yield


TURN = Turn()


class TaskSource:
    """Any callable that returns an awaitable: one task for each event, as stock has it."""

    __slots__ = ("_callable", "_task", "_waiter", "_watched")

    def __init__(self, consumer_callable):
        self._callable = consumer_callable
        self._task = None
        self._waiter = None
        self._watched = None

    def ask(self):
        self._task = asyncio.ensure_future(self._callable())

    @property
    def ready(self):
        return self._task.done()

    def take(self):
        return self._task.result()

    def watch(self, waiter):
        # One callback on each task, not one for each time that the others were ready first.
        if self._watched is not self._task:
            self._watched = self._task
            self._task.add_done_callback(self._done)
        self._waiter = waiter

    def _done(self, _task):
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def close(self):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class SocketSource:
    """The receive() of one of the server's own WebSockets."""

    __slots__ = ("_socket",)

    def __init__(self, socket):
        self._socket = socket

    def ask(self):
        pass

    @property
    def ready(self):
        return bool(self._socket.queue) or self._socket.final_due

    def take(self):
        return self._socket.take()

    def watch(self, waiter):
        self._socket.watch(waiter)

    async def close(self):
        pass


_RECEIVE = WebSocket.receive  # and not what somebody may put there later

# Functions that are given a callable and return a source for it, or None if they do not know it.
_makers = []


def register(maker):
    """Adds a maker of sources; see channelsd.accelerate.memory and .redis."""
    if maker not in _makers:
        _makers.append(maker)


def _socket_of(consumer_callable):
    """The WebSocket whose receive() this is, or None. A subclass's or a wrapped one is none."""
    if type(consumer_callable) is types.MethodType and consumer_callable.__func__ is _RECEIVE:
        return consumer_callable.__self__
    return None


def _layer_source(consumer_callable):
    """A source for functools.partial(layer.receive, channel) of a layer that is known, else None."""
    if type(consumer_callable) is functools.partial and not consumer_callable.keywords:
        for maker in _makers:
            source = maker(consumer_callable.func, consumer_callable.args)
            if source is not None:
                return source
    return None


async def _run(sources, dispatch, has_hop):
    """The loop over sources of any kind. has_hop: whether stock's consumers leave the loop before each handler."""
    loop = asyncio.get_running_loop()
    for source in sources:
        source.ask()
    try:
        while True:
            took = False
            for source in sources:
                if source.ready:
                    if took and has_hop:
                        await TURN
                    took = True
                    await dispatch(source.take())
                    source.ask()
            if not any(source.ready for source in sources):
                waiter = loop.create_future()
                for source in sources:
                    source.watch(waiter)
                await waiter
            # As many turns as a task needs to get what is there already: nobody's burst passes by the others' events.
            for _ in range(3):
                await TURN
    finally:
        for source in sources:
            await source.close()


async def _run_pair(socket, layer, dispatch):
    """_run() for the most frequent case, a WebSocket of ours and a layer: a loop that shows in every message's cost."""
    create_future = asyncio.get_running_loop().create_future
    waiter = None
    layer.ask()
    try:
        while True:
            took = False
            if socket.queue or socket.final_due:
                took = True
                await dispatch(socket.take())
            if layer.ready:
                if took:
                    await TURN
                took = True
                await dispatch(layer.take())
                layer.ask()
            if not (socket.queue or socket.final_due or layer.ready):
                if layer.due:
                    # It came during the last handler, and the loop has not turned since.
                    await TURN
                    continue
                previous, waiter = waiter, create_future()
                if socket.waiter is None or socket.waiter is previous:
                    socket.waiter = waiter
                else:
                    socket.watch(waiter)
                layer.waiter = waiter
                await waiter
                layer.waiter = None
                if layer.due:
                    layer.fetch()
            elif took:
                await TURN
    finally:
        await layer.close()


async def _run_socket(socket, dispatch):
    """_run() for a WebSocket of ours in a project without a layer."""
    while True:
        if not (socket.queue or socket.final_due):
            await socket.wait()
            continue
        await dispatch(socket.take())
        if socket.queue or socket.final_due:
            await TURN


def dispatcher(stock, has_hop):
    """Returns what replaces `stock`, the await_many_dispatch of the installed Channels; has_hop: see _run()."""

    async def await_many_dispatch(consumer_callables, dispatch):
        """
        Given a set of consumer callables, awaits on them all and passes results
        from them to the dispatch awaitable as they come in.
        """
        count = len(consumer_callables)
        socket = _socket_of(consumer_callables[0]) if count else None
        if socket is not None and count == 1:
            return await _run_socket(socket, dispatch)
        layers = [_layer_source(consumer_callable) for consumer_callable in consumer_callables[1:]]
        if socket is not None and count == 2 and layers[0] is not None:
            layers[0].bind(socket, dispatch)
            return await _run_pair(socket, layers[0], dispatch)
        if socket is None and not any(layers):
            return await stock(consumer_callables, dispatch)
        sources = [TaskSource(consumer_callables[0]) if socket is None else SocketSource(socket)]
        for source, consumer_callable in zip(layers, consumer_callables[1:]):
            sources.append(TaskSource(consumer_callable) if source is None else source)
        return await _run(sources, dispatch, has_hop)

    return await_many_dispatch


def install_dispatch(report, stock):
    """Replaces await_many_dispatch in channels.consumer; those who import it from channels.utils keep stock's."""
    utils = stock.module("channels.utils")
    consumer = stock.module("channels.consumer")
    if not stock.has_functions(report, utils, ("await_many_dispatch",)) or not stock.knows(report, consumer.__name__):
        return
    if consumer.await_many_dispatch is not utils.await_many_dispatch:
        report.left_alone("channels.consumer.await_many_dispatch", "somebody has patched it")
        return
    made = dispatcher(utils.await_many_dispatch, has_hop=stock.version >= (4, 2))
    consumer.await_many_dispatch = functools.wraps(utils.await_many_dispatch)(made)
    report.replaced("channels.consumer.await_many_dispatch")
