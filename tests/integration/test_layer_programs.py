# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer.ChannelLayer in programs of others: gunicorn, Celery and a shell, each as it is run, beside a server."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import httpx
import layer_peer as lp
import pytest

pytest.importorskip("celery")
pytest.importorskip("channels")
pytest.importorskip("gunicorn")

from asgiref.sync import async_to_sync
from celery import Celery
from layer_peer import Peer
from redis_server import RedisServer
from server import APPS, ROOT, Channelsd, Output

sys.path.insert(0, str(ROOT / "python"))

from channelsd.layer import ChannelLayer, ChannelLayerUnavailable

SECONDS = 20
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "XDG_RUNTIME_DIR")},
    "DJANGO_SETTINGS_MODULE": "programs.settings",
    "PYTHONPATH": f"{ROOT / 'python'}:{APPS}",
    "PYTHONUNBUFFERED": "1",
}


class Node(Channelsd):
    """A server with the layer on a path. It can be killed and started again."""

    def __init__(self, path):
        self.path = path
        super().__init__("echo:application", "--layer-socket", path, "--verbosity", 2)
        self.member = self.keep(Peer(path))
        self.member.done(lp.JOIN, "room")

    def told(self, count):
        """The next messages to the group."""
        messages = []
        while len(messages) < count:
            _, layer, ticket, _, _, body = self.member.take(lambda record: record[0] == lp.DELIVER, SECONDS)
            if ticket is not None:
                self.member.write(lp.ACCEPTED, layer, ticket, False)
            messages.append(lp.msgpack.unpackb(body))
        return messages

    def connections(self, *pids):
        """How many these processes have made so far."""
        made = re.findall(rb"layer\.peer peer=\S+ pid=(\d+)", bytes(self.stderr.data))
        return sum(int(pid) in pids for pid in made)

    def kill(self):
        self.member.close()
        self.expect_exit = -signal.SIGKILL
        self.kill_group()


