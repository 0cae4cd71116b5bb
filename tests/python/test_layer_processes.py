# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer over time: workers, nodes that go away, and where the socket is found."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async

import channelsd.layer as package
import fake_node
from channelsd.layer import ChannelLayer, ChannelLayerTimeout, ChannelLayerUnavailable, paths
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


# Where the socket is


def test_socket_is_found_by_variable_and_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "channelsd"
    folder.mkdir(mode=0o700)
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    layer = ChannelLayer(timeout=0.1)
    with Node(folder / "layer.sock") as general:
        async_to_sync(layer.send)("jobs", MESSAGE)
        assert general.ops(fake_node.SEND)
        monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "named.sock"))
        with pytest.raises(ChannelLayerUnavailable, match=r"named\.sock.*CHANNELSD_LAYER_SOCKET"):
            async_to_sync(layer.send)("jobs", MESSAGE)
        with Node(tmp_path / "named.sock") as named:
            async_to_sync(layer.send)("jobs", MESSAGE)
            assert named.ops(fake_node.SEND)
            async_to_sync(layer.close)()


def test_socket_in_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    folder = tmp_path / "channelsd"
    folder.mkdir()
    folder.chmod(0o777)
    with Node(folder / "layer.sock") as node:
        with pytest.raises(ChannelLayerUnavailable, match=r"layer\.sock"):
            async_to_sync(ChannelLayer(timeout=0.1).send)("jobs", MESSAGE)
        assert not node.all_peers


PROJECT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "its_settings"
import django
django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channelsd.layer import paths
print(paths.project_path(), flush=True)
sys.stdin.readline()
async_to_sync(get_channel_layer().group_send)("room", {"type": "x"})
"""


def test_project_has_a_path_of_its_own(tmp_path):
    (tmp_path / "its_settings.py").write_text(
        'SECRET_KEY = "x"\nCHANNEL_LAYERS = {"default": {"BACKEND": "channelsd.layer.ChannelLayer"}}\n'
    )
    folder = tmp_path / "channelsd"
    folder.mkdir(mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": f"{PACKAGE}:{tmp_path}"}
    environment.pop(paths.VARIABLE, None)
    with subprocess.Popen(
        [sys.executable, "-c", PROJECT],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        path = child.stdout.readline().strip()
        assert Path(path).parent == folder and len(Path(path).name) == 12 + len(".sock")
        with Node(folder / "layer.sock") as general, Node(path) as own:
            child.communicate("\n", timeout=20)
            assert child.returncode == 0
            assert own.ops(fake_node.GROUP_SEND) and not general.all_peers


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
