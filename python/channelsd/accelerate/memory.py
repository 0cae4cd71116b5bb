# SPDX-License-Identifier: BSD-3-Clause
"""channels.layers.InMemoryChannelLayer: sends without a task for each receiver, and reads into consumers without one
for each message. Its `channels` and `groups` stay what and where they are."""

import asyncio
import functools
import importlib
import marshal
import math
import time
import types
from copy import deepcopy

from .dispatch import TURN, register
from .source import ChannelQueue, ChannelSource

# Types whose values deepcopy() returns as they are, and the containers of which marshal makes a true copy.
_ATOMS = frozenset((str, int, float, bool, type(None), bytes))
_CONTAINERS = frozenset((dict, list, tuple))
_DEPTH_MAX = 20
_CONTAINERS_MAX = 10_000  # looked at; one that stands in a message many times counts each time


def _is_plain(value, depth, seen):
    """Whether a value consists of exact built-in types only, as far as that is found soon. `seen`: an empty list."""
    kind = value.__class__
    if kind in _ATOMS:
        return True
    if kind not in _CONTAINERS or depth == _DEPTH_MAX or len(seen) == _CONTAINERS_MAX:
        return False
    seen.append(None)
    if kind is dict:
        return all(map(_ATOMS.__contains__, map(type, value))) and all(
            _is_plain(item, depth + 1, seen) for item in value.values()
        )
    return all(_is_plain(item, depth + 1, seen) for item in value)


def copier(message):
    """A function that returns a deep copy of `message` as it is now, as copy.deepcopy() would make it."""
    if message.__class__ is dict and _ATOMS.issuperset(map(type, message)):
        if _ATOMS.issuperset(map(type, message.values())):
            return message.copy
        if _is_plain(message, 0, []):
            # marshal keeps what is shared inside a message shared, as deepcopy() does.
            packed = marshal.dumps(message)
            return lambda: marshal.loads(packed)
    return lambda: deepcopy(message)


class MemorySource(ChannelSource):
    """A consumer's channel in an in-memory layer. Items are (time of expiry, message)."""

    def ask(self):
        layer = self.layer
        clean = layer.__dict__.get("_channelsd_clean")
        # _Clean.holds(), without the calls.
        if (
            clean is None
            or not clean.at <= time.time() < clean.until
            or clean.expiry != layer.expiry
            or clean.group_expiry != layer.group_expiry
        ):
            layer._clean_expired()
        if self._maxsize:
            # As a queue that receive() makes now would have it.
            self._maxsize = layer.get_capacity(self.channel) if layer.channel_capacity else layer.capacity
        queue = layer.channels.get(self.channel)
        if queue is None:
            layer.channels[self.channel] = self
            self._reading = self
            if not self._queue:
                self.asking = True
                return
            queue = self
        elif queue.__class__ is ChannelQueue and not queue._getters:
            # A queue that a sender made. Nobody waits at it, so its messages can be had by a dict's change.
            self._queue.extend(queue._queue)
            queue._queue.clear()
            queue = layer.channels[self.channel] = self
        self.read_from(queue)

    def _content(self, item):
        return item[1]

    def _unregister(self):
        self.layer.channels.pop(self.channel, None)


class _Clean:
    """When a layer was last searched for what has expired, and before when nothing more can expire: what is sent or
    added later expires later."""

    __slots__ = ("at", "expiry", "group_expiry", "until")

    def __init__(self, layer, now):
        self.at = now
        self.expiry = layer.expiry
        self.group_expiry = layer.group_expiry
        until = now + min(layer.expiry, layer.group_expiry)
        for queue in layer.channels.values():
            if queue._queue:
                until = min(until, queue._queue[0][0])
        for channels in layer.groups.values():
            for added in filter(None, channels.values()):
                until = min(until, int(added) + layer.group_expiry)
        self.until = until

    def sent(self, expires):
        """A message that expires at `expires` was sent."""
        self.until = min(self.until, expires)

    def holds(self, layer, now):
        return self.at <= now < self.until and self.expiry == layer.expiry and self.group_expiry == layer.group_expiry


