# SPDX-License-Identifier: BSD-3-Clause
"""`channelsd layer send|group-send|listen|group-listen|groups|ping`: against a node, against Redis, beside channels_redis."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess

import pytest
from redis_server import RedisServer
from server import Output, binary

SECONDS = 20
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "XDG_RUNTIME_DIR")}


def layer(*arguments, text=None, env=None):
    """Runs a command to its end."""
    return subprocess.run(
        [binary(), "layer", *map(str, arguments)],
        input=text,
        env={**ENVIRONMENT, **(env or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def messages(done):
    """What a listener printed. Fails the test unless it ended well."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Listener:
    """A `listen` or `group-listen` that runs in the background."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [binary(), "layer", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        self.errors = Output(self.process.stderr)

    def __enter__(self):
        return self

    def line(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Its exit status when it is told to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def redis():
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["node", "redis"])
def place(request, tmp_path):
    """The arguments that name a layer: of a node without Redis, and Redis itself."""
    if request.param == "redis":
        redis = request.getfixturevalue("redis")
        redis.command("FLUSHALL")
        yield ["--redis", redis.url]
        return
    path = tmp_path / "layer.sock"
    process = subprocess.Popen(
        [binary(), "layer", "serve", "--layer-socket", path], stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    try:
        Output(process.stderr).wait_for("Serving the channel layer")
        yield ["--layer-socket", path]
    finally:
        process.terminate()
        assert process.wait(SECONDS) == 0
        assert not path.exists()


def test_a_message_to_a_channel_waits_for_who_listens(place):
    assert layer("send", *place, "jobs", '{"type": "resize", "id": 7}').returncode == 0
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [{"type": "resize", "id": 7}]


def test_a_message_is_printed_once_and_then_gone(place):
    layer("send", *place, "jobs", '{"type": "a"}')
    layer("send", *place, "jobs", '{"type": "b"}')
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [{"type": "a"}]
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [{"type": "b"}]


def test_every_line_of_stdin_is_a_message(place):
    lines = "".join(f'{{"type": "n", "n": {n}}}\n\n' for n in range(50))
    assert layer("send", *place, "jobs", "-", text=lines).returncode == 0
    assert [one["n"] for one in messages(layer("listen", *place, "--count", 50, "jobs"))] == list(range(50))


def test_names_tell_the_channel_of_each_message(place):
    layer("send", *place, "one", '{"type": "x"}')
    layer("send", *place, "two", '{"type": "y"}')
    found = messages(layer("listen", *place, "--count", 2, "--names", "one", "two"))
    assert sorted(found, key=lambda one: one["channel"]) == [
        {"channel": "one", "message": {"type": "x"}},
        {"channel": "two", "message": {"type": "y"}},
    ]


def test_bytes_and_text_keep_their_kind(place):
    text = '{"type": "t", "text": "häß \\ud83d\\ude00", "data": {"__bytes__": "AAH/"}, "n": [1, -1, 1.5, null, true]}'
    assert layer("send", *place, "jobs", text).returncode == 0
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [json.loads(text)]


def test_listeners_of_a_group_all_get_what_is_sent_to_it(place):
    with Listener("group-listen", *place, "room") as first, Listener("group-listen", *place, "room") as second:
        for listener in (first, second):
            listener.errors.wait_for("listening to the group room")
        groups = messages(layer("groups", *place))
        assert [one["group"] for one in groups] == ["room"]
        assert layer("group-send", *place, "room", '{"type": "chat.message"}').returncode == 0
        assert first.line() == second.line() == {"type": "chat.message"}
        assert first.end() == second.end() == 0
    assert messages(layer("groups", *place)) == []


def test_ping_tells_the_backend_and_counters(place):
    (answer,) = messages(layer("ping", *place))
    assert answer["backend"] == ("memory" if place[0] == "--layer-socket" else "redis")
    assert answer["milliseconds"] > 0
    assert answer["dropped_full"] == 0


def test_a_full_channel_has_an_exit_status_of_its_own(place):
    settings = {"capacity": 2}
    if place[0] == "--redis":
        settings["hosts"] = [place[1]]
        place = []
    place = [*place, "--layer-config", json.dumps(settings)]
    for _ in range(2):
        assert layer("send", *place, "jobs", '{"type": "x"}').returncode == 0
    done = layer("send", *place, "jobs", '{"type": "x"}')
    assert done.returncode == 3
    assert "jobs" in done.stderr


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["send", "jobs"], "send takes 2 arguments, not 1"),
        (["listen"], "at least 1 argument"),
        (["groups", "x"], "takes 0 arguments"),
        (["send", "a b", '{"type": "x"}'], "a b"),
        (["send", "jobs", "{"], "line 1"),
        (["send", "jobs", "[]"], "object"),
        (["send", "jobs", '{"__asgi_channel__": "x"}'], "__asgi_channel__"),
        (["ping", "--timeout", "0"], "--timeout 0"),
        (["ping", "--count", "-1"], "--count -1"),
        (["ping", "--nonsense"], "--nonsense"),
        (["ping", "--redis"], "--redis needs a value"),
        (["ping", "--layer-config", '{"hosts": "redis://x"}'], "hosts"),
        (["ping", "--layer-config", '{"capacity": 0}'], "capacity"),
        (["ping", "--redis", "localhost:6379"], "redis://"),
        (["nonsense"], "nonsense"),
        ([], "missing"),
    ],
)
def test_what_is_wrong_is_named_and_ends_with_2(redis, arguments, told):
    place = [] if "--redis" in arguments or "--layer-config" in arguments else ["--redis", redis.url]
    place = place if arguments and arguments[0] != "nonsense" else []
    done = layer(*arguments[:1], *place, *arguments[1:])
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert done.stdout == ""


def test_the_number_of_the_line_that_is_wrong_is_told(redis):
    redis.command("FLUSHALL")
    done = layer("send", "--redis", redis.url, "jobs", "-", text='{"type": "a"}\nnonsense\n')
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert messages(layer("listen", "--redis", redis.url, "--count", 1, "jobs")) == [{"type": "a"}]


def test_a_layer_that_is_not_there_ends_with_1(tmp_path):
    done = layer("ping", "--layer-socket", tmp_path / "none.sock")
    assert done.returncode == 1
    assert "none.sock" in done.stderr and "layer serve" in done.stderr
    done = layer("ping", "--redis", "redis://127.0.0.1:1", "--timeout", "10")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


def test_a_wrong_password_is_told_and_not_printed():
    with RedisServer("--requirepass", "right") as redis:
        done = layer("ping", "--redis", f"redis://:wrong-secret@127.0.0.1:{redis.port}", "--timeout", "10")
    assert done.returncode == 1
    assert "password" in done.stderr
    assert "wrong-secret" not in done.stderr


def test_the_environment_names_the_layer(redis):
    redis.command("FLUSHALL")
    assert layer("send", "jobs", '{"type": "x"}', env={"REDIS_URL": redis.url}).returncode == 0
    assert redis.command("EXISTS", "asgijobs") == 1


def test_channels_redis_reads_what_was_sent_and_is_read(redis):
    core = pytest.importorskip("channels_redis.core")
    redis.command("FLUSHALL")
    stock = core.RedisChannelLayer(hosts=[{"address": redis.url, "socket_timeout": None}])

    async def receive():
        return await asyncio.wait_for(stock.receive("jobs"), SECONDS)

    async def both_ways():
        done = await asyncio.to_thread(
            layer, "send", "--redis", redis.url, "jobs", '{"type": "x", "b": {"__bytes__": "AA=="}}'
        )
        assert done.returncode == 0
        assert await receive() == {"type": "x", "b": b"\0"}
        with Listener("group-listen", "--redis", redis.url, "room") as listener:
            await asyncio.to_thread(listener.errors.wait_for, "listening to the group room")
            await stock.group_send("room", {"type": "chat.message", "data": b"\1"})
            got = await asyncio.to_thread(listener.line)
            assert got == {"type": "chat.message", "data": {"__bytes__": "AQ=="}}
            assert await asyncio.to_thread(listener.end) == 0
        with contextlib.suppress(AttributeError):
            await stock.close_pools()

    asyncio.run(both_ways())


def test_a_listener_that_is_killed_before_it_printed_loses_nothing(redis):
    redis.command("FLUSHALL")
    with Listener("listen", "--redis", redis.url, "jobs") as listener:
        # Nobody reads its output: it is stopped before it can take a message.
        listener.process.send_signal(signal.SIGSTOP)
        assert layer("send", "--redis", redis.url, "jobs", '{"type": "x"}').returncode == 0
        listener.process.kill()
    assert messages(layer("listen", "--redis", redis.url, "--count", 1, "jobs")) == [{"type": "x"}]
