# SPDX-License-Identifier: BSD-3-Clause
"""Channel layers of two makes for one test: channels_redis ("stock") and channelsd.layer on its nodes ("ours"), in this
process or in others that can be stopped and killed."""

import ast
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import msgpack
import redis
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from server import ROOT, START_SECONDS, Channelsd

SECONDS = 10  # more than anything takes on a busy machine
PUPPET = Path(__file__).with_name("layer_puppet.py")
# Who sends to whom; "beside": both are peers of one node.
PAIRS = ["stock-to-stock", "stock-to-ours", "ours-to-stock", "ours-to-ours", "ours-beside"]
MIXED = ["stock-to-ours", "ours-to-stock", "ours-to-ours", "ours-beside"]


def plain(config):
    """CONFIG as JSON can say it: bytes in their marked form."""
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(item) for item in config]
    if isinstance(config, bytes):
        return {"base64": base64.b64encode(config).decode()}
    return config


class Node(Channelsd):
    """`channelsd layer serve`."""

    def __init__(self, config):
        self._folder = tempfile.TemporaryDirectory(prefix="channelsd-node-")
        self.path = os.path.join(self._folder.name, "layer.sock")
        self.config = config
        self.start_again()

    def start_again(self):
        """After kill(): another process at the same path."""
        words = ["layer", "serve", "--layer-socket", self.path, "--layer-config", json.dumps(plain(self.config))]
        super().__init__(None, *words, tcp=False, cwd=self._folder.name)

    def wait_ready(self):
        self.stderr.wait_for(rb"Serving the channel layer on unix socket", START_SECONDS)

    def stats(self, config=None):
        """The counters of its layer with these settings (its own without): docs/layer-protocol.md."""
        hello, opening, question = (
            [0, 1, os.getpid(), "command"],
            [1, 0, 1, json.dumps(plain(config)) if config else "", []],
            [18, 0, 2],
        )
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as peer:
            peer.settimeout(SECONDS)
            peer.connect(self.path)
            peer.sendall(b"".join(map(msgpack.packb, (hello, opening, question))))
            unpacker = msgpack.Unpacker()
            while data := peer.recv(65536):
                unpacker.feed(data)
                for operation, *items in unpacker:
                    if operation == 2:
                        assert items[:2] == [2, 0], items
                        return dict(items[2])
        raise AssertionError("the node closed the connection")

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """Without a chance to say goodbye. The socket's file stays where it was."""
        self.process.kill()
        self.process.wait()
        self.expect_exit = -signal.SIGKILL

    def kill_group(self):
        super().kill_group()
        self._folder.cleanup()


class Nodes:
    """Nodes by name, made when they are first asked for. stop() checks each as a server is checked at its end."""

    def __init__(self):
        self._nodes = {}

    def get(self, name, config):
        if name not in self._nodes:
            self._nodes[name] = Node(config)
        node = self._nodes[name]
        assert node.config == config, "a node has one configuration"
        return node

    def replace(self, name):
        """Forgets a node that the test has ended itself: the next get() makes another."""
        node = self._nodes.pop(name)
        node.kill_group()

    def stop(self):
        nodes, self._nodes = list(self._nodes.values()), {}
        with contextlib.ExitStack() as stack:
            for node in nodes:
                stack.callback(node.stop)

    def abandon(self):
        """After a failed test: whatever state they are in is not the next test's."""
        for node in self._nodes.values():
            print(node.stderr.text(), file=sys.stderr)
            node.kill_group()
        self._nodes.clear()


class StockPubSub(RedisPubSubChannelLayer):
    """channels_redis.pubsub whose new_channel() and group_add() return when Redis has subscribed it, while those of
    channels_redis return when Redis has been told: what somebody else publishes then may still come first. Nobody else is
    to be subscribed to the same names."""

    async def new_channel(self, *arguments):
        channel = await super().__getattr__("new_channel")(*arguments)
        await self._subscribed(channel)
        return channel

    async def group_add(self, group, channel):
        await super().__getattr__("group_add")(group, channel)
        await self._subscribed(f"{self._kwargs.get('prefix', 'asgi')}__group__{group}")

    async def _subscribed(self, name):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(redis.Redis.from_url(host["address"])) for host in self._kwargs["hosts"]]
            await until(
                lambda: any(count for client in clients for _, count in client.pubsub_numsub(name)),
                f"Redis has subscribed channels_redis.pubsub to {name}",
            )


def make_layer(who, config):
    """A layer object as Channels makes it from CHANNEL_LAYERS."""
    if who == "stock":
        return RedisChannelLayer(**config)
    if who == "stock-pubsub":
        return StockPubSub(**config)
    from channelsd.layer import ChannelLayer

    return ChannelLayer(**config)


async def close_layer(layer):
    if isinstance(layer, RedisChannelLayer):
        await layer.wait_received()
        await layer.close_pools()
    elif isinstance(layer, RedisPubSubChannelLayer):
        await layer.flush()
    else:
        await layer.close()


