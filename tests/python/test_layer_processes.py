# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer over time: event loops, forks, workers, nodes that go away, and where the socket is found."""

import asyncio
import contextlib
import ctypes
import importlib.util
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
from fake_node import Node

LOOPS = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") else [])
MESSAGE = {"type": "a.b"}
PACKAGE = Path(package.__file__).resolve().parents[2]


def within(awaitable, seconds=5):
    return asyncio.wait_for(awaitable, seconds)


@pytest.fixture
def node(tmp_path):
    with Node(tmp_path / "layer.sock") as node:
        yield node


@pytest.fixture
def layer(node):
    layer = ChannelLayer(socket=node.path, timeout=0.5)
    yield layer
    async_to_sync(layer.close)()


# Calls from sync code


def test_calls_from_sync_code_share_one_connection(node, layer):
    for number in range(20):
        async_to_sync(layer.group_send)("room", {"number": number})
        async_to_sync(layer.send)("jobs", {"number": number})
    assert len(node.all_peers) == 1
    assert len(node.ops(fake_node.GROUP_SEND)) == 20


def test_calls_from_threads_share_a_few_connections(node, layer):
    def work():
        for _ in range(10):
            async_to_sync(layer.send)("jobs", MESSAGE)
            async_to_sync(layer.receive)("jobs")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not node.queues.get("jobs")
    async_to_sync(layer.close)()
    node.wait_peers(0)


def test_many_calls_of_a_loop_get_a_connection_of_their_own(node, layer):
    async def burst():
        await asyncio.gather(*[layer.group_send("room", MESSAGE) for _ in range(500)])

    asyncio.run(burst())
    assert len(node.ops(fake_node.GROUP_SEND)) == 500
    assert len(node.all_peers) <= 5

    async def follow():
        for _ in range(100):
            await layer.group_send("room", MESSAGE)

    asyncio.run(follow())
    assert len(node.all_peers) <= 6


def test_connection_that_the_node_has_closed_is_not_used_again(node, layer):
    async_to_sync(layer.group_send)("room", MESSAGE)
    node.cut()
    async_to_sync(layer.group_send)("room", MESSAGE)
    assert len(node.ops(fake_node.GROUP_SEND)) == 2


def test_flushed_layer_does_not_confuse_an_idle_connection(node, layer):
    async_to_sync(layer.group_send)("room", MESSAGE)
    node.put(node.peers[0], [fake_node.FLUSHED, 0], [fake_node.REPLY, 99, 1, "nothing"])
    async_to_sync(layer.group_send)("room", MESSAGE)
    assert len(node.all_peers) == 1


def test_sync_channel_survives_the_loops_of_its_calls(node, layer):
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("room", channel)
    async_to_sync(layer.group_send)("room", MESSAGE)
    assert async_to_sync(layer.receive)(channel) == MESSAGE
    async_to_sync(layer.send)(channel, {"type": "second"})
    assert async_to_sync(layer.receive)(channel) == {"type": "second"}
    assert len(node.ops(fake_node.OPEN)) <= 2


def test_loop_that_closes_closes_its_connection(node, layer):
    async def receive_nothing():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(layer.receive("jobs"), 0.05)

    asyncio.run(receive_nothing())
    node.wait_peers(0)
    assert not node.waiting["jobs"]


def test_message_that_crosses_the_end_of_a_loop_is_not_lost(node, layer):
    async def leave():
        await layer.new_channel()
        receiver = asyncio.ensure_future(layer.receive("jobs"))
        peer, record = (await node.seen(fake_node.RECEIVE))[0]
        node.answers[fake_node.CANCEL] = None

        def cross():
            peer.untaken[record[2]] = ("jobs", b"\x81\xa4type\xa1x")
            node.waiting["jobs"].clear()
            peer.put([fake_node.MESSAGE, 0, record[2], b"\x81\xa4type\xa1x"])

        receiver.cancel()
        node.do(cross)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    node.wait_for(fake_node.RETURN)
    assert len(node.queues["jobs"]) == 1


async def test_channel_of_another_running_loop_is_reached_and_received(node, layer):
    channel = await layer.new_channel()
    receiver = asyncio.ensure_future(layer.receive(channel))
    await asyncio.to_thread(lambda: async_to_sync(layer.send)(channel, MESSAGE))
    assert await within(receiver) == MESSAGE
    await asyncio.to_thread(lambda: asyncio.run(layer.group_add("room", channel)))
    for number in range(2):
        await layer.group_send("room", {"number": number})
    assert await within(layer.receive(channel)) == {"number": 0}
    assert await asyncio.to_thread(lambda: asyncio.run(layer.receive(channel))) == {"number": 1}
    receiving = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(within(layer.receive(channel)))))
    while not layer.channels(channel).afar:
        await asyncio.sleep(0)
    await layer.send(channel, MESSAGE)
    assert await receiving == MESSAGE
    assert not layer.channels(channel).afar


def test_conversations_of_threads_do_not_meet(node, layer):
    """A loop for each call: the connection of a channel goes to whatever loop is the next to need one."""
    wrong = []

    def work(name):
        try:
            for number in range(20):
                channel = async_to_sync(layer.new_channel)()
                async_to_sync(layer.send)(channel, {"name": name, "number": number})
                assert async_to_sync(layer.receive)(channel) == {"name": name, "number": number}
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(node.all_peers) <= 24


