# SPDX-License-Identifier: BSD-3-Clause
"""Settings of a layer: from CONFIG to the JSON text that the node reads, and what the node tells of them."""

import base64
import fnmatch
import json
import re

import msgpack

from .protocol import BODY_MAX

TIMEOUT = 2.0  # seconds, unless the settings say otherwise

SERIALIZERS = ("msgpack", "json")


def _plain(key, value):
    """`value` as JSON can say it: bytes in their marked form. Raises ValueError naming `key`."""
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"CHANNEL_LAYERS: {key}: the key {name!r} is no string")
        return {name: _plain(key, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(key, item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise ValueError(
        f"CHANNEL_LAYERS: {key}: {value!r} ({type(value).__name__}) cannot be given to another process; "
        "strings, bytes, numbers, lists and dictionaries can"
    )


def _capacities(value):
    """channel_capacity as pairs, because its order counts."""
    if not isinstance(value, dict):
        raise ValueError("CHANNEL_LAYERS: channel_capacity: a dictionary of patterns and numbers is wanted")
    for pattern in value:
        if not isinstance(pattern, str):
            raise ValueError(
                f"CHANNEL_LAYERS: channel_capacity: {pattern!r}: a compiled regular expression means nothing to another "
                "process; write it as a pattern with *, ? and [...]"
            )
    return [[pattern, capacity] for pattern, capacity in value.items()]


def config_text(config):
    """The settings as the node reads them; "", which means its own, when there are none. None stands for "not given".
    Raises ValueError."""
    given = {key: value for key, value in config.items() if value is not None}
    keys = given.get("symmetric_encryption_keys")
    if isinstance(keys, (str, bytes)):
        raise ValueError("symmetric_encryption_keys must be a list of possible keys")
    if isinstance(given.get("hosts"), (str, bytes)):
        raise ValueError("You must pass a list of Redis hosts, even if there is only one.")
    if given.get("serializer_format", "msgpack") not in SERIALIZERS:
        raise ValueError(
            f"CHANNEL_LAYERS: serializer_format: {given['serializer_format']!r}: msgpack and json are what channelsd "
            "understands"
        )
    for name in ("on_disconnect", "on_reconnect"):
        if name in given:
            raise ValueError(f"CHANNEL_LAYERS: {name}: leave it out; channels_redis accepts it and never calls it")
    # How long this process waits for its node is no difference between two layers.
    if not set(given) - {"timeout"}:
        return ""
    plain = {
        key: _capacities(value) if key == "channel_capacity" else _plain(key, value) for key, value in given.items()
    }
    return json.dumps(plain, sort_keys=True)


class Settings:
    """What the node tells of an open layer. Seconds, but for what a name says otherwise."""

    __slots__ = ("_patterns", "backend", "capacity", "expiry", "group_expiry", "pack", "prefix", "serializer", "unpack")

    def __init__(self, told):
        self.backend, self.serializer, self.prefix, self.expiry, self.group_expiry, self.capacity, patterns, _ = told
        self._patterns = [(re.compile(fnmatch.translate(pattern)), capacity) for pattern, capacity in patterns]
        self.pack, self.unpack = (_pack_json, _unpack_json) if self.serializer == "json" else (_pack, _unpack)

    def size(self, channel):
        """Capacity of a channel: the first pattern that matches, else the general one."""
        for pattern, capacity in self._patterns:
            if pattern.match(channel):
                return capacity
        return self.capacity


def _check_size(body):
    if len(body) > BODY_MAX:
        raise ValueError(f"the message has {len(body)} bytes; a channel layer carries at most {BODY_MAX}")
    return body


def _pack(message, packb=msgpack.packb):
    body = packb(message)
    return body if len(body) <= BODY_MAX else _check_size(body)


def _unpack(body, unpackb=msgpack.unpackb):
    """Raises ValueError for what is no message."""
    message = unpackb(body)
    if message.__class__ is not dict:
        raise ValueError(f"a message is a map, not {type(message).__name__}")
    return message


def _pack_json(message):
    return _check_size(json.dumps(message).encode())


def _unpack_json(body):
    """Raises ValueError for what is no message."""
    try:
        message = json.loads(body)
    except RecursionError:
        raise ValueError("the message is nested too deep") from None
    if message.__class__ is not dict:
        raise ValueError(f"a message is an object, not {type(message).__name__}")
    return message
