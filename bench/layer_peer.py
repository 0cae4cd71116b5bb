# SPDX-License-Identifier: BSD-3-Clause
"""One process of `python3 -m bench.layer`: sends or receives through a channel layer, and prints what that cost it.

`python bench/layer_peer.py ROLE LOOP LAYER ADDRESS COUNT …`; LOOP: asyncio or uvloop; LAYER and ADDRESS: "channels_redis" and
the URL of Redis, or another and the path of a node. Each role prints lines for its parent, and the CPU time of a call or
message in µs at last.
"""

import asyncio
import importlib
import os
import resource
import subprocess
import sys

MESSAGE = {"type": "chat.message", "text": "x" * 100}
WARMUP = 50


def make_layer(kind, address):
    if kind == "channelsd":
        from channelsd.layer import ChannelLayer

        return ChannelLayer(socket=address)
    from channels_redis.core import RedisChannelLayer

    # Nobody reads what the sender's members get: only a large capacity keeps their channel open.
    return RedisChannelLayer(hosts=[{"address": address, "socket_timeout": None}], capacity=10**6)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def send(layer, count, group, at_once):
    """group_send()s, so many at a time."""

    async def some(number):
        for _ in range(number):
            await layer.group_send(group, MESSAGE)

    await some(WARMUP)
    before = cpu_seconds()
    await asyncio.gather(*[some(count // at_once) for _ in range(at_once)])
    return (cpu_seconds() - before) / count


async def members(layer, count, group):
    """Joins a group with so many channels, and stays until the parent closes our input."""
    names = [await layer.new_channel() for _ in range(count)]
    for name in names:
        await layer.group_add(group, name)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def receive(layer, count):
    """Tells the name of a channel, and receives from it."""
    channel = await layer.new_channel()
    print(channel, flush=True)
    for _ in range(WARMUP):
        await layer.receive(channel)
    before = cpu_seconds()
    for _ in range(count):
        await layer.receive(channel)
    return (cpu_seconds() - before) / count


async def listen(count, address, channelsd):
    """Tells the name of a channel, and receives through a pipe of `channelsd layer listen`: what a loop costs that is told of
    bytes, reads them and resumes a coroutine."""
    channel = f"bench-{os.getpid()}"
    command = [channelsd, "layer", "listen", "--layer-socket", address, "--count", str(WARMUP + count), channel]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
        loop = asyncio.get_running_loop()
        pipe = listener.stdout.fileno()
        lines = 0
        reader = None

        def readable():
            nonlocal lines
            data = os.read(pipe, 65536)
            if not data:
                raise SystemExit("channelsd layer listen has ended")
            lines += data.count(b"\n")
            if not reader.done():
                reader.set_result(None)

        async def receive():
            nonlocal lines, reader
            if not lines:
                reader = loop.create_future()
                await reader
            lines -= 1

        loop.add_reader(pipe, readable)
        print(channel, flush=True)
        for _ in range(WARMUP):
            await receive()
        before = cpu_seconds()
        for _ in range(count):
            await receive()
        used = cpu_seconds() - before
        loop.remove_reader(pipe)
    return used / count


async def feed(layer, count, channel, pause):
    """Sends single messages to a channel, `pause` seconds apart."""
    for _ in range(WARMUP + count):
        await layer.send(channel, MESSAGE)
        await asyncio.sleep(pause)


async def main(role, kind, address, count, *more):
    if role == "listen":
        print((await listen(int(count), address, *more)) * 1e6, flush=True)
        return
    layer = make_layer(kind, address)
    if role == "send":
        print((await send(layer, int(count), more[0], int(more[1]))) * 1e6, flush=True)
    elif role == "members":
        await members(layer, int(count), more[0])
    elif role == "receive":
        print((await receive(layer, int(count))) * 1e6, flush=True)
    else:
        await feed(layer, int(count), more[0], float(more[1]))


if __name__ == "__main__":
    _, own_role, loop_name, *rest = sys.argv
    own_loop = importlib.import_module(loop_name).new_event_loop()
    asyncio.set_event_loop(own_loop)
    own_loop.run_until_complete(main(own_role, *rest))
