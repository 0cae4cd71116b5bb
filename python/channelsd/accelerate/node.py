# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer.ChannelLayer: its messages reach consumers without a task for each, and what a handler marked
@channelsd.fanout returns goes to all clients that wait for it in one record; docs/fanout.md.

A message goes past a consumer only while nobody could tell: its WebSocket is accepted and has window left, the consumer
waits for its next event, which this one is, and all that a handled event would go through is Channels' own. All other
consumers get it through their queue, at its turn.
"""

import asyncio
import contextvars
import functools
import importlib
import inspect
import json
import sys
import types
import weakref

from ..fanout import Fanout, Outcome, SharedEvent, encoded, items_of, names
from ..layer.bodies import BodyQueue
from ..protocol import PAYLOAD_MAX, WINDOW_BYTES
from ..websocket import ACCEPTED, WebSocket
from . import consumers
from .dispatch import register
from .source import ChannelSource
from .stock import function_of, is_own

HAS_EAGER_TASKS = sys.version_info >= (3, 12)

_SEND = WebSocket.send  # and not what somebody may put there later


class SharedBody(bytes):
    """The body of a message whose handler has run. To anybody else bytes."""

    outcome = None


class NodeSource(ChannelSource):
    """A consumer's channel in a layer. Items are bodies of messages, which all receivers share; each has its own copy of
    what is in them."""

    plans = None  # set when handlers may run once for all: a Plans
    plan = None  # of the consumer's class; None: no event may go past the consumer
    consumer = None
    socket = None
    good = None  # a future for which the consumer waits, when it is known that events may go past it until it is done

    def bind(self, socket, dispatch):
        if self.plans is None or type(dispatch) is not types.MethodType:
            return
        consumer = dispatch.__self__
        plan = self.plans.of(type(consumer))
        if plan is not None and dispatch.__func__ is plan.stock.dispatch:
            self.plan = plan
            self.consumer = consumer
            self.socket = socket

    def __getattr__(self, name):
        if name == "_getters":
            self.good = None  # somebody else reads the channel: who gets a message is for the queue to say
        return super().__getattr__(name)

    def may_pass(self):
        """Whether an event may go past the consumer, which has run since the last one did."""
        waiter = self.waiter
        if (
            waiter is None
            or waiter.done()
            or not self.asking
            or "_getters" in self.__dict__
            or not self.plan.is_plain(self.consumer, self.socket)
        ):
            return False
        self.good = waiter
        return True

    def ask(self):
        queues = self.layer.queues
        queue = queues.get(self.channel)
        if queue is None:
            queues[self.channel] = self
            self._reading = self
            if not self._queue:
                self.asking = True
                return
            queue = self
        elif queue.__class__ is BodyQueue and not queue._getters:
            # A queue for what came before the consumer asked. Nobody waits at it.
            self._queue.extend(queue._queue)
            queue._queue.clear()
            queue = queues[self.channel] = self
        self.read_from(queue)

    def _content(self, item):
        message = self.layer.unpack(item)
        if item.__class__ is SharedBody:
            message = SharedEvent(message)
            message.outcome = item.outcome
        return message

    def _unregister(self):
        pass  # the channel stays the process's own until it is forgotten

    async def close(self):
        layer, channel = self.layer, self.channel
        await super().close()
        self.plan = self.consumer = self.socket = self.good = None
        layer.forget(channel)


class Stock:
    """What of Channels a handled event goes through, as it was when this was made."""

    def __init__(self, consumer, websocket, is_needless):
        self._names = {name: consumer.__dict__.get(name) for name in ("aclose_old_connections", "get_handler_name")}
        self._consumer = consumer
        self.dispatch = consumer.AsyncConsumer.dispatch
        self.send = websocket.AsyncWebsocketConsumer.send
        self.base_send = consumer.AsyncConsumer.send
        self.encode_json = inspect.getattr_static(websocket.AsyncJsonWebsocketConsumer, "encode_json")
        self.websocket_class = websocket.AsyncWebsocketConsumer
        self.base_class = consumer.AsyncConsumer
        self.is_needless = is_needless

    def is_settled(self):
        """Whether nothing of it was patched since, and the hop before each handler would do nothing now."""
        return (
            self.base_class.send is self.base_send
            and all(self._consumer.__dict__.get(name) is value for name, value in self._names.items())
            and (self.is_needless is None or self.is_needless())
        )

    def is_own(self, consumer, websocket):
        """Whether it is Channels' own, or what channelsd.accelerate.consumers put there."""
        return all(
            is_own(function, module)
            or (type(function) is types.FunctionType and function.__code__.co_filename == consumers.__file__)
            for function, module in (
                (self.dispatch, consumer),
                (consumer.get_handler_name, consumer),
                (self.base_send, consumer),
                (self.send, websocket),
                (function_of(self.encode_json), websocket),
            )
        )


