# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer over time: workers, and nodes that go away."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async

import channelsd.layer as package
import fake_node
from channelsd.layer import ChannelLayer, ChannelLayerTimeout, ChannelLayerUnavailable, connection
from channelsd.layer import process as process_module
from channelsd.layer.process import process
from fake_node import Node, within

MESSAGE = {"type": "a.b"}
PACKAGE = Path(package.__file__).resolve().parents[2]


@pytest.fixture
def layer(node):
    layer = ChannelLayer(socket=node.path, timeout=0.5)
    yield layer
    async_to_sync(layer.close)()


@pytest.mark.parametrize("way", ["leased", "connected"])
async def test_missing_node_is_told_after_the_timeout_and_then_at_once(tmp_path, way):
    path = tmp_path / "nobody.sock"
    layer = ChannelLayer(socket=path, timeout=0.4)
    call = (lambda: layer.send("jobs", MESSAGE)) if way == "leased" else layer.new_channel
    for least, most in ((0.2, 2), (0, 0.3), (0, 0.3)):
        begin = time.monotonic()
        with pytest.raises(ChannelLayerUnavailable) as caught:
            await call()
        assert least <= time.monotonic() - begin < most
        assert str(path) in str(caught.value) and "layer serve" in str(caught.value)
        assert not caught.value.maybe_sent
    with Node(path):
        await call()
    await layer.close()


@pytest.mark.parametrize("way", ["leased", "connected"])
async def test_node_that_comes_in_time_is_waited_for(tmp_path, way):
    path = tmp_path / "late.sock"
    layer = ChannelLayer(socket=path, timeout=5)
    calling = asyncio.ensure_future(layer.send("jobs", MESSAGE) if way == "leased" else layer.new_channel())
    await asyncio.sleep(0.1)
    with Node(path):
        await within(calling)
        await layer.close()


@pytest.mark.parametrize("way", ["leased", "connected"])
async def test_silent_node_is_a_timeout(node, layer, way):
    if way == "connected":
        await layer.new_channel()
    node.answers[fake_node.SEND] = None
    with pytest.raises(ChannelLayerTimeout):
        await within(layer.send("jobs", MESSAGE), 3)
    del node.answers[fake_node.SEND]
    await layer.send("jobs", MESSAGE)
    assert await within(layer.receive("jobs")) == MESSAGE


@pytest.mark.parametrize("way", ["leased", "connected"])
async def test_call_in_flight_at_the_loss_says_that_it_may_have_been_sent(node, layer, way):
    if way == "connected":
        await layer.new_channel()
    node.answers[fake_node.SEND] = None
    sending = asyncio.ensure_future(layer.send("jobs", MESSAGE))
    await node.seen(fake_node.SEND)
    node.cut()
    with pytest.raises(ChannelLayerUnavailable, match="not known whether") as caught:
        await within(sending)
    assert caught.value.maybe_sent


async def test_everything_is_whole_again_after_a_restart_of_the_node(node, layer, caplog):
    own, other = await layer.new_channel(), await layer.new_channel("other")
    for channel in (own, other):
        await layer.group_add("room", channel)
    await layer.group_add("second", other)
    receivers = [asyncio.ensure_future(layer.receive(channel)) for channel in (own, other, "jobs")]
    await node.seen(fake_node.RECEIVE)
    base, names = own[:-19], list(layer.channels(own).bases)
    node.stop()
    await asyncio.sleep(0.3)
    assert not any(receiver.done() for receiver in receivers)
    await layer.send(own, {"type": "local"})
    assert await within(receivers[0]) == {"type": "local"}
    receivers[0] = asyncio.ensure_future(layer.receive(own))
    node.records.clear()
    node.start()
    await node.seen(fake_node.JOIN, 2)
    assert node.ops(fake_node.OPEN)[0][4] == names and names[0] == base
    await layer.group_send("room", MESSAGE)
    assert await within(asyncio.gather(*receivers[:2])) == [MESSAGE, MESSAGE]
    await layer.send("jobs", MESSAGE)
    assert await within(receivers[2]) == MESSAGE
    assert (await layer.new_channel()).startswith(base)
    away = [record.message for record in caplog.records if "is away" in record.message]
    assert len(away) == 1