@pytest.mark.parametrize("end", ["close", "reader_closes"])
async def test_receiver_in_another_loop_outlives_the_one_that_reads(node, layer, end):
    """What it waits for comes when the loop with the connection has ended, or the layer was closed."""
    channel = await asyncio.to_thread(lambda: asyncio.run(layer.new_channel()))
    taken, ending = threading.Event(), threading.Event()

    async def reader():
        await layer.new_channel()
        taken.set()
        await asyncio.to_thread(ending.wait)

    reading = threading.Thread(target=lambda: asyncio.run(reader()))
    reading.start()
    await asyncio.to_thread(taken.wait)
    receiver = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0)
    assert layer._owner(channel).afar
    if end == "close":
        await layer.close()
        with pytest.raises(ChannelLayerUnavailable, match="closed"):
            await within(receiver)
    ending.set()
    await asyncio.to_thread(reading.join)
    if end == "reader_closes":
        assert not receiver.done()
        await asyncio.to_thread(lambda: async_to_sync(layer.send)(channel, MESSAGE))
        assert await within(receiver) == MESSAGE


async def test_cancelled_receiver_in_another_loop_loses_nothing(node, layer):
    channel = await layer.new_channel()
    wanted, got = 50, []

    async def elsewhere():
        while len(got) < wanted:
            with contextlib.suppress(asyncio.TimeoutError):
                got.append((await asyncio.wait_for(layer.receive(channel), 0.001 * (1 + len(got) % 3)))["number"])

    receiving = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(elsewhere())))
    for number in range(wanted):
        await layer.send(channel, {"number": number})
        await asyncio.sleep(0.001 * (number % 4))
    await within(receiving)
    assert got == list(range(wanted))


async def test_channel_of_a_loop_that_stands_still_is_no_riddle(node, layer):
    loop = asyncio.new_event_loop()
    try:
        channel = await asyncio.to_thread(loop.run_until_complete, layer.new_channel())
        with pytest.raises(RuntimeError, match="neither runs nor is closed"):
            await within(layer.receive(channel))
    finally:
        loop.close()


async def everything(node, layer):
    """Each kind of call, with a message that no socket takes at once."""
    large = {"x": b"\0" * 3_000_000}
    await layer.send("jobs", large)
    channel, other = await layer.new_channel(), await layer.new_channel("other")
    assert await within(layer.receive("jobs")) == large
    for one in (channel, other):
        await layer.group_add("room", one)
    await layer.group_send("room", large)
    assert await within(layer.receive(channel)) == large
    receiver = asyncio.ensure_future(layer.receive("jobs"))
    assert await within(layer.receive(other)) == large
    node.cut()
    await node.seen(fake_node.JOIN, 2)
    await layer.send("jobs", MESSAGE)
    assert await within(receiver) == MESSAGE
    await layer.group_discard("room", channel)
    return channel


@pytest.mark.parametrize("kind", LOOPS)
def test_every_call_works_on(kind, node, layer):
    make = asyncio.new_event_loop if kind == "asyncio" else importlib.import_module("uvloop").new_event_loop
    loop = make()
    channel = loop.run_until_complete(everything(node, layer))
    loop.close()
    loop = make()
    loop.run_until_complete(layer.send(channel, MESSAGE))
    assert loop.run_until_complete(within(layer.receive(channel))) == MESSAGE
    loop.close()
    loop = make()
    loop.run_until_complete(layer.group_send("empty", {"x": b"\0" * 3_000_000}))
    loop.close()
    loop = make()
    loop.run_until_complete(layer.close())
    loop.close()
    node.wait_peers(0)


@pytest.mark.parametrize("after", ["use", "nothing"])
def test_forked_children_have_connections_of_their_own(node, layer, after):
    channel = None
    if after == "use":
        async_to_sync(layer.group_send)("room", MESSAGE)
        channel = async_to_sync(layer.new_channel)()
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(5):
                    async_to_sync(layer.group_send)("room", {"pid": os.getpid()})
                own = async_to_sync(layer.new_channel)()
                async_to_sync(layer.send)(own, MESSAGE)
                assert async_to_sync(layer.receive)(own) == MESSAGE
                assert channel is None or own[:-19] != channel[:-19]
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert {peer.pid for peer, record in node.records if record[0] == fake_node.GROUP_SEND} >= set(children)
    if channel:
        async_to_sync(layer.send)(channel, MESSAGE)
        assert async_to_sync(layer.receive)(channel) == MESSAGE


def test_fork_of_which_python_knows_nothing_is_noticed(node, layer):
    """uWSGI forks its workers so."""

    async def call():
        await layer.group_send("room", MESSAGE)

    asyncio.run(call())
    channel = asyncio.run(layer.new_channel())
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(call())
            own = asyncio.run(layer.new_channel())
            asyncio.run(layer.send(own, MESSAGE))
            assert asyncio.run(layer.receive(own)) == MESSAGE and own[:-19] != channel[:-19]
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert [peer.pid for peer, record in node.records if record[0] == fake_node.GROUP_SEND] == [os.getpid(), pid]
    asyncio.run(layer.send(channel, MESSAGE))
    assert asyncio.run(layer.receive(channel)) == MESSAGE


# A node that goes away


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
