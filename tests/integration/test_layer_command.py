# SPDX-License-Identifier: BSD-3-Clause
"""`channelsd layer send|group-send|listen|group-listen|groups|ping`: against a node, against Redis, beside channels_redis."""

import asyncio
import base64
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import layer_peer as lp
import pytest
from layer_peer import LayerServe, Peer
from layer_tool import ENVIRONMENT, SECONDS, Listener, blocks_signals, layer, messages, wait_until
from redis_server import RedisServer
from server import Output, binary


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


# ---- readers, nodes and signals that come and go ----


def test_who_reads_no_more_ends_a_listener(place):
    for number in range(3):
        layer("send", *place, "jobs", json.dumps({"type": "x", "n": number}))
    with Listener("listen", *place, "jobs", "others") as listener, Listener("group-listen", *place, "room") as other:
        assert listener.line()["n"] == 0
        listener.process.stdout.close()
        assert listener.process.wait(SECONDS) == 0
        other.errors.wait_for("listening")
        other.process.stdout.close()
        assert other.process.wait(SECONDS) == 0
    # What it printed is gone, even where nobody read it; anything else is there.
    assert layer("send", *place, "jobs", '{"type": "x", "n": 3}').returncode == 0
    assert messages(layer("listen", *place, "--count", 1, "jobs"))[0]["n"] in (1, 2, 3)


def test_a_message_that_cannot_be_printed_is_not_taken(place):
    with Listener("listen", *place, "jobs") as listener:
        listener.process.send_signal(signal.SIGSTOP)
        listener.process.stdout.close()
        layer("send", *place, "jobs", '{"type": "x"}')
        listener.process.send_signal(signal.SIGCONT)
        assert listener.process.wait(SECONDS) == 0
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [{"type": "x"}]


def test_a_listener_that_is_held_up_by_its_reader_ends_by_a_signal(place):
    text = json.dumps({"type": "x", "text": "y" * 1_000_000})
    assert layer("send", *place, "jobs", "-", text=text).returncode == 0
    with Listener("listen", *place, "jobs") as listener:
        listener.full_pipe()
        assert listener.end() == 0
    # It was not printed whole.
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [json.loads(text)]


