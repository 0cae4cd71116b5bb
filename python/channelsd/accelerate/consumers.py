# SPDX-License-Identifier: BSD-3-Clause
"""Two methods of Channels' consumers that every message goes through: AsyncConsumer.dispatch() and encode_json() of the
asynchronous JSON consumer."""

import functools
import json

NAMES_MAX = 1024  # names of handlers remembered; the types of messages come from outside


def _make_dispatch(consumer, is_needless):
    """AsyncConsumer.dispatch() that remembers the names of handlers and asks by a call, not by a coroutine, whether
    aclose_old_connections() has anything to do. `is_needless`: None where Channels has no aclose_old_connections()."""
    stock_name = consumer.get_handler_name
    ours = getattr(consumer, "aclose_old_connections", None)
    names = {}

    async def dispatch(self, message):
        """
        Works out what to do with a message.
        """
        try:
            name = names[message["type"]] if consumer.get_handler_name is stock_name else None
        except (KeyError, TypeError):
            name = None
        if name is None:
            # Not seen yet, or nothing that has a name; then this raises.
            name = consumer.get_handler_name(message)
            if len(names) < NAMES_MAX and message["type"].__class__ is str and consumer.get_handler_name is stock_name:
                names[message["type"]] = name
        handler = getattr(self, name, None)
        if handler:
            if is_needless is not None and not (consumer.aclose_old_connections is ours and is_needless()):
                await consumer.aclose_old_connections()
            await handler(message)
        else:
            raise ValueError("No handler for message type %s" % message["type"])

    return dispatch


def make_dumps(module):
    """json.dumps() with the settings of a plain call, which keeps its encoder. What is `json` in `module` is asked where
    that cannot be, and where somebody has put something else there.

    json makes an encoder anew for each call, which is most of what a small message costs.
    """
    encoder, stock_dumps = json._default_encoder, json.dumps
    make = json.encoder.c_make_encoder
    quote = json.encoder.encode_basestring_ascii
    methods = (json.JSONEncoder.encode, json.JSONEncoder.iterencode)

    def build():
        # The markers of containers that are being encoded; empty between two calls.
        markers = {}
        # A lambda: JSONEncoder.default may be patched later.
        return make(markers, lambda value: encoder.default(value), quote, None, ": ", ", ", False, False, True), markers  # noqa: PLW0108

    def plain(value):
        return module.json.dumps(value)

    try:
        spare = [build()]
        if "".join(spare[0][0]([1, {"a": "\u00e4"}], 0)) != '[1, {"a": "\\u00e4"}]':
            return plain
    except TypeError:
        return plain  # another Python's encoder

    def dumps(value):
        if (
            value.__class__ is not dict
            or module.json is not json
            or json.dumps is not stock_dumps
            or json._default_encoder is not encoder
            or json.JSONEncoder.encode is not methods[0]
            or json.JSONEncoder.iterencode is not methods[1]
        ):
            return plain(value)
        # Each call has one of its own: other threads encode too, and so may the methods of what is encoded.
        try:
            encode, markers = spare.pop()
        except IndexError:
            encode, markers = build()
        try:
            chunks = encode(value, 0)
        except BaseException:
            markers.clear()
            raise
        finally:
            spare.append((encode, markers))
        return "".join(chunks)

    return dumps


def install_consumers(report, stock, is_needless):
    """`is_needless`: what install_connections() returned."""
    consumer = stock.module("channels.consumer")
    if stock.has_methods(report, consumer.AsyncConsumer, ("dispatch",)) and stock.is_own_name(
        report, consumer, "get_handler_name"
    ):
        has_hop = stock.version >= (4, 2)
        if not has_hop or is_needless is not None:
            cls = consumer.AsyncConsumer
            cls.dispatch = functools.wraps(cls.dispatch)(_make_dispatch(consumer, is_needless))
            report.replaced("channels.consumer.AsyncConsumer.dispatch")

    websocket = stock.module("channels.generic.websocket")
    cls = websocket.AsyncJsonWebsocketConsumer
    if stock.has_methods(report, cls, ("encode_json",)) and websocket.json is json:
        dumps = make_dumps(websocket)

        async def encode_json(cls, content):
            return dumps(content)

        cls.encode_json = classmethod(functools.wraps(cls.__dict__["encode_json"].__func__)(encode_json))
        report.replaced("channels.generic.websocket.AsyncJsonWebsocketConsumer.encode_json")
