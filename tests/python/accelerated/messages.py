# SPDX-License-Identifier: BSD-3-Clause
"""Copies of messages: each receiver has its own, with copy.deepcopy()'s idea of what is the same inside of it."""

import collections
import datetime
import decimal
import enum
import math
import uuid

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from world import scenario


class Text(str):
    pass


class OwnDict(dict):
    pass


class Color(enum.IntEnum):
    RED = 1


class Copied:
    copies = 0

    def __deepcopy__(self, memo):
        made = type(self)()
        made.copies = self.copies + 1
        return made

    def __repr__(self):
        return f"<copied {self.copies}>"


class Plain:
    def __init__(self):
        self.items = [1]

    def __repr__(self):
        return f"<plain {self.items}>"


def aliases():
    inner = [1, {"a": 2}]
    return {"type": "x", "one": inner, "two": inner, "both": [inner, inner], "tuple": (inner, inner)}


def cyclic():
    message = {"type": "x", "list": []}
    message["list"].append(message["list"])
    message["self"] = message
    return message


def deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return {"type": "x", "value": value}


def aliased_tree(depth, width=2):
    """width ** depth paths, depth objects."""
    value = ["leaf"]
    for _ in range(depth):
        value = [value] * width
    return {"type": "x", "value": value}


MESSAGES = {
    "flat": lambda: {"type": "x", "text": "t", "n": 1, "f": 1.5, "b": b"\0", "none": None, "true": True},
    "nested": lambda: {"type": "x", "list": [1, [2, {"a": (3, [4])}]], "dict": {"a": {"b": {}}}},
    "aliases": aliases,
    "cyclic": cyclic,
    "keys": lambda: {1: 2, (1, 2): [3], None: 4, 1.5: 5, b"k": 6, False: 7},
    "bytearray": lambda: {"type": "x", "data": bytearray(b"abc"), "nested": [bytearray(b"def")]},
    "sets": lambda: {"type": "x", "set": {1, 2}, "frozen": frozenset((3, 4)), "nested": [{5}]},
    "subclasses": lambda: {"type": Text("x"), "dict": OwnDict(a=[1]), "nested": [OwnDict(), Text("t"), Color.RED]},
    "subclass_of_dict": lambda: OwnDict(type="x", list=[1]),
    "ordered": lambda: collections.OrderedDict([("type", "x"), ("b", [1]), ("a", 2)]),
    "objects": lambda: {"type": "x", "copied": Copied(), "plain": Plain(), "nested": [Copied(), Plain()]},
    "values": lambda: {
        "type": "x",
        "when": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
        "id": uuid.UUID(int=1),
        "amount": decimal.Decimal("1.10"),
        "big": 10**50,
        "complex": 1j,
        "ellipsis": ...,
    },
    "floats": lambda: {"type": "x", "values": [math.nan, math.inf, -math.inf, -0.0, 5e-324]},
    "surrogates": lambda: {"type": "x", "text": ["\ud800", "\U0001f600", ""]},
    "deep": lambda: deep(19),
    "deeper": lambda: deep(60),
    "too_deep": lambda: deep(5000),
    "aliased_tree": lambda: aliased_tree(15),
    "aliased_tree_of_many_paths": lambda: aliased_tree(100),
    "aliased_tree_that_is_wide": lambda: aliased_tree(12, 10),
    "named_tuple": lambda: {"type": "x", "point": collections.namedtuple("Point", "x y")(1, [2])},
    "default_dict": lambda: collections.defaultdict(list, type="x", a=[1]),
}


def shape(value, seen=None):
    """What a message consists of: types, values, and which containers are the same object."""
    seen = {} if seen is None else seen
    if isinstance(value, (dict, list, tuple, bytearray, set, Copied, Plain)):
        if id(value) in seen:
            return f"same as {seen[id(value)]}"
        seen[id(value)] = len(seen)
    kind = type(value).__name__
    if isinstance(value, dict):
        return [kind, [[shape(key, seen), shape(item, seen)] for key, item in value.items()]]
    if isinstance(value, (list, tuple)):
        return [kind, [shape(item, seen) for item in value]]
    return [kind, ascii(value)]