@pytest.mark.parametrize("arguments", [("listen", "jobs"), ("group-listen", "room")])
def test_a_node_that_ends_is_told(tmp_path, arguments):
    path = tmp_path / "layer.sock"
    with subprocess.Popen(
        [binary(), "layer", "serve", "--layer-socket", path], stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as node:
        Output(node.stderr).wait_for("Serving the channel layer")
        layer("send", "--layer-socket", path, "jobs", '{"type": "x"}')
        with Listener(*arguments, "--layer-socket", path) as listener:
            if arguments[0] == "listen":
                listener.line()
            else:
                listener.errors.wait_for("listening")
            node.terminate()
            assert listener.process.wait(SECONDS) == 1
            listener.errors.wait_for("node")


def test_a_group_is_listened_to_after_a_flush(place, tmp_path):
    with Listener("group-listen", *place, "room") as listener:
        listener.errors.wait_for("listening")
        assert layer("group-send", *place, "room", '{"type": "before"}').returncode == 0
        assert listener.line() == {"type": "before"}
        flush(place, tmp_path)
        wait_until(lambda: messages(layer("groups", *place)) == [{"group": "room", "members": 1}])
        assert layer("group-send", *place, "room", '{"type": "after"}').returncode == 0
        assert listener.line() == {"type": "after"}
        assert listener.end() == 0


def flush(place, folder):
    """As another process does it: there is no command for it."""
    if place[0] == "--layer-socket":
        node, path, settings = contextlib.nullcontext(), place[1], ""
    else:
        path, settings = folder / "another.sock", json.dumps({"hosts": [place[1]]})
        node = LayerServe(path)
    with node, Peer(path, config=settings) as peer:
        peer.done(lp.FLUSH)


def test_bytes_of_any_message_come_through(place):
    """Base64 makes more of them than a body may have."""
    data = base64.b64encode(bytes(range(256)) * (15 * 4096)).decode()
    text = json.dumps({"type": "x", "data": {"__bytes__": data}})
    assert len(text) > 16 * 1024 * 1024
    done = layer("send", *place, "--timeout", 20, "jobs", "-", text=text)
    assert done.returncode == 0, done.stderr
    assert messages(layer("listen", *place, "--timeout", 20, "--count", 1, "jobs")) == [json.loads(text)]


@pytest.mark.timeout(120)
def test_many_channels_with_large_messages_are_listened_to(place):
    """The node reads nothing of a process that has much to read: both must not wait for the other."""
    names = [f"jobs{number}" for number in range(2000)]
    text = json.dumps({"type": "x", "text": "y" * 15_000_000})
    for name in names[:4]:
        assert layer("send", *place, "--timeout", 60, name, "-", text=text, seconds=90).returncode == 0
    found = messages(layer("listen", *place, "--timeout", 60, "--names", "--count", 4, *names, seconds=90))
    assert sorted(one["channel"] for one in found) == names[:4]


def test_lines_end_as_on_any_system(place):
    text = '{"type": "a"}\r\n\r\n{"type": "b"}\n\n{"type": "c"}'
    assert layer("send", *place, "jobs", "-", text=text).returncode == 0
    assert [one["type"] for one in messages(layer("listen", *place, "--count", 3, "jobs"))] == ["a", "b", "c"]


def test_standard_input_that_cannot_be_read_is_told(tmp_path, redis):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        done = subprocess.run(
            [binary(), "layer", "send", "--redis", redis.url, "jobs", "-"],
            stdin=folder,
            env=ENVIRONMENT,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    finally:
        os.close(folder)
    assert done.returncode == 1
    assert "standard input" in done.stderr


def test_text_that_is_not_utf_8_is_refused(redis):
    done = subprocess.run(
        [binary(), "layer", "send", "--redis", redis.url, "jobs", b'{"type": "\xff\xfe"}'],
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr


@pytest.fixture
def deaf(tmp_path):
    """A socket at which somebody listens who never reads."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "deaf.sock"))
        sock.listen()
        sock.settimeout(SECONDS)
        yield sock


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_node_that_does_not_answer_ends_with_1(deaf, size):
    text = json.dumps({"type": "x" * size})
    done = layer("send", "--layer-socket", deaf.getsockname(), "--timeout", 0.2, "jobs", "-", text=text)
    assert done.returncode == 1
    assert "in time" in done.stderr


def test_a_signal_ends_a_listener_that_has_no_answer_yet(deaf):
    with Listener("listen", "--layer-socket", deaf.getsockname(), "--timeout", 3000, "jobs") as listener:
        connection, _ = deaf.accept()
        assert listener.end() == 0
        connection.close()


@pytest.fixture
def full(deaf):
    """The same, with no room for another connection until one is accepted."""
    deaf.listen(0)
    with contextlib.ExitStack() as clients:
        with contextlib.suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(deaf.getsockname())
        yield deaf


def test_a_node_that_takes_no_connection_ends_with_1(full):
    done = layer("ping", "--layer-socket", full.getsockname(), "--timeout", 0.2)
    assert done.returncode == 1
    assert f"{full.getsockname()}: the node did not take the connection in time" in done.stderr


def test_a_node_that_takes_no_connection_is_waited_for_until_a_signal(full):
    with Listener("listen", "--layer-socket", full.getsockname(), "--timeout", 3000, "jobs") as listener:
        wait_until(lambda: blocks_signals(listener.process.pid))
        assert listener.end() == 0


def test_a_node_that_takes_no_connection_is_waited_for(full):
    with Listener("listen", "--layer-socket", full.getsockname(), "--timeout", 3000, "jobs") as listener:
        wait_until(lambda: blocks_signals(listener.process.pid))
        with contextlib.ExitStack() as connections:
            ends = ready = [full]
            while ready == [full]:
                ends = [full, *ends[1:], connections.enter_context(full.accept()[0])]
                ready = select.select(ends, [], [], SECONDS)[0]
            assert len(ready) == 1  # the listener has something to say, which the others have not
            assert listener.end() == 0


@pytest.fixture
def public_folder():
    """A folder that another user can reach, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="channelsd-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")
def test_a_socket_of_another_user_is_not_taken_for_ours(public_folder):
    code = (
        "import os, socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "os.setuid(65534)\n"
        "sock.bind(sys.argv[1])\n"
        "sock.listen()\n"
        "print('listens', flush=True)\n"
        "sys.stdin.read()\n"
    )
    folder = public_folder / "channelsd"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with subprocess.Popen(
        [sys.executable, "-c", code, folder / "layer.sock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"listens\n"
        done = layer("ping", env={"XDG_RUNTIME_DIR": str(public_folder)})
    assert done.returncode == 1
    assert "another user" in done.stderr
