# SPDX-License-Identifier: BSD-3-Clause
"""A Django project on channelsd.layer whose processes, whose server and whose Redis fail. What is said is numbered: each
client must have it once and in order."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("channels")

from rawws import RawWebSocket, wait_until
from redis_server import RedisServer
from server import ROOT, Channelsd

SETTINGS = """
import os
SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "hosted.asgi"
USE_TZ = True
TIME_ZONE = "UTC"
HOSTS = os.environ.get("HOSTED_REDIS")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channelsd.layer.ChannelLayer",
        "CONFIG": {"capacity": 1000, **({"hosts": [HOSTS]} if HOSTS else {})},
    },
    "pubsub": {"BACKEND": "channelsd.layer.ChannelLayer", "CONFIG": {"hosts": [HOSTS], "backend": "pubsub"}},
}
"""
APPLICATION = """
import asyncio, os, time
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hosted.settings")
import django
django.setup()
import channelsd
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

urlpatterns = []
GO_ON = asyncio.Event()


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send_json({"pid": os.getpid(), "channel": self.channel_name})

    async def receive_json(self, content):
        await getattr(self, content.pop("do"))(**content)

    async def say(self, n):
        await self.channel_layer.group_send(self.room, {"type": "said", "n": n})

    async def block(self, seconds):
        time.sleep(seconds)

    async def hold(self):
        await self.send_json({"n": -2})
        await GO_ON.wait()

    async def go_on(self):
        GO_ON.set()

    async def wrong_name(self, name):
        # Beside a call of somebody else, in the same turn.
        layer = get_channel_layer("pubsub")
        other = asyncio.ensure_future(layer.group_send("others", {"type": "said", "n": 0}))
        await asyncio.sleep(0)
        try:
            await layer.send(name, {"type": "said", "n": 0})
        except (TypeError, ValueError) as error:
            await self.send_json({"refused": type(error).__name__})
        try:
            await other
        except OSError as error:
            await self.send_json({"other": str(error)})
        else:
            await self.send_json({"other": "done"})

    async def lose_layer(self):
        # What the node does not understand ends its connection.
        self.channel_layer.channels(self.channel_name).connection.put((200,))

    async def said(self, event):
        await self.send_json({"n": event["n"]})

    async def disconnect(self, code):
        await self.channel_layer.group_send("farewells", {"type": "said", "n": code})
        await self.channel_layer.group_discard(self.room, self.channel_name)


class Fan(Room):
    @channelsd.fanout
    def said(event):
        return {"n": event["n"]}


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("room/<room>/", Room.as_asgi()), path("fan/<room>/", Fan.as_asgi())]),
    }
)
"""
# A process of the project that is no worker: `send GROUP FIRST COUNT PAUSE`, or `member GROUP`, which prints what it gets.
PROCESS = """
import asyncio, sys
import django
django.setup()
from channels.layers import get_channel_layer

async def send(group, first, count, pause):
    layer = get_channel_layer()
    for number in range(int(first), int(first) + int(count)):
        try:
            await layer.group_send(group, {"type": "said", "n": number})
            print(number, flush=True)
        except OSError as error:
            print("failed", number, type(error).__name__, error, flush=True)
        await asyncio.sleep(float(pause))

async def member(group):
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    print("ready", flush=True)
    while True:
        print((await layer.receive(channel))["n"], flush=True)

asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
"""


class Project:
    """The files of a project, its server, and other processes of it."""

    def __init__(self, folder, redis=None):
        self.folder = folder
        package = folder / "hosted"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "settings.py").write_text(SETTINGS)
        (package / "asgi.py").write_text(APPLICATION)
        # A socket's path has at most 107 bytes.
        self._runtime = tempfile.TemporaryDirectory(prefix="channelsd-hosted-")
        self.env = {"XDG_RUNTIME_DIR": self._runtime.name, "DJANGO_SETTINGS_MODULE": "hosted.settings"}
        if redis is not None:
            self.env["HOSTED_REDIS"] = redis.url
        self._stack = contextlib.ExitStack()

    def serve(self, *arguments):
        server = Channelsd(
            "hosted.asgi:application",
            *("--workers", "2", *arguments),
            cwd=self.folder,
            env={"PYTHONPATH": str(self.folder), **self.env},
        )
        return self._stack.enter_context(server)

    def process(self, *words):
        path = f"{self.folder}{os.pathsep}{ROOT / 'python'}"
        command = [sys.executable, "-c", PROCESS, *map(str, words)]
        process = subprocess.Popen(
            command, env={**os.environ, **self.env, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def send(self, group, first, count, pause=0.0):
        """What it printed for each number: the number itself when it was sent."""
        return self.process("send", group, first, count, pause).communicate(timeout=30)[0].splitlines()

    def close(self, *error):
        try:
            self._stack.__exit__(*(error or (None, None, None)))
        finally:
            self._runtime.cleanup()


class Client(RawWebSocket):
    def __init__(self, server, path):
        super().__init__(server, path)
        hello = self.json()
        self.pid, self.channel = hello["pid"], hello["channel"]

    def json(self):
        return json.loads(self.receive()[1])

    def do(self, what, **words):
        self.send(1, json.dumps({"do": what, **words}).encode())

    def numbers(self, last):
        """All up to `last`."""
        got = []
        while not got or got[-1] != last:
            got.append(self.json()["n"])
        return got


def clients_of(server, room, count=8):
    return [Client(server, f"/{'room' if number % 2 else 'fan'}/{room}/") for number in range(count)]


@pytest.fixture
def redis():
    with RedisServer() as redis:
        yield redis


@pytest.fixture(params=["memory", "redis"])
def project(request, tmp_path):
    redis = request.getfixturevalue("redis") if request.param == "redis" else None
    project = Project(tmp_path, redis)
    yield project
    project.close()


@pytest.fixture
def project_on_redis(redis, tmp_path):
    project = Project(tmp_path, redis)
    yield project
    project.close()


def test_killed_worker_takes_nobody_else_with_it(project):
    server = project.serve()
    clients = clients_of(server, "room")
    sender = project.process("send", "room", 0, 300, 0.005)
    assert sender.stdout.readline() == "0\n"
    victim = clients[0].pid
    os.kill(victim, signal.SIGKILL)
    survivors = [client for client in clients if client.pid != victim]
    assert survivors and len(survivors) < len(clients)
    for client in survivors:
        assert client.numbers(299) == list(range(300))
    assert [line for line in sender.communicate()[0].splitlines() if not line.isdigit()] == []
    for client in clients:
        if client.pid == victim:
            while (message := client.receive())[0] != 8:
                pass
            assert int.from_bytes(message[1][:2], "big") == 1012
    wait_until(lambda: victim not in server.worker_pids() and len(server.worker_pids()) == 2, 10, "another worker")
    server.log_has(rb"worker.exit")
    late = [Client(server, "/room/room/") for _ in range(4)]
    late[0].do("say", n=300)
    assert [client.numbers(300)[-1] for client in [*late, *survivors]] == [300] * (4 + len(survivors))


def test_worker_that_has_lost_its_layer_is_replaced(project):
    server = project.serve()
    clients = clients_of(server, "room", 4)
    victim = clients[0]
    victim.do("lose_layer")
    server.log_has(rb"The connection to the channel layer was lost .*; the worker ends")
    survivors = [client for client in clients if client.pid != victim.pid]
    wait_until(lambda: victim.pid not in server.worker_pids() and len(server.worker_pids()) == 2, 10, "another worker")
    fresh = wait_for_worker_other_than(server, survivors[0].pid)
    fresh.do("say", n=1)
    assert [client.numbers(1) for client in [fresh, *survivors]] == [[1]] * (1 + len(survivors))


def wait_for_worker_other_than(server, pid):
    """A client of another worker."""
    deadline = time.monotonic() + 10
    while True:
        client = Client(server, "/room/room/")
        if client.pid != pid:
            return client
        client.reset()
        assert time.monotonic() < deadline, "no other worker takes clients"


def test_member_in_another_process_is_whole_soon_after_a_server_was_killed(project):
    server = project.serve()
    server.expect_exit = -signal.SIGKILL
    member = project.process("member", "room")
    assert member.stdout.readline() == "ready\n"
    got = []
    reader = threading.Thread(target=lambda: got.extend((time.monotonic(), line) for line in member.stdout))
    reader.start()
    server.process.kill()
    server.process.wait()
    assert "no channel layer answers" in project.send("room", 0, 1)[0]  # long enough for its pauses to have grown
    project.serve()
    began = time.monotonic()
    assert len(project.send("room", 1, 150, 0.01)) == 150
    assert project.send("room", 1000, 1) == ["1000"]
    wait_until(lambda: got and got[-1][1] == "1000\n", 5, "the last message")
    member.kill()
    reader.join()
    numbers = [int(line) for _, line in got]
    assert numbers == sorted(set(numbers))
    assert got[0][0] - began < 1.5, "it came back late"


def test_sigterm_lets_consumers_say_goodbye_and_leaves_nothing(project_on_redis, redis):
    server = project_on_redis.serve()
    clients = clients_of(server, "room", 6)
    member = project_on_redis.process("member", "farewells")
    assert member.stdout.readline() == "ready\n"
    member_said = []
    reader = threading.Thread(target=lambda: member_said.extend(member.stdout))
    reader.start()
    server.signal(signal.SIGTERM)
    for client in clients:
        client.wait_close()
    assert server.wait_exit() == 0
    assert "Traceback" not in server.stderr.text()
    wait_until(lambda: len(member_said) == 6, 5, "all have said it")
    member.kill()
    reader.join()
    assert member_said == ["1001\n"] * 6
    assert redis.command("KEYS", "*") == []


def test_redis_that_is_gone_for_a_while_closes_no_socket(project_on_redis, redis):
    server = project_on_redis.serve()
    clients = clients_of(server, "room")
    assert project_on_redis.send("room", 0, 50) == list(map(str, range(50)))
    sender = project_on_redis.process("send", "room", 50, 200, 0.01)
    assert sender.stdout.readline() == "50\n"
    redis.kill()
    time.sleep(1)  # how long it is away
    redis.start_again()
    said = [int(line) for line in sender.communicate(timeout=30)[0].splitlines() if line.isdigit()]
    assert project_on_redis.send("room", 1000, 1) == ["1000"]
    for client in clients:
        got = client.numbers(1000)
        assert got == sorted(set(got))
        assert set(said) <= set(got), "the server knows its own members without Redis"


def test_worker_that_is_blocked_has_all_that_was_sent_meanwhile(project_on_redis):
    server = project_on_redis.serve()
    clients = clients_of(server, "room", 6)
    blocked = clients[0]
    blocked.do("block", seconds=1.5)
    began = time.monotonic()
    assert project_on_redis.send("room", 0, 500) == list(map(str, range(500)))
    for client in clients:
        if client.pid != blocked.pid:
            assert client.numbers(499) == list(range(500))
    assert time.monotonic() - began < 1.4, "the others have waited"
    for client in clients:
        if client.pid == blocked.pid:
            assert client.numbers(499) == list(range(500))


def test_half_a_character_in_a_name_is_refused_alone(project_on_redis):
    server = project_on_redis.serve()
    client = Client(server, "/room/room/")
    client.do("wrong_name", name="\ud800")
    assert client.json() == {"refused": "TypeError"}
    assert client.json() == {"other": "done"}


def test_folder_that_others_can_write_to_is_named_as_the_reason(tmp_path):
    project = Project(tmp_path)
    try:
        folder = Path(project.env["XDG_RUNTIME_DIR"]) / "channelsd"
        folder.mkdir()
        folder.chmod(0o777)
        server = project.serve()
        server.log_has(rb"layer.listen .*can be written by, another user")
        (line,) = project.send("room", 0, 1)
        assert line.startswith("failed 0 ChannelLayerUnavailable")
        assert f"{folder}/" in line and "belongs to, or can be written by, another user" in line
    finally:
        project.close()


def test_threads_and_forks_of_a_synchronous_process_send_each_message_once(project):
    server = project.serve()
    clients = clients_of(server, "room", 4)
    code = """
