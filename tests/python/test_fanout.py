# SPDX-License-Identifier: BSD-3-Clause
"""@channelsd.fanout, the record that carries its results, and --adopt-layer. That each client gets the same as without
acceleration is in test_accelerate_traces.py (accelerated/fanning.py)."""

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

import channelsd
from channelsd.link import Link
from channelsd.protocol import MANY_MAX, PAYLOAD_MAX, RECORD_MAX
from conftest import LOOPS
from fake_edge import DISCONNECT, END, NOT_INHERITED, PACKAGE, RECEIVE, SEND, SEND_MANY, Edge
from fake_node import JOIN, LEAVE, Node

pytest.importorskip("channels")

RUNNER = Path(__file__).resolve().parent / "accelerated" / "runner.py"
HAS_EAGER_TASKS = sys.version_info >= (3, 12)
HAS_REDIS = importlib.util.find_spec("channels_redis") is not None

NODE_LAYER = {"default": {"BACKEND": "channelsd.layer.ChannelLayer"}}


# What is marked


def test_the_function_can_be_called():
    class Consumer:
        @channelsd.fanout
        def shared(event):
            """What it does."""
            return event["n"] + 1

    assert Consumer.shared({"n": 1}) == 2
    assert Consumer.shared.__doc__ == "What it does."
    assert Consumer.shared.__name__ == "shared"


@pytest.mark.parametrize("wrong", [None, "text", classmethod(lambda cls: None), int])
def test_what_is_no_function_cannot_be_marked(wrong):
    with pytest.raises(TypeError, match="marks a function that takes the event"):
        channelsd.fanout(wrong)


def test_the_name_is_the_decorator_and_not_the_module():
    """Whoever imports the module first."""
    code = "import channelsd.fanout, channelsd.accelerate.node, channelsd; assert callable(channelsd.fanout)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=True)


class Sent:
    """As much of a consumer as a result needs."""

    def __init__(self):
        self.sent = []

    async def send(self, **content):
        self.sent.append(content)


class SentJson(Sent):
    @classmethod
    async def encode_json(cls, content):
        return "J" + json.dumps(content)


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        ("text", [{"text_data": "text"}]),
        ("", [{"text_data": ""}]),
        (b"\x00", [{"bytes_data": b"\x00"}]),
        (bytearray(b"ab"), [{"bytes_data": b"ab"}]),
        (memoryview(b"ab")[1:], [{"bytes_data": b"b"}]),
        ({"a": "ä"}, [{"text_data": '{"a": "\\u00e4"}'}]),
        (None, []),
        ([], []),
        (["a", None, b"b", {}], [{"text_data": "a"}, {"bytes_data": b"b"}, {"text_data": "{}"}]),
        (("a",), [{"text_data": "a"}]),
    ],
)
async def test_what_a_handler_may_return(result, sent):
    class Consumer(Sent):
        @channelsd.fanout
        def now(event):
            return result

        @channelsd.fanout
        async def later(event):
            await asyncio.sleep(0)
            return result

    for name in ("now", "later"):
        consumer = Consumer()
        await getattr(consumer, name)({})
        assert consumer.sent == sent


async def test_a_dict_is_encoded_as_the_consumer_encodes():
    class Consumer(SentJson):
        @channelsd.fanout
        def shared(event):
            return {"n": event["n"]}

    consumer = Consumer()
    await consumer.shared({"n": 1})
    assert consumer.sent == [{"text_data": 'J{"n": 1}'}]


@pytest.mark.parametrize("wrong", [5, [["nested"]], object(), True])
async def test_what_it_may_not_return_is_told(wrong):
    class Consumer(Sent):
        @channelsd.fanout
        def shared(event):
            return ["first", wrong] if isinstance(wrong, list) else wrong

    consumer = Consumer()
    with pytest.raises(TypeError, match="return str, bytes, dict, None, or a list or tuple of them"):
        await consumer.shared({})
    assert consumer.sent == []


# The record


class _Worker:
    is_watching = False

    def __init__(self, loop):
        self.loop = loop


class _Recording(Link):
    """A Link that keeps its records."""

    __slots__ = ("records",)

    def put(self, record):
        self.records.append(msgpack.packb(record))


