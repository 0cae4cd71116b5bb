# SPDX-License-Identifier: BSD-3-Clause
"""asgiref's ThreadSensitiveContext with the acceleration: same threads, same order, one thread less."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async

import channelsd.accelerate


@pytest.fixture(autouse=True, scope="module")
def accelerated():
    channelsd.accelerate.install("exact")
    assert ThreadSensitiveContext.__aexit__.__wrapped__ is not None


@pytest.fixture
def started(monkeypatch):
    """Names of the functions that threads were started for."""
    names = []
    start = threading.Thread.start

    def counted(thread):
        names.append(getattr(thread._target, "__name__", ""))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counted)
    return names


def test_each_context_has_a_fresh_thread_that_ends(started):
    local = threading.local()
    seen = []

    def work():
        seen.append((threading.current_thread(), hasattr(local, "mark")))
        local.mark = True

    async def request():
        async with ThreadSensitiveContext():
            await sync_to_async(work)()
            await sync_to_async(work)()

    async def main():
        for _ in range(3):
            await request()

    asyncio.run(main())
    threads = [thread for thread, _ in seen]
    assert threads[0] is threads[1]
    assert len(set(threads)) == 3
    assert [marked for _, marked in seen] == [False, True] * 3, "thread-locals start empty in each context"
    assert len(started) == 3, "one thread for each context, and none to wait for it"
    for thread in set(threads):
        thread.join(10)
        assert not thread.is_alive()


def test_work_that_was_left_behind_is_done_at_the_exit():
    order = []
    gate = threading.Event()

    def slow():
        gate.wait(10)
        order.append("work")

    async def main():
        async with ThreadSensitiveContext():
            left = asyncio.ensure_future(sync_to_async(slow)())
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.05, gate.set)
        order.append("exit")
        await left

    asyncio.run(main())
    assert order == ["work", "exit"]


def test_loop_goes_on_while_the_thread_still_works():
    gate = threading.Event()

    async def main():
        async with ThreadSensitiveContext():
            left = asyncio.ensure_future(sync_to_async(gate.wait)(10))
            await asyncio.sleep(0)
            # What the thread waits for is made by the loop, after the exit has begun.
            asyncio.get_running_loop().call_soon(gate.set)
        assert await left

    asyncio.run(asyncio.wait_for(main(), 10))


def test_context_is_gone_after_the_exit():
    async def main():
        context = ThreadSensitiveContext()
        async with context:
            await sync_to_async(int)()
            assert context in SyncToAsync.context_to_thread_executor
        assert context not in SyncToAsync.context_to_thread_executor
        assert SyncToAsync.thread_sensitive_context.get(None) is None

    asyncio.run(main())


def test_context_without_work_starts_no_thread(started):
    async def main():
        async with ThreadSensitiveContext():
            async with ThreadSensitiveContext():
                pass

    asyncio.run(main())
    assert started == []


def test_executor_of_the_callers_own_is_left_running():
    executor = ThreadPoolExecutor(max_workers=1)

    async def main():
        try:
            context = ThreadSensitiveContext(executor=executor)
        except TypeError:
            pytest.skip("this asgiref has no executor argument")
        async with context:
            return await sync_to_async(threading.get_ident)()

    ident = asyncio.run(main())
    assert executor.submit(threading.get_ident).result(10) == ident
    executor.shutdown()


def test_executor_that_was_shut_down_is_no_error():
    async def main():
        context = ThreadSensitiveContext()
        async with context:
            await sync_to_async(int)()
            SyncToAsync.context_to_thread_executor[context].shutdown()

    asyncio.run(main())


def test_cancelled_exit_does_not_lose_the_thread():
    gate = threading.Event()
    threads = []
    left = []

    def slow():
        threads.append(threading.current_thread())
        gate.wait(10)

    async def request():
        async with ThreadSensitiveContext():
            left.append(asyncio.ensure_future(sync_to_async(slow)()))
            await asyncio.sleep(0)

    async def main():
        task = asyncio.ensure_future(request())
        while not threads:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        await left[0]

    asyncio.run(main())
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_executors_current_is_found_and_none():
    assert AsyncToSync.executors.current is None
