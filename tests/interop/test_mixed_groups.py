# SPDX-License-Identifier: BSD-3-Clause
"""Groups whose members are browsers: consumers under Daphne with channels_redis, consumers hosted by channelsd with
channelsd.layer, and whoever else sends, all on one Redis."""

import asyncio
import contextlib
import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from layer_rig import SECONDS, take, until
from redis_server import RedisServer
from server import Channelsd, Daphne, binary
from websockets.asyncio.client import connect
from ws_client import get

APPS = Path(__file__).parent / "apps"
WHOLE_AGAIN = 2  # seconds after Redis is back
SLACK = 1


def stock(redis):
    config = {"hosts": [{"address": redis.url, "socket_timeout": None}]}
    return {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}


def ours(redis):
    return {"BACKEND": "channelsd.layer.ChannelLayer", "CONFIG": {"hosts": [redis.url]}}


def served_by(make, backend, *arguments):
    """A server to be started."""
    return lambda: make(
        "rooms:application", *arguments, cwd=APPS, env={"ROOMS_LAYERS": repr({"default": backend})}, start=False
    )


@contextlib.contextmanager
def servers(*made):
    """Starts them side by side."""
    with contextlib.ExitStack() as stack:
        started = [make() for make in made]
        for one in started:
            stack.enter_context(one)
        for one in started:
            one.wait_ready()
        yield started


class Client:
    """A browser in a room that notes all that it hears, and when."""

    def __init__(self, at, room="lobby"):
        self.url = f"{at.ws_url}/room/{room}/"
        self.heard = []
        self.failed = []
        self.channel = None
        self.closed = False

    async def __aenter__(self):
        self._socket = await connect(self.url, open_timeout=SECONDS, ping_interval=None)
        self.channel = json.loads(await asyncio.wait_for(self._socket.recv(), SECONDS))["channel"]
        self._task = asyncio.ensure_future(self._listen())
        return self

    async def _listen(self):
        async for text in self._socket:
            message = json.loads(text)
            (self.failed.append(message["failed"]) if "failed" in message else self.heard.append(message["n"]))
        self.closed = True

    async def say(self, number, **more):
        await self._socket.send(json.dumps({"n": number, **more}))

    async def __aexit__(self, *_):
        await self._socket.close()
        await self._task


@contextlib.asynccontextmanager
async def clients(*places, room="lobby"):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(place, room)) for place in places]


@pytest.mark.timeout(60)
async def test_everybody_in_the_room_hears_everybody_once(layers, redis):
    hosted = served_by(Channelsd, ours(redis), "--workers", 2)
    with servers(served_by(Daphne, stock(redis)), hosted, hosted, served_by(Channelsd, stock(redis))) as places:
        async with clients(*places * 3) as everybody, clients(*places, room="elsewhere") as others:
            senders = [layers.open("stock"), layers.open("ours")]
            loop = asyncio.get_running_loop()
            count = 0
            for client in everybody:
                await client.say(count)
                count += 1
            for sender in senders:
                await sender.group_send("lobby", {"type": "said", "n": count})
                count += 1
            for place in places:
                await loop.run_in_executor(None, get, place, f"/say/lobby/{count}/")
                count += 1
            for client in everybody:
                await until(lambda client=client: len(client.heard) >= count, "everything is heard")
            # A direct message each, by a client of every other place, comes behind all that its sender said before.
            for number, (speaker, listener) in enumerate(zip(everybody, everybody[1:] + everybody[:1])):
                await speaker.say(1000 + number, to=listener.channel)
            for number, listener in enumerate(everybody[1:] + everybody[:1]):
                await until(lambda listener=listener: listener.heard[-1] >= 1000, "direct messages arrive")
                assert Counter(listener.heard) == Counter([*range(count), 1000 + number])
            for client in others:
                assert client.heard == []
        await until(
            lambda: not redis.command("EXISTS", "asgi:group:lobby", "asgi:group:elsewhere"), "everybody has left"
        )