_MISSING = object()


class Plan:
    """A class of consumers: which of its events may go past them."""

    def __init__(self, cls, stock):
        self._class = weakref.ref(cls)
        self.stock = stock

    def handler(self, name):
        """The marked handler of that name and what makes text of a dict for it; None if there is none or the class has
        something of its own around it."""
        cls, stock = self._class(), self.stock
        handler = inspect.getattr_static(cls, name, None)
        encode = inspect.getattr_static(cls, "encode_json", _MISSING)
        if (
            type(handler) is not Fanout
            or cls.send is not stock.send
            or cls.__getattribute__ is not object.__getattribute__
            or (encode is not _MISSING and encode is not stock.encode_json)
            or not stock.is_settled()
        ):
            return None
        return handler.function, json.dumps if encode is _MISSING else encode_with(cls.encode_json)

    def is_plain(self, consumer, socket):
        """Whether nothing of the consumer itself stands in the way of its socket."""
        own = consumer.__dict__
        send = own.get("base_send")
        return (
            type(send) is types.MethodType
            and send.__func__ is _SEND
            and send.__self__ is socket
            and "send" not in own
            and "dispatch" not in own
            and "encode_json" not in own
            and names.isdisjoint(own)
        )


def encode_with(encode_json):
    """A function of a coroutine function that has nothing to wait for, as Channels' encode_json()."""

    def encode(content):
        try:
            encode_json(content).send(None)
        except StopIteration as end:
            return end.value
        raise RuntimeError("encode_json() waits for something")

    return encode


class Plans:
    """The Plan of each class of consumers."""

    def __init__(self, stock):
        self.stock = stock
        self._plans = weakref.WeakKeyDictionary()

    def of(self, cls):
        """None for a class that has no marked handlers."""
        try:
            return self._plans[cls]
        except KeyError:
            is_one = issubclass(cls, self.stock.websocket_class) and any(
                type(inspect.getattr_static(cls, name, None)) is Fanout for name in names
            )
            plan = self._plans[cls] = Plan(cls, self.stock) if is_one else None
            return plan


class Round:
    """One message for the consumers of one class: the handler runs, and what it returns is encoded."""

    __slots__ = ("body", "contents", "ids", "limit", "outcome", "total")

    def __init__(self, body, contents, task=None):
        self.outcome = Outcome(contents, task)
        self.body = SharedBody(body)
        self.body.outcome = self.outcome
        self.contents = contents or ()
        self.ids = {}  # of those that it goes past: link -> list of ids
        self.total = 0
        self.limit = 0  # a socket that has fewer bytes on their way takes all contents at once
        if contents is None:
            return
        sizes = [len(each if each.__class__ is bytes else each.encode("utf-8")) for each in contents]
        # An empty message waits for the link, and a large one goes in pieces: each client's own affair.
        if all(0 < size <= PAYLOAD_MAX for size in sizes):
            self.total = sum(sizes)
            self.limit = WINDOW_BYTES - self.total + sizes[-1] if sizes else WINDOW_BYTES

    def emit(self):
        for link, ids in self.ids.items():
            for content in self.contents:
                link.send_many(ids, content)


def encoded_result(result, encode):
    contents = [encoded(item, encode) for item in items_of(result)]
    for content in contents:
        if content.__class__ is str:
            content.encode("utf-8")  # a lone surrogate raises here, as send() would
    return contents


async def _finish(awaitable, outcome, encode):
    """The task of a handler that waits for something. A failure leaves no contents: each consumer then runs the handler
    for itself, and raises what it raises."""
    try:
        outcome.contents = encoded_result(await awaitable, encode)
    except asyncio.CancelledError:
        raise
    except Exception:
        outcome.contents = None