import os, threading
import django
django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

def work(first):
    for number in range(first, first + 20):
        async_to_sync(get_channel_layer().group_send)("room", {"type": "said", "n": number})

def run(first, count):
    threads = [threading.Thread(target=work, args=(first + 20 * index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    return threads

async_to_sync(get_channel_layer().group_send)("room", {"type": "said", "n": -1})
threads = run(0, 20)
children = []
for index in range(3):
    pid = os.fork()
    if pid == 0:
        for thread in run(1000 * (index + 1), 2):
            thread.join()
        os._exit(0)
    children.append(pid)
for thread in threads:
    thread.join()
raise SystemExit(any(os.waitpid(pid, 0)[1] for pid in children))
"""
    path = f"{project.folder}{os.pathsep}{ROOT / 'python'}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, **project.env, "PYTHONPATH": path},
        timeout=60,
    )
    assert done.returncode == 0
    clients[0].do("say", n=-2)
    wanted = [-1, *range(400), *(1000 * child + number for child in (1, 2, 3) for number in range(40))]
    for client in clients:
        got = client.numbers(-2)[:-1]
        assert sorted(got) == sorted(wanted)
        for first in {number // 20 for number in wanted if number >= 0}:
            of_thread = [number for number in got if number // 20 == first]
            assert of_thread == sorted(of_thread), "one thread's messages are in its order"


def test_messages_above_the_capacity_are_reported(project):
    server = project.serve("--workers", "1")
    slow, fast = clients_of(server, "room", 2)
    slow.do("hold")
    slow.numbers(-2)
    assert project.send("room", 0, 1100) == [str(number) for number in range(1100)]
    server.log_has(r'WARNING +layer\.dropped peer=worker-\d count=\d+ channel="specific\.\S+" .*above the capacity')
    fast.do("go_on")
    fast.do("say", n=-1)
    got = slow.numbers(-1)[:-1]
    assert got == list(range(len(got))), "the oldest are kept"
    assert 1000 <= len(got) < 1100
