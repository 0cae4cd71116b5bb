# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer.ChannelLayer on `channelsd layer serve`, without Redis and with one."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

pytest.importorskip("channels")

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from redis_server import RedisServer
from server import ROOT, Channelsd

sys.path.insert(0, str(ROOT / "python"))

from channelsd.layer import ChannelLayer, ChannelLayerRefused, ChannelLayerUnavailable

MESSAGE = {"type": "a.b", "text": "grüße", "bytes": b"\0\xff", "list": [1, 2.5, None, True, {}]}


def within(awaitable, seconds=10):
    return asyncio.wait_for(awaitable, seconds)


class LayerNode(Channelsd):
    """`channelsd layer serve`. It can be killed and started again."""

    def __init__(self, path, config):
        super().__init__(
            None, "layer", "serve", "--layer-socket", path, "--layer-config", json.dumps(config), tcp=False, cwd="/"
        )

    def wait_ready(self):
        self.log_has(rb"channel layer on unix socket")


@pytest.fixture(scope="module", params=["memory", "redis"])
def config(request):
    if request.param == "memory":
        yield {"capacity": 1200, "channel_capacity": {"small*": 2}}
        return
    with RedisServer() as redis:
        yield {"hosts": [redis.url], "capacity": 1200, "channel_capacity": {"small*": 2}}


@pytest.fixture(scope="module")
def node(config, tmp_path_factory):
    with LayerNode(str(tmp_path_factory.mktemp("node") / "layer.sock"), config) as node:
        node.path = node.command[node.command.index("--layer-socket") + 1]
        yield node


@pytest.fixture
async def layer(node):
    layer = ChannelLayer(socket=node.path)
    await layer.flush()
    yield layer
    await layer.close()


@pytest.fixture
async def other(node):
    """In effect another process: it has connections of its own."""
    layer = ChannelLayer(socket=node.path)
    yield layer
    await layer.close()


# A process that answers each message with a message to the channel in it, and tells its channel by its output.
ANSWERER = """
import asyncio, sys
from channelsd.layer import ChannelLayer

async def main():
    layer = ChannelLayer(socket=sys.argv[1])
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    print(channel, flush=True)
    while True:
        message = await layer.receive(channel)
        await layer.send(message["reply"], {"from": channel, "echo": message})

asyncio.run(main())
"""


@pytest.fixture
def answerer(node):
    process = subprocess.Popen(
        [sys.executable, "-c", ANSWERER, node.path],
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        process.channel = process.stdout.readline().strip()
        assert process.channel
        yield process
        process.kill()


async def test_message_goes_to_another_process_and_back(layer, answerer):
    channel = await layer.new_channel()
    message = {**MESSAGE, "reply": channel}
    await layer.send(answerer.channel, message)
    assert await within(layer.receive(channel)) == {"from": answerer.channel, "echo": message}
    await layer.group_add("room", channel)
    await layer.group_send("room", message)
    got = [await within(layer.receive(channel)) for _ in range(2)]
    assert message in got and {"from": answerer.channel, "echo": message} in got


async def test_member_that_is_killed_is_out_of_its_groups(layer, answerer):
    channel = await layer.new_channel()
    answerer.send_signal(signal.SIGKILL)
    await asyncio.to_thread(answerer.wait)
    await layer.group_send("room", {"reply": channel})
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "end"})
    assert await within(layer.receive(channel)) == {"type": "end"}


async def test_others_add_and_discard_a_channel(layer, other):
    channel = await layer.new_channel()
    await other.group_add("guests", channel)
    await other.group_send("guests", {"number": 1})
    await other.group_discard("guests", channel)
    await other.group_send("guests", {"number": 2})
    await other.send(channel, {"number": 3})
    assert [(await within(layer.receive(channel)))["number"] for _ in range(2)] == [1, 3]


async def test_thousand_members_get_each_message_once(layer, other):
    channels = [await layer.new_channel() for _ in range(1000)]
    await asyncio.gather(*[layer.group_add("many", channel) for channel in channels])
    for number in range(5):
        await other.group_send("many", {"number": number})
    await asyncio.gather(*[layer.send(channel, {"number": "end"}) for channel in channels[:1]])
    for index, channel in enumerate(channels):
        got = [(await within(layer.receive(channel)))["number"] for _ in range(5)]
        assert got == list(range(5)), index
    await asyncio.gather(*[layer.group_discard("many", channel) for channel in channels])
    await other.group_send("many", {"number": 6})
    await layer.group_add("last", channels[1])
    await other.group_send("last", {"number": 7})
    assert await within(layer.receive(channels[1])) == {"number": 7}


async def test_normal_channel_is_shared_by_its_receivers(layer, other):
    receivers = [asyncio.ensure_future(one.receive("jobs")) for one in (layer, other, layer, other)]
    for number in range(4):
        await other.send("jobs", {"number": number})
    got = await within(asyncio.gather(*receivers))
    assert sorted(message["number"] for message in got) == [0, 1, 2, 3]


async def test_cancelled_receive_of_a_normal_channel_loses_nothing(layer, other):
    for number in range(100):
        receiver = asyncio.ensure_future(layer.receive("jobs"))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        sending = asyncio.ensure_future(other.send("jobs", {"number": number}))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        receiver.cancel()
        await sending
        (result,) = await asyncio.gather(receiver, return_exceptions=True)
        if isinstance(result, asyncio.CancelledError):
            result = await within(layer.receive("jobs"))
        assert result == {"number": number}