class _Checks:
    """How a version of Channels 4 checks names, and how large its queues are.

    bounded: queues have a maximum size (4.2 and later). Before that, every channel had the layer's capacity.
    """

    def __init__(self, cls, bounded):
        self.bounded = bounded
        prefix = "require_valid_" if hasattr(cls, "require_valid_group_name") else "valid_"
        self._channel_name = f"{prefix}channel_name"
        self._group_name = f"{prefix}group_name"

    def channel(self, layer, name):
        """Raises TypeError."""
        getattr(layer, self._channel_name)(name)

    def group(self, layer, name):
        """Raises TypeError."""
        getattr(layer, self._group_name)(name)

    def size(self, layer, channel):
        return layer.get_capacity(channel) if self.bounded else 0

    def put(self, layer, channel, item):
        """Raises asyncio.QueueFull."""
        queue = layer.channels.get(channel)
        if queue is None:
            queue = layer.channels[channel] = ChannelQueue(self.size(layer, channel))
        if not self.bounded and queue.qsize() >= layer.capacity:
            raise asyncio.QueueFull
        queue.put_nowait(item)


def _make_send(checks):
    full = importlib.import_module("channels.exceptions").ChannelFull

    async def send(self, channel, message):
        """
        Send a message onto a (general or specific) channel.
        """
        assert isinstance(message, dict), "message is not a dict"
        checks.channel(self, channel)
        assert "__asgi_channel__" not in message
        try:
            expires = time.time() + self.expiry
            checks.put(self, channel, (expires, copier(message)()))
            clean = self.__dict__.get("_channelsd_clean")
            if clean is not None:
                clean.sent(expires)
            return
        except asyncio.QueueFull:
            if checks.bounded:
                raise full(channel)  # noqa: B904 - with the context that stock's has
        raise full(channel)

    return send


def _make_clean_expired(stock_clean):
    def _clean_expired(self):
        """
        Goes through all messages and groups and removes those that are expired.
        Any channel with an expired message is removed from all groups.
        """
        now = time.time()
        clean = self.__dict__.get("_channelsd_clean")
        if clean is None or not clean.holds(self, now):
            stock_clean(self)
            self._channelsd_clean = _Clean(self, now)

    return _clean_expired


def _make_group_send(checks, send, stock_group_send):
    async def group_send(self, group, message):
        if type(self).send is not send or "send" in self.__dict__:
            return await stock_group_send(self, group, message)
        assert isinstance(message, dict), "Message is not a dict"
        checks.group(self, group)
        self._clean_expired()
        channels = self.groups.get(group)
        if channels and min(filter(None, channels.values()), default=math.inf) < time.time() - self.group_expiry:
            # Somebody has set the time of joining back; group_add() does not.
            self._channelsd_clean = None
            self._clean_expired()
        if not channels:
            return
        assert "__asgi_channel__" not in message
        expires = time.time() + self.expiry
        clean = self.__dict__.get("_channelsd_clean")
        if clean is not None:  # a subclass may have its own way
            clean.sent(expires)
        copy = copier(message)
        queue_of = self.channels.get
        for channel in channels:
            queue = queue_of(channel)
            if queue.__class__ is MemorySource and queue.asking:
                queue.deliver((expires, copy()))
                continue
            try:
                checks.put(self, channel, (expires, copy()))
            except asyncio.QueueFull:
                continue
        if checks.bounded:
            # Where stock awaits its tasks. Before 4.2 it had none.
            await TURN

    return group_send


def install_memory(report, stock):
    """Replaces what there is to replace in channels.layers; `stock` knows what is Channels' own."""
    layers = stock.module("channels.layers")
    cls = layers.InMemoryChannelLayer
    names = ("send", "group_send", "receive", "_clean_expired", "_remove_from_groups")
    if not stock.has_methods(report, cls, names):
        return
    checks = _Checks(cls, bounded=stock.version >= (4, 2))
    cls._clean_expired = functools.wraps(cls._clean_expired)(_make_clean_expired(cls._clean_expired))
    cls.send = functools.wraps(cls.send)(_make_send(checks))
    cls.group_send = functools.wraps(cls.group_send)(_make_group_send(checks, cls.send, cls.group_send))
    receive = cls.receive
    report.replaced("channels.layers.InMemoryChannelLayer")

    def make(function, arguments):
        if type(function) is not types.MethodType or function.__func__ is not receive or len(arguments) != 1:
            return None
        layer, channel = function.__self__, arguments[0]
        # A subclass, or an instance, may have its own idea of what receive() does for it.
        if type(layer)._clean_expired is not cls._clean_expired or "_clean_expired" in layer.__dict__:
            return None
        if type(layer).get_capacity is not cls.get_capacity or "get_capacity" in layer.__dict__:
            return None
        try:
            checks.channel(layer, channel)
            size = checks.size(layer, channel)
        except (AssertionError, TypeError, ValueError):
            return None  # receive() raises it, at its turn
        return MemorySource(layer, channel, size)

    register(make)