async def test_group_that_cannot_be_joined_again_is_tried_again(node, layer):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    node.answers[fake_node.JOIN] = (fake_node.UNAVAILABLE, "Redis is away")
    node.cut()
    await node.seen(fake_node.JOIN, 2)
    del node.answers[fake_node.JOIN]
    await node.seen(fake_node.JOIN, 3)
    await layer.group_send("room", MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE


async def test_join_in_flight_at_the_loss_fails_and_leaves_no_member(node, layer):
    channel = await layer.new_channel()
    node.answers[fake_node.JOIN] = None
    joining = asyncio.ensure_future(layer.group_add("room", channel))
    await node.seen(fake_node.JOIN)
    node.answers.clear()
    node.cut()
    with pytest.raises(ChannelLayerUnavailable):
        await within(joining)
    await layer.group_send("room", MESSAGE)
    assert not node.group("room")
    await layer.group_add("room", channel)
    assert node.group("room")


@pytest.mark.parametrize("way", ["new_channel", "receive", "receive_elsewhere"])
async def test_channel_that_is_used_after_a_loss_which_nobody_minded_is_reached(node, layer, way):
    channel = await layer.new_channel()
    channels = layer.channels(channel)
    channels.forget(channel)
    node.cut()
    while channels.connection.is_up:
        await asyncio.sleep(0.01)
    if way == "receive_elsewhere":
        receiver = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(within(layer.receive(channel)))))
    else:
        if way == "new_channel":
            channel = await layer.new_channel()
            await node.seen(fake_node.OPEN, 2)
        receiver = asyncio.ensure_future(layer.receive(channel))
    await node.seen(fake_node.OPEN, 2)
    sender = ChannelLayer(socket=node.path)
    await sender.send(channel, MESSAGE)
    assert await within(receiver) == MESSAGE
    await sender.close()


async def test_node_that_is_slow_to_open_a_layer_is_asked_once(node):
    layer = ChannelLayer(socket=node.path, timeout=0.1)
    node.answers[fake_node.OPEN] = None
    begin = time.monotonic()
    while time.monotonic() < begin + 2 * (layer.timeout + connection.GRACE):
        with pytest.raises(ChannelLayerUnavailable, match="does not answer"):
            await layer.new_channel()
    ((peer, opening),) = node.wait_for(fake_node.OPEN)
    del node.answers[fake_node.OPEN]
    node.handle(peer, opening)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE
    assert len(node.ops(fake_node.OPEN)) == len(node.all_peers) == 1
    await layer.close()


async def test_node_that_goes_before_it_has_opened_a_layer_is_asked_again(node, layer):
    node.answers[fake_node.OPEN] = None
    making = asyncio.ensure_future(layer.new_channel())
    await node.seen(fake_node.OPEN)
    del node.answers[fake_node.OPEN]
    node.cut()
    await within(making)
    assert len(node.ops(fake_node.OPEN)) == len(node.all_peers) == 2


async def test_connection_has_one_timer_for_its_requests(node, layer, monkeypatch):
    channel = await layer.new_channel()
    loop = asyncio.get_running_loop()
    check, call_later = layer.channels(channel).connection._check_pending, loop.call_later
    timers = []

    def watched(delay, callback, *arguments):
        timer = call_later(delay, callback, *arguments)
        if callback == check:
            timers.append(timer)
        return timer

    monkeypatch.setattr(loop, "call_later", watched)
    node.answers[fake_node.JOIN] = node.answers[fake_node.LEAVE] = None
    with pytest.raises(ChannelLayerTimeout):
        await within(layer.group_add("room", channel))
    await node.seen(fake_node.LEAVE)
    assert len([timer for timer in timers if timer.when() > loop.time()]) == 1


async def test_receive_that_is_repeated_after_a_loss_is_asked_once(node, layer, monkeypatch):
    monkeypatch.setattr(connection, "RECEIVE_PAUSE", 0.3)
    node.answers[fake_node.RECEIVE] = (fake_node.UNAVAILABLE, "Redis is away")
    receiver = asyncio.ensure_future(layer.receive("jobs"))
    await node.seen(fake_node.RECEIVE)
    await layer.group_send("nobody", {})
    del node.answers[fake_node.RECEIVE]
    node.cut()
    await node.seen(fake_node.RECEIVE, 2)
    repeated = asyncio.Event()
    asyncio.get_running_loop().call_later(connection.RECEIVE_PAUSE, repeated.set)
    await repeated.wait()
    await layer.group_send("nobody", {})
    assert len(node.ops(fake_node.RECEIVE)) == 2
    for number in range(2):
        await layer.send("jobs", {"number": number})
    assert await within(receiver) == {"number": 0}
    assert await within(layer.receive("jobs")) == {"number": 1}


async def test_node_of_another_version_is_told(node, layer):
    node.answers[fake_node.HELLO] = 2
    for call in (layer.new_channel, lambda: layer.send("jobs", MESSAGE)):
        with pytest.raises(ChannelLayerUnavailable, match="version 2"):
            await within(call())


async def test_receiver_of_a_closed_layer_is_told(layer):
    channel = await layer.new_channel()
    receivers = [asyncio.ensure_future(layer.receive(name)) for name in (channel, "jobs")]
    await asyncio.sleep(0)
    await layer.close()
    for receiver in receivers:
        with pytest.raises(ChannelLayerUnavailable):
            await within(receiver)


