# SPDX-License-Identifier: BSD-3-Clause
"""`channelsd runworker`: consumers of channel names in supervised workers."""

import json
import os
import re
import signal
import subprocess

import pytest
from redis_server import need, version
from server import APPS, Channelsd, binary

pytest.importorskip("channels_redis")

SECONDS = 20
OURS = "channelsd.layer.ChannelLayer"
STOCK = "channels_redis.core.RedisChannelLayer"
SHORT = ("--application-close-timeout", "0.2")  # for jobs that never end


class Runworker(Channelsd):
    def __init__(self, redis, *words, backend=OURS, url=None, **kwargs):
        env = {"DJANGO_SETTINGS_MODULE": "jobs.settings", "JOBS_BACKEND": backend, "JOBS_REDIS": url or redis.url}
        super().__init__(None, "runworker", *words, tcp=False, cwd=APPS, env={**env, **kwargs.pop("env", {})}, **kwargs)

    def wait_ready(self):
        self.stderr.wait_for(rb"Running workers for the channels", SECONDS)


class Jobs:
    """Sends jobs, and reads what the handlers tell, by the command line."""

    def __init__(self, redis):
        self.redis = redis

    def _layer(self, *words):
        done = subprocess.run(
            [binary(), "layer", words[0], "--redis", self.redis.url, *words[1:]],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def send(self, kind, n=0, channel="jobs"):
        self._layer("send", channel, json.dumps({"type": kind, "n": n} if kind else {"n": n}))

    def done(self, count=1):
        return self._layer("listen", "--count", str(count), "done")

    def numbers(self, count=1):
        return [one["n"] for one in self.done(count)]


@pytest.fixture
def jobs(redis):
    redis.command("FLUSHALL")
    return Jobs(redis)


@pytest.fixture(params=[OURS, STOCK])
def backend(request):
    return request.param


def test_messages_of_its_channels_are_handled_in_order(redis, jobs, backend):
    with Runworker(redis, "jobs", "more", "sync", backend=backend):
        for n in range(5):
            jobs.send("job.run", n)
        assert jobs.numbers(5) == [0, 1, 2, 3, 4]
        jobs.send("job.run", 6, "more")
        jobs.send("job.run", 7, "sync")
        assert sorted((one["channel"], one["n"]) for one in jobs.done(2)) == [("more", 6), ("sync", 7)]


def test_the_application_may_be_named(redis, jobs):
    with Runworker(redis, "jobs.asgi:application", "jobs"):
        jobs.send("job.run", 1)
        assert jobs.numbers() == [1]


@pytest.mark.parametrize("kind", ["job.fail", "job.exit", "job.answer", "job.unknown", "_private", None])
def test_what_cannot_be_handled_is_told_and_the_next_message_comes(redis, jobs, backend, kind):
    with Runworker(redis, "jobs", backend=backend) as server:
        jobs.send(kind)
        jobs.send("job.run", 1)
        assert jobs.numbers() == [1]
        assert server.log_has(rb"Channel 'jobs': .*\(1 ")
        assert redis.command("EXISTS", "asgijobs") == 0


def test_a_member_that_does_not_decode_stops_nothing(redis, jobs, backend):
    with Runworker(redis, "jobs", backend=backend):
        redis.command("ZADD", "asgijobs", "1", "twelve bytes\xc1garbage")
        jobs.send("job.run", 1)
        assert jobs.numbers() == [1]


def test_a_consumer_that_stops_is_made_again(redis, jobs, backend):
    with Runworker(redis, "jobs", backend=backend):
        jobs.send("job.stop")
        jobs.send("job.run", 2)
        assert jobs.numbers() == [2]


def test_consumers_have_a_channel_of_their_own(redis, jobs, backend):
    with Runworker(redis, "jobs", backend=backend):
        jobs.send("job.group", 3)
        assert jobs.numbers() == [3]


def test_a_receive_that_redis_forbids_for_a_while_is_tried_again(redis, jobs, backend):
    need(version() >= (6, 2), "an ACL with channels")
    redis.command("ACL", "SETUSER", "jobs", "on", ">p", "~*", "&*", "+@all", "-eval", "-evalsha", "-bzpopmin")
    url = f"redis://jobs:p@127.0.0.1:{redis.port}/0"
    with Runworker(redis, "jobs", backend=backend, url=url) as server:
        server.stderr.wait_for(rb"Channel 'jobs': receive\(\) failed, trying on: .*(permission|NOPERM)", SECONDS)
        redis.command("ACL", "SETUSER", "jobs", "+@all")
        jobs.send("job.run", 1)
        assert jobs.numbers() == [1]


def test_settings_that_the_node_does_not_take_end_it(redis):
    server = Runworker(redis, "jobs", url="nonsense://x", start=False, expect_exit=1)
    with server:
        assert server.wait_exit() == 1
        assert server.log_has(rb"channelsd: CHANNEL_LAYERS\['default'\]: hosts\[0\]: the address of a Redis server")


def test_a_message_whose_worker_is_killed_is_handled_by_the_next(redis, jobs):
    with Runworker(redis, *SHORT, "jobs"):
        jobs.send("job.begin", 1)
        (first,) = jobs.done()
        os.kill(first["pid"], signal.SIGKILL)
        (second,) = jobs.done()  # of the worker that took its place
        assert second["n"] == 1
        assert second["pid"] != first["pid"]
        assert redis.command("EXISTS", "asgijobs") == 0


def test_a_message_that_ends_its_workers_stops_nothing(redis, jobs):
    with Runworker(redis, *SHORT, "jobs") as server:
        jobs.send("job.die", 1)
        jobs.send("job.run", 2)
        assert jobs.numbers(4) == [1, 1, 1, 2]
        assert server.log_has(rb"layer\.deadly channel=jobs deaths=3")
        assert redis.command("EXISTS", "asgijobs") == 0


def test_a_message_survives_when_all_is_killed(redis, jobs):
    server = Runworker(redis, "jobs")
    try:
        jobs.send("job.begin", 1)
        jobs.done()
    finally:
        server.kill_group()
    # What a node had taken is given back by the others when it has been silent for a while; a test does not wait.
    nodes = redis.command("ZRANGE", "asgi:channelsd:nodes", "0", "-1")
    for node in nodes:
        redis.command("ZADD", "asgi:channelsd:nodes", "1", node)
    with Runworker(redis, *SHORT, "jobs"):
        assert jobs.numbers() == [1]


def test_workers_share_the_messages(redis, jobs):
    with Runworker(redis, *SHORT, "--workers", "2", "jobs"):
        jobs.send("job.begin", 1)
        (first,) = jobs.done()
        jobs.send("job.run", 2)
        (second,) = jobs.done()
        assert (second["n"], second["pid"] != first["pid"]) == (2, True)


def test_a_job_may_end_before_the_worker_does(redis, jobs, backend):
    with Runworker(redis, "jobs", backend=backend) as server:
        jobs.send("job.slow", 1)
        assert jobs.numbers() == [1]
        server.signal(signal.SIGTERM)
        assert jobs.numbers() == [-1]
        assert server.wait_exit() == 0


def test_a_job_that_does_not_end_goes_back(redis, jobs):
    with Runworker(redis, *SHORT, "jobs") as server:
        jobs.send("job.begin", 1)
        assert jobs.numbers() == [1]
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
    assert redis.command("ZCARD", "asgijobs") == 1


@pytest.mark.parametrize(
    "words, told",
    [
        ([], b"the channels are missing"),
        (["a b"], b'"a b" is no channel'),
        (["specific.x!y"], b'"specific.x!y" is no channel'),
        (["--port", "1", "jobs"], b"--port is not for runworker"),
        (["x:y", "a:b", "jobs"], b"extra argument"),
    ],
)
def test_wrong_arguments_are_named(words, told):
    done = subprocess.run([binary(), "runworker", *words], check=False, capture_output=True, timeout=SECONDS)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_layer_that_the_settings_do_not_have_ends_it(redis):
    server = Runworker(redis, "--layer", "none", "jobs", start=False, expect_exit=1)
    with server:
        assert server.wait_exit() == 1
        assert server.log_has(rb"CHANNEL_LAYERS has no 'none'")


def test_a_layer_that_no_server_reaches_is_told(tmp_path):
    (tmp_path / "alone_settings.py").write_text(
        'import os\nSECRET_KEY = "test"\nINSTALLED_APPS = ["channels"]\nASGI_APPLICATION = "jobs.asgi.application"\n'
        'ROOT_URLCONF = "jobs.asgi"\nCHANNEL_LAYERS = {"default": {"BACKEND": os.environ["JOBS_BACKEND"]}}\n'
    )
    env = {"DJANGO_SETTINGS_MODULE": "alone_settings", "PYTHONPATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    for backend, words in (
        (
            OURS,
            rb"CHANNEL_LAYERS\['default'\] has no Redis and is in the memory of this runworker: .*manage.py runworker",
        ),
        ("channels.layers.InMemoryChannelLayer", rb"CHANNEL_LAYERS\['default'\] is Channels' in-memory layer"),
    ):
        with Runworker(None, "--workers", "2", "jobs", backend=backend, url="-", env=env) as server:
            assert len(re.findall(words, server.stderr.data)) == 1


def test_nothing_is_told_of_a_layer_with_redis(redis, backend):
    with Runworker(redis, "jobs", backend=backend) as server:
        assert "CHANNEL_LAYERS" not in server.stderr.text()