@pytest.mark.parametrize("count", [1, MANY_MAX, MANY_MAX + 1, 2 * MANY_MAX + 5])
async def test_a_record_to_many_stays_under_its_ceiling(count):
    ours, theirs = socket.socketpair()
    link = _Recording(_Worker(asyncio.get_running_loop()), theirs.detach())
    link.records = []
    ids = list(range(2**53 - count, 2**53))
    content = "x" * PAYLOAD_MAX
    link.send_many(ids, content)
    assert max(map(len, link.records)) <= RECORD_MAX
    records = list(map(msgpack.unpackb, link.records))
    assert {(op, text) for op, _, text in records} == {(SEND_MANY, content)}
    assert [id for _, some, _ in records for id in some] == ids
    assert len(records) == -(-count // MANY_MAX)
    link._socket.close()
    ours.close()


# How often handlers run


@pytest.fixture(scope="module", params=LOOPS)
def private(request):
    """What the scenarios of accelerated/fanning.py did not compare."""
    env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    names = [
        *(
            f"one_message-{kind}"
            for kind in ("text", "several", "nothing", "empty", "large", "quick", "slow", "breaks")
        ),
        "handlers_run_once_for_all_that_wait",
        "a_handler_that_waits_has_its_result_from_the_same_run",
        "hundreds_come_and_go",
    ]
    result = subprocess.run(
        [sys.executable, str(RUNNER), "exact", request.param, *names],
        env=env,
        capture_output=True,
        check=True,
        text=True,
    )
    found = json.loads(result.stdout)
    assert "channelsd.fanout" in found["replacements"]
    assert set(names) <= set(found["private"])
    return found["private"]


def test_a_handler_runs_once_and_its_result_goes_out_once(private):
    assert private["handlers_run_once_for_all_that_wait"]["runs"] == 3
    assert private["handlers_run_once_for_all_that_wait"]["shared"] == [5, 5, 5]
    assert private["one_message-text"]["shared"] == [3]
    assert private["one_message-several"]["shared"] == [3] * 4


def test_who_is_busy_gets_the_result_of_the_same_run(private):
    assert private["a_handler_that_waits_has_its_result_from_the_same_run"]["runs"] == 1


def test_a_coroutine_that_waits_runs_once_too(private):
    assert private["one_message-slow"]["runs"] == 1
    assert private["one_message-slow"]["shared"] == []
    assert private["one_message-quick"]["shared"] == ([3] if HAS_EAGER_TASKS else [])


@pytest.mark.parametrize("kind", ["nothing", "empty", "large", "breaks"])
def test_what_each_client_has_its_own_way_for_is_not_sent_to_many(private, kind):
    assert private[f"one_message-{kind}"]["shared"] == []


def test_a_consumer_that_ends_leaves_nothing_in_the_layer(private):
    for name, items in private.items():
        if "left" in items:
            assert items["left"] == [[], [], []], name


# A worker with a node


@pytest.fixture
def fanned(tmp_path):
    """Callable: a worker of apps/fanned.py whose layer is a Node of this process, `edge.node`."""
    stops = []

    def start(*options, layers=NODE_LAYER):
        node = Node(tmp_path / "node")
        node.start()
        stops.append(node.stop)
        ours, theirs = socket.socketpair()
        node.serve(ours)
        edge = Edge(
            "fanned:application",
            *options,
            env={"FANNED_LAYERS": json.dumps(layers), "TMPDIR": str(tmp_path)},
            layer=theirs,
        )
        stops.append(edge.__exit__)
        edge.node = node
        return edge

    yield start
    for stop in reversed(stops):
        stop()


def texts(records):
    """id -> texts that it was sent."""
    found = {}
    for op, ids, text in records:
        for id in ids if op == SEND_MANY else [ids]:
            found.setdefault(id, []).append(json.loads(text))
    return found


@pytest.mark.parametrize("loop", LOOPS)
def test_a_group_message_goes_to_many_in_one_record(fanned, loop):
    edge = fanned("--loop", loop)
    ids = [edge.accepted("/") for _ in range(5)]
    edge.put([RECEIVE, ids[0], '"hello"'])
    told = {}
    while sum(map(len, told.values())) < 5:
        record = edge.get()
        assert record[0] in (SEND, SEND_MANY)
        for id, items in texts([record]).items():
            told.setdefault(id, []).extend(items)
    assert told == {id: [{"run": 1, "text": "hello"}] for id in ids}
    assert len(edge.node.ops(JOIN)) == 1


def test_without_acceleration_each_client_gets_the_same(fanned):
    edge = fanned("--accelerate", "off")
    ids = [edge.accepted("/") for _ in range(3)]
    edge.put([RECEIVE, ids[0], '"hello"'])
    records = [edge.get() for _ in range(3)]
    assert {record[0] for record in records} == {SEND}
    assert sorted(texts(records)) == ids
    assert sorted(item["run"] for items in texts(records).values() for item in items) == [1, 2, 3]


def test_the_node_is_told_when_the_last_consumer_has_ended(fanned):
    """Also one that an exception ends, which leaves no group by itself."""
    edge = fanned()
    ids = [edge.accepted("/") for _ in range(2)]
    edge.put([RECEIVE, ids[0], '"raise"'])
    assert edge.get() == [END, ids[0], True]
    edge.barrier()
    assert edge.node.ops(LEAVE) == []
    edge.put([DISCONNECT, ids[1], 1000, ""])
    edge.node.wait_for(LEAVE)
    edge.barrier()
    assert len(edge.node.ops(LEAVE)) == 1


def test_a_layer_socket_that_is_none_is_told():
    with open(os.devnull) as nothing:
        environment = {"FANNED_LAYERS": json.dumps(NODE_LAYER)}
        with Edge("fanned:application", env=environment, layer=nothing, ready=False) as edge:
            edge.process.wait(10)
            assert edge.process.returncode == 2
            assert "--layer " in edge.stderr.all()


# --adopt-layer


def redis_layers(backend, **config):
    return {"default": {"BACKEND": backend, "CONFIG": config}}


@pytest.mark.parametrize(
    "backend", ["channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"]
)
def test_a_layer_of_channels_redis_is_adopted(fanned, backend):
    hosts = [["redis.invalid", 6379]]
    edge = fanned("--adopt-layer", layers=redis_layers(backend, hosts=hosts, prefix="own"))
    id = edge.accepted("/")
    edge.put([RECEIVE, id, '"layers"'])
    told = texts([edge.get()])[id][0]
    assert told[:2] == ["channelsd.layer.layer.ChannelLayer", True]
    (config,) = {config for peer in edge.node.all_peers for config in peer.layers.values()}
    kind = "redis" if "core" in backend else "pubsub"
    assert json.loads(config) == {"backend": kind, "hosts": hosts, "prefix": "own"}
    edge.put([RECEIVE, id, '"hello"'])
    assert texts([edge.get()]) == {id: [{"run": 1, "text": "hello"}]}
    assert f"CHANNEL_LAYERS['default']: {backend} is served by channelsd" in edge.stderr.so_far()


def test_hosts_that_are_not_given_are_those_of_channels_redis(fanned):
    edge = fanned("--adopt-layer", layers=redis_layers("channels_redis.core.RedisChannelLayer"))
    edge.accepted("/")
    (config,) = {config for peer in edge.node.all_peers for config in peer.layers.values()}
    assert json.loads(config) == {"backend": "redis", "hosts": [{"address": "redis://localhost:6379"}]}


ADOPTING = """
import logging, re, sys
from django.conf import settings
from channels.layers import InMemoryChannelLayer
import channels_redis.core, channels_redis.pubsub
class Own(channels_redis.core.RedisChannelLayer): pass
channels_redis.core.Own = Own
core = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
pubsub = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
LAYERS = {
    "adopted": {**core, "CONFIG": {"hosts": [("h", 1)], "capacity": 5, "channel_capacity": {"a*": 1}}},
    "pubsub": {**pubsub, "CONFIG": {"hosts": ["redis://h"], "prefix": "p"}},
    "subclass": {"BACKEND": "channels_redis.core.Own"},
    "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    "pattern": {**core, "CONFIG": {"channel_capacity": {re.compile("a"): 5}}},
    "class": {**core, "CONFIG": {"hosts": [{"host": "h", "port": 1, "connection_class": dict}]}},
    "callback": {**pubsub, "CONFIG": {"on_disconnect": print}},
    "unknown": {**pubsub, "CONFIG": {"new_setting": 1}},
}
settings.configure(CHANNEL_LAYERS=LAYERS, INSTALLED_APPS=[])
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
import channelsd.adopt
channelsd.adopt.install()
from channels.layers import channel_layers
for name in LAYERS:
    layer = channel_layers[name]
    print("=", name, type(layer).__module__, type(layer).__name__, layer is channel_layers[name])
assert settings.CHANNEL_LAYERS is LAYERS
assert channel_layers["adopted"].capacity == 5
"""


@pytest.mark.skipif(not HAS_REDIS, reason="wants channels_redis")
def test_what_cannot_be_adopted_stays_as_it_is():
    result = subprocess.run(
        [sys.executable, "-c", ADOPTING],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    kinds = {line.split()[1]: line.split()[2:] for line in lines if line.startswith("=")}
    ours = ["channelsd.layer.layer", "ChannelLayer", "True"]
    core = ["channels_redis.core", "RedisChannelLayer", "True"]
    pubsub = ["channels_redis.pubsub", "RedisPubSubChannelLayer", "True"]
    assert kinds == {
        "adopted": ours,
        "pubsub": ours,
        "subclass": ["__main__", "Own", "True"],
        "memory": ["channels.layers", "InMemoryChannelLayer", "True"],
        "pattern": core,
        "class": core,
        "callback": pubsub,
        "unknown": pubsub,
    }
    warned = [line for line in lines if line.startswith("WARNING")]
    assert len(warned) == 4
    for name, why in (
        ("pattern", "compiled regular expression"),
        ("class", "cannot be given to another process"),
        ("callback", "on_disconnect"),
        ("unknown", "new_setting"),
    ):
        assert any(f"CHANNEL_LAYERS[{name!r}] was not adopted" in line and why in line for line in warned), name