async def test_more_receivers_than_the_node_takes_are_refused_and_end_nothing(layer, other, monkeypatch):
    monkeypatch.setattr("channelsd.layer.connection.RECEIVES_MAX", 3)
    receivers = [asyncio.ensure_future(layer.receive("jobs")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="at most 3 messages"):
        await layer.receive("more")
    receivers.pop().cancel()
    await asyncio.sleep(0)
    receivers.append(asyncio.ensure_future(layer.receive("jobs")))
    for number in range(3):
        await other.send("jobs", {"number": number})
    assert sorted(message["number"] for message in await within(asyncio.gather(*receivers))) == [0, 1, 2]


async def test_held_message_goes_to_another_when_it_is_put_back(layer, other):
    await other.send("jobs", MESSAGE)
    held = await within(layer.receive_held("jobs"))
    waiting = asyncio.ensure_future(other.receive("jobs"))
    assert held.message == MESSAGE
    held.put_back()
    assert await within(waiting) == MESSAGE


async def test_held_message_goes_to_another_when_its_process_ends(layer, other):
    await other.send("jobs", MESSAGE)
    await within(layer.receive_held("jobs"))
    waiting = asyncio.ensure_future(other.receive("jobs"))
    await layer.close()
    assert await within(waiting) == MESSAGE


async def test_full_channels_raise(layer, other):
    channel = await layer.new_channel("small")
    for name in (channel, "small"):
        for _ in range(2):
            await other.send(name, MESSAGE)
        with pytest.raises(ChannelFull):
            await other.send(name, MESSAGE)
    with pytest.raises(ChannelFull):
        await layer.send(channel, MESSAGE)


async def test_prefixes_never_hold_each_other_up(layer, other):
    one, two = await layer.new_channel("one"), await layer.new_channel("two")
    first = asyncio.ensure_future(layer.receive(one))
    for number in range(3):
        await other.send(two, {"number": number})
        assert await within(layer.receive(two)) == {"number": number}
    await other.send(one, MESSAGE)
    assert await within(first) == MESSAGE


async def test_flush_is_told_to_all(layer, other):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await other.send("jobs", MESSAGE)
    await other.send(channel, MESSAGE)
    await other.flush()
    await other.group_send("room", MESSAGE)
    await other.send(channel, {"type": "end"})
    await other.send("jobs", {"type": "end"})
    assert await within(layer.receive(channel)) == {"type": "end"}
    assert await within(layer.receive("jobs")) == {"type": "end"}


async def test_large_messages_pass(layer, other):
    message = {"x": os.urandom(3_000_000)}
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for call in (other.send(channel, message), other.group_send("room", message), other.send("jobs", message)):
        await call
    for name in (channel, channel, "jobs"):
        assert await within(layer.receive(name)) == message


async def test_settings_that_nobody_understands_are_refused_by_name(node):
    layer = ChannelLayer(hosts=["ftp://nowhere"], socket=node.path)
    with pytest.raises(ChannelLayerRefused, match="hosts"):
        await layer.send("jobs", MESSAGE)


def test_sync_calls_of_many_threads_and_forks(node):
    layer = ChannelLayer(socket=node.path)
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("sync", channel)
    for _ in range(3):
        async_to_sync(layer.group_send)("sync", {"pid": os.getpid()})

    def work():
        for number in range(20):
            async_to_sync(layer.group_send)("sync", {"number": number})

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(10):
                    async_to_sync(layer.group_send)("sync", {"pid": os.getpid()})
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    got = [async_to_sync(layer.receive)(channel) for _ in range(3 + 100 + 30)]
    assert sorted(message["number"] for message in got if "number" in message) == sorted(list(range(20)) * 5)
    assert [sum(message.get("pid") == pid for message in got) for pid in [os.getpid(), *children]] == [3, 10, 10, 10]
    async_to_sync(layer.close)()


async def test_everything_is_whole_again_after_a_restart_of_the_node(config, tmp_path):
    path = str(tmp_path / "layer.sock")
    layer, sender = ChannelLayer(socket=path), ChannelLayer(socket=path, timeout=5)
    node = LayerNode(path, config)
    try:
        await layer.flush()
        own, other = await layer.new_channel(), await layer.new_channel("other")
        for channel in (own, other):
            await layer.group_add("room", channel)
        receivers = [asyncio.ensure_future(layer.receive(name)) for name in (own, other, "jobs")]
        await asyncio.sleep(0)
        node.kill_group()
        with pytest.raises(ChannelLayerUnavailable):
            await ChannelLayer(socket=path, timeout=0.2).send("jobs", MESSAGE)
        node = await asyncio.to_thread(LayerNode, path, config)
        # Whoever sends may be there before whoever receives.
        number = 0
        while not all(receiver.done() for receiver in receivers[:2]):
            await sender.group_send("room", {"number": number})
            await asyncio.wait(receivers[:2], timeout=0.1)
            number += 1
            assert number < 100
        await sender.send("jobs", MESSAGE)
        assert await within(receivers[2]) == MESSAGE
        await sender.send(own, {"type": "old name"})
        while (await within(layer.receive(own))) != {"type": "old name"}:
            pass
        assert (await layer.new_channel()).startswith(own[:-19])
    finally:
        await layer.close()
        await sender.close()
        await asyncio.to_thread(node.stop)