# A worker


@pytest.fixture
def inherited(node):
    """A worker's end of a pair whose other end is the node's, and no worker afterwards."""
    ours, theirs = socket.socketpair()
    node.serve(theirs)
    yield ours.detach()
    package.detach_worker()
    process.worker = None


def run_worker(fd, main):
    loop = asyncio.new_event_loop()
    package.attach_worker(fd, loop)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


def test_worker_uses_the_inherited_connection_from_all_its_loops(node, inherited):
    layers = [ChannelLayer(), ChannelLayer(), ChannelLayer(prefix="second")]

    async def main(loop):
        channel = await layers[0].new_channel()
        await layers[1].group_add("room", channel)
        receiver = asyncio.ensure_future(layers[1].receive(channel))
        await layers[0].group_send("room", {"number": 0})
        assert await within(receiver) == {"number": 0}

        def thread():
            asyncio.run(layers[0].group_send("room", {"number": 1}))
            asyncio.run(layers[0].send(channel, {"number": 2}))
            own = asyncio.run(layers[0].new_channel())
            asyncio.run(layers[0].group_add("room", own))
            asyncio.run(layers[0].group_send("room", {"number": 3}))
            assert asyncio.run(layers[0].receive(own)) == {"number": 3}
            asyncio.run(layers[0].group_discard("room", own))

        await asyncio.to_thread(thread)
        assert [(await within(layers[0].receive(channel)))["number"] for _ in range(3)] == [1, 2, 3]
        # async_to_sync() from a thread of the loop comes back to the loop.
        await sync_to_async(async_to_sync(layers[0].group_send))("room", {"number": 4})
        assert await within(layers[0].receive(channel)) == {"number": 4}
        await layers[2].send("jobs", MESSAGE)

    run_worker(inherited, main)
    assert len(node.all_peers) == 1 and node.all_peers[0].what == "worker"
    assert [record[3] for record in node.ops(fake_node.OPEN)] == ["", '{"prefix": "second"}']


@pytest.mark.parametrize("kind", ["own", "normal"])
def test_message_that_comes_as_another_loop_gives_up_is_for_the_next(node, inherited, kind):
    layer = ChannelLayer()

    async def main(loop):
        own = await layer.new_channel()
        channel = own if kind == "own" else "jobs"
        waits, has_come = threading.Event(), threading.Event()

        async def elsewhere():
            receiving = asyncio.ensure_future(layer.receive(channel))
            await asyncio.sleep(0)
            waits.set()
            # This loop stands still while the message comes, and hears of that and of the cancellation in the same turn.
            has_come.wait()
            receiving.cancel()
            await asyncio.wait([receiving])
            assert receiving.cancelled()
            return await within(layer.receive(channel))

        reading = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(elsewhere())))
        await asyncio.to_thread(waits.wait)
        if kind == "normal":
            await node.seen(fake_node.RECEIVE)
        await layer.send(channel, MESSAGE)
        # What the node sends behind it has been handled.
        await layer.group_send("nobody", {})
        await asyncio.sleep(0)
        has_come.set()
        assert await within(reading) == MESSAGE
        if kind == "normal":
            await layer.group_send("nobody", {})
            assert len(node.ops(fake_node.RETURN)) == len(node.ops(fake_node.TAKEN)) == 1

    run_worker(inherited, main)


def test_worker_sends_while_its_application_is_imported(node, inherited):
    loop = asyncio.new_event_loop()
    package.attach_worker(inherited, loop)
    layer = ChannelLayer(timeout=0.5)
    async_to_sync(layer.group_send)("room", MESSAGE)
    async_to_sync(layer.send)("jobs", MESSAGE)
    with pytest.raises(ChannelLayerUnavailable, match="import"):
        async_to_sync(layer.new_channel)()
    assert [record[0] for record in node.all_peers[0].records] == [
        fake_node.HELLO,
        fake_node.OPEN,
        fake_node.GROUP_SEND,
        fake_node.SEND,
    ]
    assert loop.run_until_complete(within(layer.receive("jobs"))) == MESSAGE
    loop.close()
    assert len(node.ops(fake_node.OPEN)) == 1