def containers(value, found):
    """Ids of what can be changed in a message."""
    if id(value) in found:
        return found
    if isinstance(value, (list, dict, bytearray, set)):
        found[id(value)] = value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            containers(item, found)
    return found


@scenario.of(**MESSAGES)
async def copies(world, make):
    layer = world.layer
    message = make()
    before = None if "value" in message else shape(message)
    for number in range(3):
        await layer.group_add("all", f"channel-{number}")
    try:
        await layer.send("channel-0", message)
        await layer.group_send("all", message)
    except RecursionError as error:
        world.note(type(error).__name__)
        return
    received = [await layer.receive(f"channel-{number}") for number in (0, 0, 1, 2)]
    if before is not None:
        world.note([shape(copy) for copy in received])
        world.note("unchanged", before == shape(message))
    else:
        world.note(len(containers(received[0], {})))
    everything = [containers(each, {}) for each in (message, *received)]
    distinct = len({id for found in everything for id in found}) == sum(map(len, everything))
    world.note("nothing shared", distinct)


@scenario
async def sender_changes_its_message_afterwards(world):
    message = {"type": "x", "list": [1], "flat": 1}
    await world.layer.group_add("all", "one")
    await world.layer.group_send("all", message)
    message["list"].append(2)
    message["flat"] = 2
    await world.layer.send("one", message)
    message["list"].append(3)
    world.note(await world.layer.receive("one"), await world.layer.receive("one"))


@scenario
async def receiver_changes_its_message(world):
    for number in range(2):
        await world.layer.group_add("all", f"channel-{number}")
    message = {"type": "x", "list": [{"a": 1}], "tuple": ([1],)}
    await world.layer.group_send("all", message)
    first = await world.layer.receive("channel-0")
    first["list"][0]["a"] = 2
    first["tuple"][0].append(2)
    first["new"] = 1
    world.note(first, await world.layer.receive("channel-1"), message)


class Jsonish(dict):
    pass


class Unknown:
    pass


def recursive():
    value = {}
    value["a"] = value
    return value


VALUES = {
    "flat": lambda: {"a": 1, "b": '\u00fc\u2028</script>"\\', "c": None, "d": True, "e": 1.0},
    "nested": lambda: {"a": [1, [2, {"b": (3, "x")}]], "": {}},
    "keys": lambda: {2: "a", 2.5: "b", None: "c", True: "d", False: "e", "f": 1},
    "floats": lambda: {"a": [math.nan, math.inf, -math.inf, -0.0, 1e300, 1e-7]},
    "subclass": lambda: Jsonish(a=Jsonish(b=Text("t")), c=Color.RED),
    "big": lambda: {"a": 10**40, "b": "x" * 100000},
    "surrogates": lambda: {"a": "\ud800\U0001f600"},
    "list": lambda: [1, {"a": 2}],
    "text": lambda: "text",
    "none": lambda: None,
    "recursive": recursive,
    "unknown": lambda: {"a": [Unknown()]},
    "bytes": lambda: {"a": b"x"},
    "set": lambda: {"a": {1}},
    "key_that_cannot_be": lambda: {(1, 2): 3},
    "deep": lambda: deep(100000),
    "same_twice": aliases,
}


@scenario.of(**VALUES)
async def json_of_consumers(world, make):
    """encode_json(): the text, or the error, and the next one after it."""
    consumer = AsyncJsonWebsocketConsumer()
    for value in (make(), {"after": [1]}):
        try:
            world.note(await consumer.encode_json(value))
        except (TypeError, ValueError, RecursionError) as error:
            world.note(type(error).__name__, str(error).split(" while ")[0])
    world.note(await AsyncJsonWebsocketConsumer.decode_json('{"a": [1, 2.5, null]}'))


@scenario
async def json_of_a_subclass(world):
    class Loud(AsyncJsonWebsocketConsumer):
        @classmethod
        async def encode_json(cls, content):
            return (await super().encode_json(content)).upper()

    world.note(await Loud.encode_json({"a": ["b"]}), await Loud().encode_json({"c": 1}))
