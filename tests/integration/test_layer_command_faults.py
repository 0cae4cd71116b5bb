# SPDX-License-Identifier: BSD-3-Clause
"""`channelsd layer …` where something is not as it should be: descriptors, settings, messages, Redis; and how it ends."""

import json
import signal
import socket
import subprocess
import time

import pytest
from layer_tool import ENVIRONMENT, SECONDS, Listener, blocks_signals, layer, messages, wait_until
from redis_server import RedisServer
from server import binary

# ---- descriptors, settings, names and numbers that are not what they should be ----


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_hinder_nobody(redis, closed):
    redis.command("FLUSHALL")
    command = [binary(), "layer", "send", "--redis", redis.url, "jobs", '{"type": "x"}']
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], env=ENVIRONMENT, check=False, timeout=SECONDS)
    assert done.returncode == 0
    assert messages(layer("listen", "--redis", redis.url, "--count", 1, "jobs")) == [{"type": "x"}]


@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
def test_a_message_is_not_taken_where_standard_output_is_closed(place, closed):
    layer("send", *place, "jobs", '{"type": "x"}')
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", binary(), "layer", "listen", *map(str, place), "--count", "1", "jobs"],
        env=ENVIRONMENT,
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 1
    assert "standard output" in done.stderr
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [{"type": "x"}]


@pytest.mark.parametrize("settings", ['{"prefix": "q"}', "{}", '{"backend": "memory"}'])
@pytest.mark.parametrize("command", [("send", "jobs", '{"type": "x"}'), ("listen", "jobs"), ("groups",)])
def test_a_layer_that_would_end_with_the_command_is_refused(command, settings):
    done = layer(*command, "--layer-config", settings)
    assert done.returncode == 2
    assert "in memory" in done.stderr
    assert "--layer-socket" in done.stderr and "--redis" in done.stderr and "hosts" in done.stderr


@pytest.mark.parametrize("settings", ["", "[]", "null", "/nowhere/at/all.json", "/"])
@pytest.mark.parametrize("command", ["ping", "serve"])
def test_settings_that_cannot_be_read_end_with_2(tmp_path, command, settings):
    place = ["--layer-socket", tmp_path / "layer.sock"] if command == "serve" else []
    done = layer(command, *place, "--layer-config", settings)
    assert done.returncode == 2
    assert "--layer-config: " in done.stderr


@pytest.mark.parametrize("text", ["[]", "null", "{"])
def test_a_file_of_settings_that_holds_none_ends_with_2(tmp_path, text):
    (tmp_path / "layer.json").write_text(text)
    done = layer("ping", "--layer-config", tmp_path / "layer.json")
    assert done.returncode == 2
    assert "layer.json: " in done.stderr