class Layers:
    """What a test opens; all of it ends with the test. `hosts` are Redis URLs, or whatever CONFIG takes."""

    def __init__(self, hosts, nodes):
        self.hosts = hosts
        self.nodes = nodes
        self._open = []
        self._puppets = []

    def config(self, who, node, config):
        """The CONFIG of a layer. What does not differ from the node's own settings is left to the node."""
        # redis-py 8 gives up an answer after 5 s, which is as long as channels_redis waits for a message.
        patient = [{"address": host, "socket_timeout": None} if isinstance(host, str) else host for host in self.hosts]
        if who.startswith("stock"):
            return {"hosts": patient, **config}
        path = self.nodes.get(node, {"hosts": self.hosts}).path
        if config and config.get("backend") != "memory":
            config = {"hosts": self.hosts, **config}
        return {**config, "socket": path}

    def open(self, who, node="one", **config):
        """A layer in this process."""
        layer = make_layer(who, self.config(who, node, config))
        self._open.append(layer)
        return layer

    def pair(self, kind, **config):
        """(sender, reader) for one of PAIRS."""
        sender, _, reader = kind.replace("-beside", "-to-ours").partition("-to-")
        node = "one" if kind.endswith("-beside") else "two"
        return self.open(sender, node, **config), self.open(reader, "one", **config)

    async def puppet(self, who, node="one", **config):
        """The same in a process of its own."""
        puppet = await Puppet.start(who, self.config(who, node, config))
        self._puppets.append(puppet)
        return puppet

    async def close(self):
        for puppet in self._puppets:
            await puppet.close()
        for layer in self._open:
            await asyncio.wait_for(close_layer(layer), SECONDS)

    async def abandon(self):
        """The same after a failure: at once, and without new complaints."""
        for puppet in self._puppets:
            await puppet.kill()
        self.nodes.abandon()
        for layer in self._open:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(close_layer(layer), 1)


class RemoteError(Exception):
    """What the layer of a puppet raised: `kind` is the name of the class."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Puppet:
    """A process with one layer, whose methods are called here. Calls may be under way side by side."""

    @classmethod
    async def start(cls, who, config):
        self = cls()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PUPPET),
            repr((who, config)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PUPPET.parent), str(ROOT / "python")])},
            limit=64 << 20,
        )
        self._calls = {}
        self._number = 0
        self._reader = asyncio.ensure_future(self._read())
        return self

    @property
    def pid(self):
        return self._process.pid

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*arguments):
            self._number += 1
            number = self._number
            future = self._calls[number] = asyncio.get_running_loop().create_future()
            self._process.stdin.write(repr((number, name, arguments)).encode() + b"\n")
            try:
                await self._process.stdin.drain()
                return await future
            except asyncio.CancelledError:
                self._process.stdin.write(repr((number, None, ())).encode() + b"\n")
                raise
            finally:
                del self._calls[number]

        return call

    async def _read(self):
        while line := await self._process.stdout.readline():
            number, kind, value = ast.literal_eval(line.decode())
            future = self._calls.get(number)
            if future is None or future.done():
                continue
            if kind is None:
                future.set_result(value)
            else:
                future.set_exception(RemoteError(kind, value))
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the process has ended"))

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self):
        """Without a chance to say goodbye."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def close(self):
        if self._process.returncode is None:
            self._process.stdin.close()
            try:
                code = await asyncio.wait_for(self._process.wait(), SECONDS)
            except asyncio.TimeoutError:
                await self.kill()
                raise
            assert code == 0, f"a process with a layer ended with exit code {code}"
        await self._reader


def keys(redis):
    """All keys, in order, but the notes that nodes of channelsd make for each other."""
    return sorted(key for key in redis.command("KEYS", "*") if ":channelsd:" not in key)


def clear(redis):
    """Deletes them all."""
    left = keys(redis)
    if left:
        redis.command("DEL", *left)


def long_dead(redis, channel):
    """The node that made this channel, which was killed, has not been heard of for a minute: its neighbours wait for half
    of that before they take it for dead (channel_layer/redis/redis_upkeep.h)."""
    node = channel.partition("!")[0].rpartition(".")[2]
    score = redis.command("ZSCORE", "asgi:channelsd:nodes", node)
    assert score is not None, "the node was known"
    redis.command("ZADD", "asgi:channelsd:nodes", float(score) - 60, node)


@contextlib.contextmanager
def paused(process):
    """A node, a Redis or a puppet that is stopped for the block, as if its machine had no time for it."""
    process.pause()
    try:
        yield
    finally:
        process.resume()


async def take(layer, channel, seconds=SECONDS):
    """The next message of the channel, or TimeoutError."""
    return await asyncio.wait_for(layer.receive(channel), seconds)


async def take_until(layer, channel, last):
    """The messages up to one that equals `last`, without it."""
    messages = []
    while (message := await take(layer, channel)) != last:
        messages.append(message)
    return messages


async def until(condition, what, seconds=SECONDS):
    """Returns when condition(), which may be a coroutine function, is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert loop.time() < deadline, f"not in {seconds} s: {what}"
        await asyncio.sleep(0.005)
