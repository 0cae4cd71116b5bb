# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.runworker: what happens when a layer gives no messages."""

import asyncio
import logging
import types

import pytest

from channelsd import runworker
from channelsd.layer import ChannelLayerError, ChannelLayerRefused, ChannelLayerUnavailable
from channelsd.runworker import ChannelRunner, check_layer
from channelsd.service import EXIT_LOST, Worker

SECONDS = 10


class Stock:
    """A layer whose receive() does what the script says: exceptions are raised, messages given; then it waits."""

    def __init__(self, *script):
        self.script = list(script)
        self.waits = asyncio.Event()

    async def receive(self, channel):
        if not self.script:
            self.waits.set()
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


class Held:
    def __init__(self, message):
        self.message = message

    def taken(self):
        pass

    def put_back(self):
        pass


class Own(Stock):
    """The same by way of receive_held()."""

    async def receive_held(self, channel):
        return Held(await self.receive(channel))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(runworker, "PAUSE_LEAST", 0)
    monkeypatch.setattr(runworker, "PAUSE_MOST", 0)


async def run(layer, until):
    """A worker that consumes "jobs" from the layer until `until` (of the worker, as a function) holds. Returns the worker and
    what the application got."""
    seen = []

    async def application(scope, receive, send):
        while True:
            seen.append(await receive())

    class Quiet(Worker):
        ended = None

        def _end(self, grace):
            self.ended = grace

    worker = Quiet(asyncio.get_running_loop(), [], 3.0)
    runner = ChannelRunner(worker, application, layer, "jobs")
    worker.run_channel(runner)

    async def wait():
        while not until(worker):
            await asyncio.sleep(0)

    await asyncio.wait_for(wait(), SECONDS)
    if runner in worker._runners:
        runner.stop()
        runner.kill()
        await asyncio.wait([runner._task])
    return worker, [message["n"] for message in seen]


@pytest.mark.parametrize("kind", [Stock, Own])
@pytest.mark.parametrize("error", [ChannelLayerError("NOPERM"), ChannelLayerUnavailable("away")])
def test_a_receive_that_fails_is_tried_again_and_told_once(caplog, kind, error):
    async def main():
        layer = kind(*[error] * 20, {"type": "a", "n": 1}, *[error] * 3, {"type": "a", "n": 2})
        return await run(layer, lambda worker: layer.waits.is_set())

    worker, seen = asyncio.run(main())
    assert seen == [1, 2]
    assert worker.exit_code == 0
    told = [record for record in caplog.records if "receive() failed" in record.getMessage()]
    assert len(told) == 2  # the second after it had been mended


def test_each_cause_is_told_and_a_lasting_one_from_time_to_time(caplog, monkeypatch):
    now = 0.0

    def clock():
        nonlocal now
        now += 1.0
        return now

    async def main():
        first, second = ChannelLayerError("first"), ChannelLayerError("second")
        layer = Own(*[first] * 10, *[second] * 130)
        return await run(layer, lambda worker: layer.waits.is_set())

    monkeypatch.setattr(runworker, "time", types.SimpleNamespace(monotonic=clock))
    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told == [
        "Channel 'jobs': receive() failed, trying on: first",
        "Channel 'jobs': receive() failed, trying on: second",
        "Channel 'jobs': receive() failed 60 more times: second",
        "Channel 'jobs': receive() failed 60 more times: second",
    ]


def test_what_no_attempt_could_change_ends_the_worker(caplog):
    async def main():
        return await run(Own(ChannelLayerRefused("prefix: it is too long")), lambda worker: worker.ended is not None)

    worker, seen = asyncio.run(main())
    assert worker.exit_code == EXIT_LOST
    assert (worker.ended, worker._runners, seen) == (3.0, [], [])
    assert "Channel 'jobs': prefix: it is too long; the worker ends." in caplog.text


def test_a_message_of_another_layer_that_does_not_decode_ends_nothing():
    async def main():
        layer = Stock(ValueError("unpack failed"), TypeError("not a map"), {"type": "a", "n": 1})
        return await run(layer, lambda worker: layer.waits.is_set())

    worker, seen = asyncio.run(main())
    assert (worker.ended, worker.exit_code, seen) == (None, 0, [1])


class Opening:
    def __init__(self, error=None):
        self.error = error

    async def receive_held(self, channel):
        raise AssertionError("it is not to be called")

    async def new_channel(self):
        if self.error is not None:
            raise self.error
        return "specific.x!y"


def test_the_settings_are_looked_at_before_anything_is_received():
    with pytest.raises(ChannelLayerRefused):
        asyncio.run(check_layer(Opening(ChannelLayerRefused("hosts[0]"))))
    for error in (None, ChannelLayerUnavailable("away"), ChannelLayerError("something")):
        asyncio.run(check_layer(Opening(error)))
    asyncio.run(check_layer(object()))