class Distributor:
    """Takes the messages for one process's channels of one layer to where they belong."""

    def __init__(self):
        # What the worker itself runs in: no handler finds what another one left.
        self._context = contextvars.copy_context()

    def begin(self, plan, name, body, unpack):
        """A Round, or None if each consumer of the class is to handle the message by itself."""
        handler = plan.handler(name)
        if handler is None:
            return None
        function, encode = handler
        context = self._context.copy()
        try:
            result = context.run(function, unpack(body))
            if not hasattr(result, "__await__"):
                return Round(body, encoded_result(result, encode))
        except BaseException:
            # Whoever handles it by itself raises it again, in the consumer, where it belongs; nothing was sent yet.
            return None
        return self._wait_for(result, context, encode, body)

    def _wait_for(self, awaitable, context, encode, body):
        """A Round of a coroutine. One that had nothing to wait for has ended when this returns, if Python can do that."""
        round_ = Round(body, None)
        outcome = round_.outcome
        coroutine = _finish(awaitable, outcome, encode)
        loop = asyncio.get_running_loop()
        if HAS_EAGER_TASKS:
            outcome.task = asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
            if outcome.task.done():
                return Round(body, outcome.contents) if outcome.contents is not None else None
        else:
            outcome.task = context.run(loop.create_task, coroutine)
        return round_

    def distribute(self, channels, own_names, body, name):
        """Delivers `body` to the channels `own_names`, past the consumers where that may be. `name`: of the handler.

        Returns the names of those that could not take it.
        """
        rounds = {}
        plan = round_ = link = add = None
        limit = total = 0
        refused = []
        queue_of = channels.queues.get
        for channel in tuple(own_names):  # a handler may change who is in the group
            source = queue_of(channel)
            if source.__class__ is not NodeSource or source.plan is None:
                if not put(channels, channel, body):
                    refused.append(channel)
                continue
            if source.plan is not plan:
                plan = source.plan
                if plan not in rounds:
                    rounds[plan] = self.begin(plan, name, body, channels.unpack)
                round_ = rounds[plan]
                link = None
                if round_ is not None:
                    limit, total = round_.limit, round_.total
            if round_ is None:
                if not put(channels, channel, body):
                    refused.append(channel)
                continue
            socket = source.socket
            waiter = source.good
            # A socket that has messages waiting has no window left either.
            if (
                socket.unsent < limit
                and socket.state == ACCEPTED
                and ((waiter is not None and not waiter.done()) or source.may_pass())
            ):
                if socket.link is not link:
                    link = socket.link
                    add = round_.ids.setdefault(link, []).append
                socket.unsent += total
                add(socket.id)
            elif not put(channels, channel, round_.body):
                refused.append(channel)
        for each in filter(None, rounds.values()):
            each.emit()
        return refused


def put(channels, channel, body):
    """Puts a message into the queue of one channel; returns whether it had room, and was there."""
    queues = channels.queues
    try:
        queue = queues[channel]
    except KeyError:
        return False
    if queue is None:
        queue = channels.make_queue(channel)
    try:
        queue.put_nowait(body)
    except asyncio.QueueFull:
        return False
    return True


def _handler_name(message):
    """The name of a message's handler, as Channels makes it, or None where it would refuse the message."""
    kind = message.get("type") if isinstance(message, dict) else None
    return kind.replace(".", "_") if kind.__class__ is str and not kind.startswith(("_", ".")) else None


def _make_distribute(stock_distribute, distributor):
    def distribute(self, own_names, body):
        if names:
            try:
                name = _handler_name(self.unpack(body))
            except ValueError as error:
                self.undecodable(error)
                return ()
            if name in names:
                return distributor.distribute(self, own_names, body, name)
        return stock_distribute(self, own_names, body)

    return distribute


def _is_wanted():
    """Whether the project may use channelsd.layer."""
    settings = importlib.import_module("django.conf").settings
    if "channelsd.adopt" in sys.modules or not settings.configured:
        return "channelsd.layer" in sys.modules
    layers = getattr(settings, "CHANNEL_LAYERS", {}).values()
    return any(layer.get("BACKEND", "").startswith("channelsd.layer.") for layer in layers)


def _make_maker(cls):
    receive = cls.receive

    def make(function, arguments):
        if type(function) is not types.MethodType or function.__func__ is not receive or len(arguments) != 1:
            return None
        channel = arguments[0]
        channels = function.__self__.channels(channel) if channel.__class__ is str else None
        return None if channels is None else NodeSource(channels, channel, channels.size(channel))

    return make


def install_node(report, stock, is_needless):
    """Feeds consumers from ChannelLayer; `is_needless`: what install_connections() returned."""
    if not _is_wanted():
        return
    layer = importlib.import_module("channelsd.layer")
    register(_make_maker(layer.ChannelLayer))
    report.replaced("channelsd.layer.ChannelLayer.receive")
    consumer = stock.module("channels.consumer")
    websocket = stock.module("channels.generic.websocket")
    if not stock.knows(report, consumer.__name__) or not stock.knows(report, websocket.__name__):
        return
    if is_needless is None and stock.version >= (4, 2):
        return  # what a handler has before it was patched
    around = Stock(consumer, websocket, is_needless)
    if not around.is_own(consumer, websocket):
        report.left_alone("channelsd.fanout", "somebody has patched what a handler is called by, or sends with")
        return
    cls = importlib.import_module("channelsd.layer.local").Channels
    cls.distribute = functools.wraps(cls.distribute)(_make_distribute(cls.distribute, Distributor()))
    NodeSource.plans = Plans(around)
    report.replaced("channelsd.fanout")
