# SPDX-License-Identifier: BSD-3-Clause
"""The request threads of mode full: who gets one when, growth, the ceiling, and their end."""

import asyncio
import contextvars
import threading

import pytest

from channelsd.accelerate.full import tally, threads

asgiref = pytest.importorskip("asgiref")
from channelsd.accelerate.full import hop  # noqa: E402

WAIT = 10  # seconds; a test that needs them fails

name = contextvars.ContextVar("name", default="none")


class Fixture:
    """A pool, and what its threads reported."""

    def __init__(self, ceiling=64):
        self.spoilt = False
        self.ended = threading.Semaphore(0)
        self.pool = threads.Pool(ceiling, lambda: self.spoilt, self.ended.release)
        self._leases = []

    def lease(self, prepare=None):
        self._leases.append(threads.Lease(self.pool, asyncio.get_running_loop(), prepare))
        return self._leases[-1]

    def end(self):
        """Closes also what a test that failed has left open: the threads would wait for it."""
        for lease in self._leases:
            lease.close()
        self.pool.stop()

    async def call(self, function, prepare=None):
        """`function()` in a lease of its own."""
        lease = self.lease(prepare)
        try:
            return await hop.run_in(lease, lambda at_hop: function())
        finally:
            lease.close()


@pytest.fixture
def fixture(request):
    made = Fixture(getattr(request, "param", 64))
    yield made
    made.end()


async def test_one_thread_serves_requests_one_after_the_other(fixture):
    first = await fixture.call(threading.get_ident)
    assert first != threading.get_ident()
    assert {await fixture.call(threading.get_ident) for _ in range(20)} == {first}
    assert fixture.pool.count()[0] == 1


async def test_a_lease_keeps_its_thread_and_others_get_another(fixture):
    lease = fixture.lease()
    mine = await hop.run_in(lease, lambda at_hop: threading.get_ident())
    others = [await fixture.call(threading.get_ident) for _ in range(3)]
    assert mine not in others
    assert await hop.run_in(lease, lambda at_hop: threading.get_ident()) == mine
    lease.close()


async def test_fifty_that_wait_for_one_another_all_run(fixture):
    barrier = threading.Barrier(50)
    await asyncio.gather(*(fixture.call(lambda: barrier.wait(WAIT)) for _ in range(50)))
    assert fixture.pool.count()[0] == 50


async def test_a_burst_of_short_calls_needs_few_threads(fixture):
    await fixture.call(int)
    done = await asyncio.gather(*(fixture.call(threading.get_ident) for _ in range(500)))
    assert len(set(done)) < 40


@pytest.mark.parametrize("fixture", [2], indirect=True)
async def test_beyond_the_ceiling_a_request_has_a_thread_that_ends_with_it(fixture):
    before = tally.counters()[tally.OWN_THREAD]
    barrier = threading.Barrier(10)
    await asyncio.gather(*(fixture.call(lambda: barrier.wait(WAIT)) for _ in range(10)))
    for _ in range(8):
        assert await asyncio.to_thread(fixture.ended.acquire, timeout=WAIT)
    assert fixture.pool.count()[0] == 2
    assert tally.counters()[tally.OWN_THREAD] == before + 8


@pytest.mark.parametrize("fixture", [2], indirect=True)
async def test_a_parked_thread_is_not_counted_and_stays_with_its_request(fixture, monkeypatch):
    monkeypatch.setattr(threads, "OWN_AFTER", WAIT)  # nothing but a parked thread makes room
    leases = [fixture.lease() for _ in range(20)]
    before = tally.counters()[tally.OWN_THREAD]
    first = [await hop.run_in(lease, lambda at_hop: threading.get_ident()) for lease in leases]
    assert len(set(first)) == 20
    assert tally.counters()[tally.OWN_THREAD] == before
    assert [await hop.run_in(lease, lambda at_hop: threading.get_ident()) for lease in leases] == first
    for lease in leases:
        lease.close()


async def test_an_idle_thread_ends_and_closes_what_it_holds(fixture, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.01)
    first = await fixture.call(threading.current_thread)
    assert await asyncio.to_thread(fixture.ended.acquire, timeout=WAIT)
    await asyncio.to_thread(first.join, WAIT)
    assert fixture.pool.count() == (0, 0)
    assert await fixture.call(int) == 0


async def test_a_spoilt_thread_is_not_lent_again(fixture):
    fixture.spoilt = True
    first = await fixture.call(threading.current_thread)
    assert await asyncio.to_thread(fixture.ended.acquire, timeout=WAIT)
    await asyncio.to_thread(first.join, WAIT)
    fixture.spoilt = False
    assert await fixture.call(threading.current_thread) is not first


async def test_preparation_comes_first_once_and_its_error_is_the_calls(fixture):
    steps = []
    lease = fixture.lease(lambda: steps.append("prepare"))
    await hop.run_in(lease, lambda at_hop: steps.append(1))
    await hop.run_in(lease, lambda at_hop: steps.append(2))
    lease.close()
    assert steps == ["prepare", 1, 2]
    with pytest.raises(ZeroDivisionError):
        await fixture.call(int, lambda: 1 // 0)
    assert await fixture.call(int) == 0


async def test_what_is_left_behind_still_runs(fixture):
    lease = fixture.lease()
    await hop.run_in(lease, lambda at_hop: None)
    lease.close()
    assert await asyncio.wrap_future(lease.submit(lambda: "late")) == "late"


async def test_context_goes_in_and_comes_back(fixture):
    name.set("in")
    lease = fixture.lease()

    def call(at_hop):
        found = name.get()
        name.set("out")
        return found

    assert await hop.run_in(lease, call) == "in"
    assert name.get() == "out"
    lease.close()


@pytest.mark.parametrize("error", [ValueError, KeyError, asyncio.CancelledError, GeneratorExit])
async def test_errors_come_out(fixture, error):
    def call():
        raise error("x")

    with pytest.raises(error):
        await fixture.call(call)


async def test_a_cancelled_hop_ends_at_its_next_checkpoint(fixture):
    began, go_on, steps = threading.Event(), threading.Event(), []

    def call(at_hop):
        began.set()
        go_on.wait(WAIT)
        steps.append("first")
        at_hop.checkpoint()
        steps.append("second")

    lease = fixture.lease()
    task = asyncio.ensure_future(hop.run_in(lease, call))
    await asyncio.to_thread(began.wait, WAIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await hop.run_in(lease, lambda at_hop: None)
    lease.close()
    assert steps == ["first"]


async def test_stop_waits_for_the_threads(fixture):
    thread = await fixture.call(threading.current_thread)
    await asyncio.to_thread(fixture.pool.stop)
    assert not thread.is_alive()
