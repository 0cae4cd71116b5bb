# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer in several event loops, threads and forked processes."""

import asyncio
import contextlib
import ctypes
import gc
import importlib.util
import os
import threading
import weakref

import pytest
from asgiref.sync import async_to_sync

import fake_node
from channelsd.layer import ChannelLayer, ChannelLayerUnavailable, pool
from fake_node import within

LOOPS = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") else [])
MESSAGE = {"type": "a.b"}


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


def test_layers_that_are_used_no_more_keep_few_connections(node):
    for number in range(3 * pool.LAYERS_MAX):
        async_to_sync(ChannelLayer(socket=node.path, prefix=f"p{number}").send)("jobs", MESSAGE)
    node.wait_peers(pool.LAYERS_MAX)
    last = f'{{"prefix": "p{3 * pool.LAYERS_MAX - 1}"}}'
    opened = len(node.ops(fake_node.OPEN))
    async_to_sync(ChannelLayer(socket=node.path, prefix=f"p{3 * pool.LAYERS_MAX - 1}").send)("jobs", MESSAGE)
    assert len(node.ops(fake_node.OPEN)) == opened and node.ops(fake_node.OPEN)[-1][3] == last


async def test_close_pools_leaves_channels_alone(node, layer):
    channel = await layer.new_channel()
    receiving = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0)

    async def elsewhere():
        await layer.send(channel, MESSAGE)
        await layer.close_pools()

    await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert await within(receiving) == MESSAGE
    await layer.close_pools()
    await layer.send(channel, MESSAGE)
    assert await within(layer.receive(channel)) == MESSAGE


async def test_close_pools_ends_an_idle_connection(node, layer):
    channels = layer._home(asyncio.get_running_loop())
    await channels.connection.ready(channels)
    node.wait_peers(1)
    await layer.close_pools()
    node.wait_peers(0)
    await layer.send("jobs", MESSAGE)
    assert await within(layer.receive("jobs")) == MESSAGE


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


def test_channel_is_found_while_another_connection_leaves(node, layer):
    loops = [asyncio.new_event_loop() for _ in range(2)]
    channels = [loop.run_until_complete(layer.new_channel()) for loop in loops]
    first = layer._owner(channels[0]).connection

    class Leaving(dict):
        def get(self, base):
            layer._connections.remove(first)

    bases, first.bases = first.bases, Leaving()
    assert layer._owner(channels[1]).connection.loop is loops[1]
    assert first not in layer._connections
    first.bases = bases
    layer._connections.append(first)
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("kind", LOOPS)
def test_connection_that_is_down_when_its_loop_ends_is_made_again_by_the_next(kind, node, layer):
    make = asyncio.new_event_loop if kind == "asyncio" else importlib.import_module("uvloop").new_event_loop

    async def first():
        channel = await layer.new_channel()
        node.stop()
        while layer.channels(channel).connection.is_up:
            await asyncio.sleep(0.01)
        return channel

    async def second(channel):
        receiver = asyncio.ensure_future(layer.receive(channel))
        await node.seen(fake_node.OPEN, 2)
        sender = ChannelLayer(socket=node.path)
        await sender.send(channel, MESSAGE)
        assert await within(receiver) == MESSAGE
        await sender.close()

    loop = make()
    channel = loop.run_until_complete(first())
    loop.close()
    node.start()
    loop = make()
    loop.run_until_complete(second(channel))
    loop.close()
    gc.collect()  # what asyncio says of the task that the first loop has left belongs to this test


async def connecting_again(connection):
    """The task that tries to, when it is under way."""
    while connection._nudge is None:
        await asyncio.sleep(0.01)
    return connection._connector


def test_task_of_a_closed_loop_leaves_that_of_the_next_alone(node, layer):
    loop = asyncio.new_event_loop()
    channel = loop.run_until_complete(layer.new_channel())
    connection = layer._owner(channel).connection
    node.stop()

    left = loop.run_until_complete(connecting_again(connection))
    loop.close()
    assert connection._connector is None

    async def go_on(left):
        receiver = asyncio.ensure_future(layer.receive(channel))
        await connecting_again(connection)
        connector, gone = connection._connector, weakref.ref(left.pop())
        gc.collect()
        assert gone() is None
        assert connection._connector is connector and connection._nudge is not None
        node.start()
        await node.seen(fake_node.OPEN, 2)
        await layer.send(channel, MESSAGE)
        assert await within(receiver) == MESSAGE

    left = [left]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(go_on(left))
    loop.close()


def test_loop_that_closes_while_it_connects_again_says_nothing(node, layer, caplog):
    """As when the node goes after asyncio.run() has cancelled all tasks, and only waits for its threads."""
    loop = asyncio.new_event_loop()
    channel = loop.run_until_complete(layer.new_channel())
    connection = layer._owner(channel).connection
    node.stop()
    connector = weakref.ref(loop.run_until_complete(connecting_again(connection)))
    loop.close()
    gc.collect()
    assert connector() is None
    assert "was destroyed" not in caplog.text