@pytest.mark.parametrize("command", [(b"send", b"a\xffb", b'{"type": "x"}'), (b"listen", b"jobs", b"a\xffb")])
def test_a_name_that_is_not_utf_8_is_named(place, command):
    done = subprocess.run(
        [binary(), "layer", *command, *map(str, place)],
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert 'the name "a\\xffb" is not UTF-8' in done.stderr


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nonsense"])
def test_the_column_of_a_word_that_is_no_json_is_told(place, word):
    done = layer("send", *place, "jobs", f'{{"type": "x", "a": {word}}}')
    assert done.returncode == 2
    assert "line 1, column 20:" in done.stderr


# ---- a Redis that cannot be used ----


@pytest.fixture
def guarded():
    """A Redis with a password, and its URL with another."""
    with RedisServer("--requirepass", "right") as redis:
        yield f"redis://:wrong-secret@127.0.0.1:{redis.port}"


@pytest.mark.parametrize("command", [("listen", "jobs"), ("group-listen", "room"), ("send", "jobs", '{"type": "x"}')])
@pytest.mark.parametrize("timeout", [0.5, 5])
def test_who_cannot_use_redis_tells_why(guarded, command, timeout):
    begin = time.monotonic()
    done = layer(*command, "--redis", guarded, "--timeout", timeout)
    assert done.returncode == 1
    assert "password" in done.stderr
    assert "wrong-secret" not in done.stderr
    assert time.monotonic() - begin < timeout + 5


@pytest.mark.parametrize("timeout", [0.2, 1])
def test_a_redis_that_does_not_answer_is_named_within_the_timeout(deaf_redis, timeout):
    done = layer("send", "--redis", deaf_redis, "--timeout", timeout, "jobs", '{"type": "x"}')
    assert done.returncode == 1
    assert deaf_redis.removeprefix("redis://") in done.stderr
    assert "the node" not in done.stderr


@pytest.fixture
def deaf_redis():
    """The URL of somebody who takes connections and never says a word."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"redis://127.0.0.1:{sock.getsockname()[1]}"


def test_a_redis_that_goes_away_is_told_once_and_listened_to_again():
    with RedisServer() as redis, Listener("listen", "--redis", redis.url, "jobs") as listener:
        layer("send", "--redis", redis.url, "jobs", '{"type": "before"}')
        assert listener.line() == {"type": "before"}
        redis.kill()
        listener.errors.wait_for("layer.redis.down")
        redis.start_again()
        wait_until(lambda: layer("send", "--redis", redis.url, "jobs", '{"type": "after"}').returncode == 0)
        assert listener.line() == {"type": "after"}
        assert listener.end() == 0
        assert listener.errors.text().count("layer.redis.down") == 1


def test_messages_that_nobody_can_read_are_told(redis):
    redis.command("FLUSHALL")
    now = str(time.time())
    for number in range(3):
        redis.command("ZADD", "asgijobs", now, f"{number:012}nonsense")
    layer("send", "--redis", redis.url, "jobs", '{"type": "x"}')
    done = layer("listen", "--redis", redis.url, "--count", 1, "jobs")
    assert messages(done) == [{"type": "x"}]
    assert done.stderr.count("layer.message") == 1
    assert "channel=jobs" in done.stderr
    assert "could not be read: 3" in done.stderr


# ---- a layer of JSON ----


@pytest.fixture
def of_json(redis):
    redis.command("FLUSHALL")
    return ["--layer-config", json.dumps({"hosts": [redis.url], "serializer_format": "json"})]


def test_numbers_that_json_has_not_are_marked_in_a_layer_of_json(of_json):
    text = '{"type": "x", "a": [{"__float__": "NaN"}, {"__float__": "-Infinity"}], "b": {"__float__" : "Infinity"},'
    text += ' "c": {"__int__": "18446744073709551616"}, "d": "NaN \\" Infinity", "e": {"__int__": 1, "f": {}}}'
    assert layer("send", *of_json, "jobs", text).returncode == 0
    want = json.loads(text)
    want["c"] = 2**64
    assert messages(layer("listen", *of_json, "--count", 1, "jobs")) == [want]


def test_a_layer_of_json_has_the_numbers_that_python_reads(redis, of_json):
    layer("send", *of_json, "jobs", '{"type": "x", "a": {"__float__": "-Infinity"}, "b": {"__int__": "7"}}')
    (member,) = redis.command("ZRANGE", "asgijobs", "0", "-1")
    assert json.loads(member[member.index('{"type') :]) == {"type": "x", "a": float("-inf"), "b": 7}


@pytest.mark.parametrize(
    "value, told",
    [
        ('{"__bytes__": "AA=="}', "JSON"),
        ('[{ "__ext__" : [5, "eg=="] }]', "JSON"),
        ('{"__map__": [[{"__int__": "1"}, 1]]}', "JSON"),
        ('{"__float__": 1}', "__float__ is not"),
        ('{"__int__": "-1"}', "__int__ is not"),
    ],
)
def test_what_a_layer_of_json_has_not_is_refused(redis, of_json, value, told):
    done = layer("send", *of_json, "jobs", f'{{"type": "x", "a": {value}}}')
    assert done.returncode == 2
    assert told in done.stderr
    assert redis.command("EXISTS", "asgijobs") == 0


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_messages_may_be_as_deep_as_the_layer_takes(redis, serializer):
    redis.command("FLUSHALL")
    place = ["--layer-config", json.dumps({"hosts": [redis.url], "serializer_format": serializer})]
    text = '{"type": "x", "a": ' + "[" * 511 + "]" * 511 + "}"
    done = layer("send", *place, "jobs", text)
    assert done.returncode == 0, done.stderr
    assert messages(layer("listen", *place, "--count", 1, "jobs")) == [json.loads(text)]
    done = layer("send", *place, "jobs", text.replace("[]", "[[]]"))
    assert done.returncode == 2
    assert "deep" in done.stderr


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [("listen", "jobs"), ("group-listen", "room")])
def test_a_signal_ends_a_listener_in_order(place, command, number):
    with Listener(*command, *place) as listener, Listener(*command, *place, "--count", 2) as counting:
        for one in (listener, counting):
            wait_until(lambda one=one: blocks_signals(one.process.pid))
            one.process.send_signal(number)
        assert listener.process.wait(SECONDS) == 0
        assert counting.process.wait(SECONDS) == 1
        counting.errors.wait_for("0 of 2 messages came")


def test_who_was_told_to_ignore_a_hangup_does(place):
    command = [binary(), "layer", "listen", *map(str, place), "--count", "1", "jobs"]
    with subprocess.Popen(
        ["nohup", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        wait_until(lambda: blocks_signals(process.pid))
        process.send_signal(signal.SIGHUP)
        layer("send", *place, "jobs", '{"type": "x"}')
        assert process.wait(SECONDS) == 0
        assert json.loads(process.stdout.read()) == {"type": "x"}