class Program:
    """Somebody else's program, which uses the layer on the path."""

    def __init__(self, path, *words, **environment):
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=APPS,
            # What a program keeps in the user's folder (gunicorn's control socket) is the test's.
            env={**ENVIRONMENT, "CHANNELSD_LAYER_SOCKET": path, "HOME": os.path.dirname(path), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.output = Output(self.process.stdout)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        try:
            code = self.process.wait(SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if kind is None:
            assert code == 0, self.output.text()
        else:
            print(self.output.text())


class Gunicorn(Program):
    def __init__(self, path, *arguments, app="programs.wsgi", **environment):
        super().__init__(path, "-m", "gunicorn", "-b", "127.0.0.1:0", *arguments, app, **environment)

    def __enter__(self):
        self.url = self.output.wait_for(rb"Listening at: (http://\S+)", SECONDS)[1].decode()
        return self

    def get(self, path):
        """(process, value) of what a view answers."""
        answer = httpx.get(self.url + path, timeout=SECONDS, trust_env=False)
        assert answer.status_code in (200, 503), self.output.text()
        return tuple(answer.json().values())


class CeleryWorker(Program):
    def __init__(self, path, broker, *arguments, **environment):
        words = ["-m", "celery", "-A", "programs.tasks", "worker", "--loglevel", "info", "--without-mingle", *arguments]
        super().__init__(path, *words, PROGRAMS_BROKER=broker, **environment)
        self.app = Celery(broker=broker, backend=broker)
        self.begun = []

    def __enter__(self):
        self.output.wait_for(rb"celery@\S+ ready", SECONDS)
        return self

    def __exit__(self, *what):
        for result in self.begun:
            result.backend = None  # else its end, whenever that is, waits for a Redis that is gone
        self.app.close()
        super().__exit__(*what)

    def begin(self, name, *arguments):
        self.begun.append(self.app.send_task(f"programs.tasks.{name}", arguments))
        return self.begun[-1]

    def run(self, name, *arguments):
        return self.begin(name, *arguments).get(timeout=SECONDS)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "layer.sock")


@pytest.fixture
def node(path):
    with Node(path) as node:
        yield node


@pytest.fixture(scope="module")
def broker():
    with RedisServer() as redis:
        yield redis.url


def numbers(messages):
    return sorted(message["n"] for message in messages)


GUNICORNS = {
    "sync": ["-w", "1"],
    "threads": ["-w", "1", "-k", "gthread", "--threads", "20"],
    "preloaded": ["-w", "2", "--preload"],
    "asgi": ["-w", "1", "-k", "uvicorn_worker.UvicornWorker"],
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", GUNICORNS)
def test_views_under_gunicorn(kind, node, path):
    environment = {"PROGRAMS_TELL_AT_IMPORT": "1"} if kind == "preloaded" else {}
    app = "programs.wsgi"
    if kind == "asgi":
        pytest.importorskip("uvicorn_worker")
        app = "programs.asgi"
    with Gunicorn(path, *GUNICORNS[kind], app=app, **environment) as program:
        if kind == "preloaded":
            (message,) = node.told(1)
            assert message["pid"] == program.process.pid
        pids = {program.get("/tell/300")[0]}
        assert numbers(node.told(300)) == list(range(300))
        # All under ASGI are of one loop, which gets a connection of its own.
        assert node.connections(*pids) == (2 if kind == "asgi" else 1)
        for _ in range(20):
            pids.add(program.get("/atell/1")[0])
            node.told(1)
        for number in range(10):
            for way in ("ask", "aask"):
                pid, value = program.get(f"/{way}/{number}")
                assert value == number
                pids.add(pid)
        assert node.connections(*pids) <= 3 * len(pids)
        ways = ("tell/5", "atell/5", "ask/5", "aask/5")
        with ThreadPoolExecutor(20) as executor:
            got = list(executor.map(lambda number: program.get(f"/{ways[number % 4]}"), range(60)))
        assert [value for _, value in got] == [5] * 60
        assert numbers(node.told(150)) == sorted([0, 1, 2, 3, 4] * 30)
        assert node.connections(*pids, *(pid for pid, _ in got)) <= 40
        assert node.member.nothing_waits()


@pytest.mark.timeout(60)
def test_gunicorn_outlives_its_workers_and_the_node(node, path):
    with Gunicorn(path, "-w", "2", "--max-requests", "3", PROGRAMS_TIMEOUT="0.5") as program:
        pids = {program.get("/tell/2")[0] for _ in range(12)}
        assert len(pids) > 2 and len(node.told(24)) == 24
        program.process.send_signal(signal.SIGHUP)
        program.output.wait_for(rb"(?s)Hang up: Master.*Booting worker", SECONDS)
        for _ in range(4):
            assert program.get("/tell/2")[1] == 2
        assert len(node.told(8)) == 8
        node.kill()
        for way in ("tell", "atell"):
            _, value = program.get(f"/{way}/1")
            assert re.match(
                f"ChannelLayerUnavailable: no channel layer answers at {path} .*channelsd layer serve", value
            )
        with Node(path) as again:
            for way in ("tell", "atell"):
                assert program.get(f"/{way}/2")[1] == 2
                assert numbers(again.told(2)) == [0, 1]
            for way in ("ask", "aask"):
                assert program.get(f"/{way}/3")[1] == 3


@pytest.mark.timeout(60)
def test_node_that_is_killed_under_gunicorns_requests_hangs_none(node, path):
    with Gunicorn(path, "-w", "1", "-k", "gthread", "--threads", "8") as program:
        with ThreadPoolExecutor(8) as executor:
            requests = [executor.submit(program.get, f"/{way}/1000") for way in ("tell", "atell") * 4]
            node.told(200)
            node.kill()
            with Node(path) as again:
                for request in requests:
                    _, value = request.result(SECONDS)
                    assert value == 1000 or "it is not known whether" in value
                _, value = program.get("/ask/7")
                assert value == 7
                pid, value = program.get("/tell/1")
                assert value == 1
                again.member.take(
                    lambda record: record[0] == lp.DELIVER and lp.msgpack.unpackb(record[5])["pid"] == pid, SECONDS
                )


CELERIES = {
    "prefork": ["-P", "prefork", "-c", "2"],
    "prefork, once": ["-P", "prefork", "-c", "2", "--max-tasks-per-child", "1"],
    "threads": ["-P", "threads", "-c", "8"],
    "solo": ["-P", "solo"],
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", CELERIES)
def test_tasks_of_celery(kind, node, path, broker):
    environment = {"PROGRAMS_TELL_AT_IMPORT": "1", "PROGRAMS_TIMEOUT": "0.5"}
    with CeleryWorker(path, broker, *CELERIES[kind], **environment) as program:
        (message,) = node.told(1)
        assert message["pid"] == program.process.pid
        count = 2 if kind == "prefork, once" else 8  # a process for each takes its time
        tasks = [program.begin("tell", 20) for _ in range(count)]
        pids = {task.get(timeout=SECONDS) for task in tasks}
        assert numbers(node.told(20 * count)) == sorted(list(range(20)) * count)
        assert node.connections(*pids) <= (8 if kind == "threads" else len(pids))
        assert (program.process.pid in pids) == (kind in ("threads", "solo"))
        assert kind != "prefork, once" or len(pids) == count
        if kind != "prefork, once":
            tasks = [program.begin("ask", number) for number in range(count)]
            assert [task.get(timeout=SECONDS) for task in tasks] == list(range(count))
        if kind == "prefork":
            made = program.run("tell_until_stopped")
            assert made and numbers(node.told(made)) == list(range(made))
            program.run("tell", 3)
            # The call in which the limit came may have been sent.
            assert numbers(node.told(3))[0] == 0
        node.kill()
        with pytest.raises(Exception, match=f"no channel layer answers at {path}"):
            program.run("tell", 1)
        with Node(path) as again:
            program.run("tell", 5)
            assert numbers(again.told(5)) == list(range(5))
            assert program.run("ask", 9) == 9


def python(path, *words, text=None):
    """What a Python says that is run to its end."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=APPS,
        env={**ENVIRONMENT, "CHANNELSD_LAYER_SOCKET": path},
        input=text,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )


def test_shells(node, path):
    done = python(
        path, "-m", "django", "shell", "-c", "from programs import calls; calls.tell(20); print(calls.ask(5))"
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "5", done.stdout
    assert len(node.told(20)) == 20
    lines = """
import django; django.setup()
from programs import calls
for _ in range(100): await calls.atell(1)

print("got", await calls.aask(6))
from channels.layers import get_channel_layer
channel = await get_channel_layer().new_channel()
await get_channel_layer().send(channel, {"n": 7})
print("got", (await get_channel_layer().receive(channel))["n"])
"""
    done = python(path, "-m", "asyncio", text=lines)
    assert re.findall(r"got \d", done.stdout) == ["got 6", "got 7"], done.stdout
    assert len(node.told(100)) == 100


def told_to_another_user(path):
    """What a call of his raises."""
    layer = ChannelLayer(socket=path, timeout=0.2)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                async_to_sync(layer.group_send)("room", {"type": "told"})
            except ChannelLayerUnavailable as error:
                os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_told_why_not():
    with tempfile.TemporaryDirectory(prefix="channelsd-") as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/layer.sock"
        with Node(path) as node:
            assert os.stat(path).st_mode & 0o777 == 0o600
            text = told_to_another_user(path)
            assert f"no channel layer answers at {path} (Permission denied)" in text and "as this user" in text
            # Whoever opens it to all has not opened the layer to all.
            os.chmod(path, 0o666)
            assert "its log says why (layer.refused)" in told_to_another_user(path)
            node.log_has(rb"layer\.refused reason=\"a process of another user\"")
            assert node.member.nothing_waits()