@pytest.mark.parametrize("answered", ["during_the_import", "later"])
def test_node_that_is_slow_to_open_a_workers_layer_is_asked_once(node, inherited, answered):
    node.answers[fake_node.OPEN] = None
    lost = []
    loop = asyncio.new_event_loop()
    package.attach_worker(inherited, loop, lost.append)
    layer = ChannelLayer(timeout=0.1)
    for _ in range(2):
        with pytest.raises(ChannelLayerUnavailable, match="does not answer"):
            async_to_sync(layer.group_send)("room", MESSAGE)
    peer, opening = node.wait_for(fake_node.OPEN)[0]
    del node.answers[fake_node.OPEN]
    if answered == "during_the_import":
        node.handle(peer, opening)
        async_to_sync(layer.group_send)("room", MESSAGE)

    async def serve():
        sending = asyncio.ensure_future(layer.group_send("room", MESSAGE))
        await asyncio.sleep(0.01)
        if answered == "later":
            node.handle(peer, opening)
        await within(sending)

    loop.run_until_complete(serve())
    loop.close()
    assert len(node.ops(fake_node.OPEN)) == 1 and not lost


def test_timeout_of_a_call_is_told_in_every_loop_of_a_worker(node, inherited):
    layer = ChannelLayer()
    node.answers[fake_node.GROUP_SEND] = (fake_node.TIMED_OUT, "no answer in time")

    async def main(loop):
        for call in (
            lambda: layer.group_send("room", MESSAGE),
            lambda: asyncio.to_thread(asyncio.run, layer.group_send("room", MESSAGE)),
        ):
            with pytest.raises(ChannelLayerTimeout, match="no answer in time"):
                await call()

    run_worker(inherited, main)


def test_worker_whose_loop_stands_still_says_so(node, inherited, monkeypatch):
    monkeypatch.setattr(process_module, "HOP_GRACE", 0.05)
    layer = ChannelLayer(timeout=0.05)

    async def main(loop):
        await layer.new_channel()
        with ThreadPoolExecutor() as threads:
            calling = threads.submit(asyncio.run, layer.group_send("room", MESSAGE))
            with pytest.raises(ChannelLayerUnavailable, match="does not run") as caught:
                calling.result()  # the loop stands still here
        assert caught.value.maybe_sent
        await within(layer.group_send("second", MESSAGE))

    run_worker(inherited, main)


def test_call_that_another_loop_cancels_ends_in_the_workers(node, inherited):
    layer = ChannelLayer()
    node.answers[fake_node.SEND] = None

    async def main(loop):
        await layer.new_channel()

        async def elsewhere():
            sending = asyncio.ensure_future(layer.send("jobs", MESSAGE))
            await node.seen(fake_node.SEND)
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()

        async def ended():
            while len(asyncio.all_tasks()) > 2:
                await asyncio.sleep(0)

        await asyncio.to_thread(asyncio.run, elsewhere())
        await within(asyncio.ensure_future(ended()), 1)  # long before the call's own timeout

    run_worker(inherited, main)


def test_child_of_a_worker_is_no_worker(node, inherited):
    layer = ChannelLayer(socket=node.path)

    async def main(loop):
        await layer.group_send("room", MESSAGE)

    run_worker(inherited, main)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            async_to_sync(layer.group_send)("room", MESSAGE)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert [peer.what for peer in node.all_peers] == ["worker", "client"]
    assert len(node.all_peers[0].records) == 3


def test_worker_whose_node_is_gone_says_so(node, inherited):
    layer = ChannelLayer(timeout=0.5)

    async def main(loop):
        channel = await layer.new_channel()
        node.cut()
        with pytest.raises(ChannelLayerUnavailable):
            await within(layer.group_send("room", MESSAGE))
        await layer.send(channel, MESSAGE)
        assert await within(layer.receive(channel)) == MESSAGE

    run_worker(inherited, main)


def test_call_after_the_workers_loop_has_ended_is_told(node, inherited):
    async def main(loop):
        await ChannelLayer().group_send("room", MESSAGE)

    run_worker(inherited, main)
    with pytest.raises(ChannelLayerUnavailable, match="worker has ended"):
        async_to_sync(ChannelLayer().group_send)("room", MESSAGE)


LISTENS = """
import asyncio, os, socket, sys
import channelsd.layer
ours, theirs = socket.socketpair()
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
channelsd.layer.attach_worker(ours.detach(), loop)
assert "django" not in sys.modules and "channels" not in sys.modules
os.environ["DJANGO_SETTINGS_MODULE"] = "its_settings"
import django
django.setup()
loop.run_until_complete(asyncio.sleep(0.01))
import msgpack
unpacker = msgpack.Unpacker()
unpacker.feed(theirs.recv(65536))
print(list(unpacker)[1])
from channelsd.layer import paths
print([19, paths.project_path()])
"""


def test_worker_tells_where_its_project_is_looked_for(tmp_path):
    (tmp_path / "its_settings.py").write_text('SECRET_KEY = "x"\n')
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": f"{PACKAGE}:{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENS], env=environment, stdout=subprocess.PIPE, text=True, timeout=20, check=True
    )
    told, wanted = done.stdout.splitlines()
    assert told == wanted and str(tmp_path) in told