@pytest.mark.timeout(60)
async def test_room_of_hosted_consumers_outlives_redis(own_layers):
    """Killed and started again under load: no socket closes, who speaks in vain is told, and the room is whole soon after."""
    with RedisServer() as redis:
        hosted = served_by(Channelsd, ours(redis), "--workers", 2)
        with servers(hosted, hosted) as places:
            async with clients(*places * 10) as everybody:
                speaker, running, count = everybody[0], True, 0

                async def load():
                    nonlocal count
                    while running:
                        await speaker.say(count)
                        number, count = count, count + 1
                        # Closed loop: what is lost in silence is at most what was under way when Redis died.
                        deadline = time.monotonic() + 3 + SLACK
                        while number not in speaker.failed and number not in speaker.heard:
                            assert time.monotonic() < deadline, f"{number} was neither heard nor refused"
                            await asyncio.sleep(0.002)

                loading = asyncio.ensure_future(load())
                await until(lambda: all(client.heard and client.heard[-1] > 20 for client in everybody), "all hear")
                await asyncio.get_running_loop().run_in_executor(None, redis.kill)
                await until(lambda: speaker.failed, "the speaker is told")
                await asyncio.get_running_loop().run_in_executor(None, redis.start_again)
                back = count
                await until(
                    lambda: all(client.heard[-1] > back for client in everybody),
                    "the room is whole",
                    WHOLE_AGAIN + SLACK,
                )
                whole = count
                await until(lambda: count > whole + 30, "it is used")
                running = False
                await loading
                last = speaker.heard[-1]
                await until(lambda: all(client.heard[-1] == last for client in everybody), "all hear the last")
                assert not any(client.closed for client in everybody)
                for number, client in enumerate(everybody):
                    assert max(Counter(client.heard).values()) == 1
                    lost = sorted(set(range(count)) - set(client.heard) - set(speaker.failed))
                    under_way = [one for one in lost if one < min(speaker.failed)]
                    assert len(under_way) <= 1, f"more than what was in Redis when it died: {lost}"
                    # The speaker's server may be back before the other, which is not in the group until then.
                    assert all(one < whole for one in lost) and (number % 2 or lost == under_way), lost


@pytest.mark.timeout(60)
async def test_room_without_redis_spans_workers_and_other_processes(tmp_path):
    """The memory backend: all workers of a server, and a process beside it that finds its socket."""
    path = tmp_path / "layer.sock"
    backend = {"BACKEND": "channelsd.layer.ChannelLayer"}
    with servers(served_by(Channelsd, backend, "--workers", 3, "--layer-socket", path)) as (server,):
        from channelsd.layer import ChannelLayer

        beside = ChannelLayer(socket=str(path))
        channel = await beside.new_channel()
        await beside.group_add("lobby", channel)
        async with clients(*[server] * 12) as everybody:
            for number, client in enumerate(everybody):
                await client.say(number)
                assert (await take(beside, channel))["n"] == number
            await beside.group_send("lobby", {"type": "said", "n": 12})
            for client in everybody:
                await until(lambda client=client: len(client.heard) == 13, "everything is heard")
                assert sorted(client.heard) == list(range(13))
                await beside.send(client.channel, {"type": "said", "n": 99})
                await until(lambda client=client: client.heard[-1] == 99, "direct messages arrive")
        await beside.close()


async def test_command_line_sends_to_all(layers, redis):
    """The same with `channelsd layer`, which reads the same configuration."""
    ours_layer, stock_layer = layers.open("ours"), layers.open("stock")
    members = [(layer, await layer.new_channel()) for layer in (ours_layer, stock_layer)]
    for layer, channel in members:
        await layer.group_add("room", channel)
    node = layers.nodes.get("one", {"hosts": layers.hosts})

    async def layer_command(*words):
        process = await asyncio.create_subprocess_exec(
            str(binary()), "layer", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        assert process.returncode == 0, err.decode()
        return out.decode()

    ways = (["--layer-socket", node.path], ["--layer-config", json.dumps({"hosts": layers.hosts})])
    for number, way in enumerate(ways):
        await layer_command("group-send", *way, "room", json.dumps({"type": "x", "n": number}))
        for layer, channel in members:
            assert await take(layer, channel) == {"type": "x", "n": number}
            await layer_command("send", *way, channel, json.dumps({"type": "y", "n": number}))
            assert await take(layer, channel) == {"type": "y", "n": number}
