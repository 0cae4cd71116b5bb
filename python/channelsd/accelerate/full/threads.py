# SPDX-License-Identifier: BSD-3-Clause
"""Request threads: each serves one request at a time, from its first call to its release, and is then lent again.

Under stock Django each request has a new thread for its middleware, view, sync_to_async() and response.close(). Here it
has a Lease, which takes a thread at its first call. A thread that became free serves the request that waits longest.

Growth: a request that finds no idle thread waits. If none was taken up between two looks, GROW_AFTER seconds apart, all
that wait get threads at once; so views may wait for one another or ask their own server. If some were, but the process
left a processor idle and the first one waits for SLOW_AFTER already, there are some more threads. Beyond the ceiling,
after OWN_AFTER, a request gets a thread of its own that ends with it, as under stock Django.

A thread whose request waits for something else (an asynchronous view, a client that reads a stream) is parked after
PARK_AFTER: it stays with its request, which may have a transaction or a lock there, but the ceiling does not count it.

An idle thread ends after IDLE seconds and closes its database connections first.
"""

import atexit
import logging
import os
import queue
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Executor, Future

from . import tally

GROW_AFTER = 0.005
IDLE = 60.0
SLOW_AFTER = 0.02
OWN_AFTER = 0.05
PARK_AFTER = 0.05
BUSY_SHARE = 0.5  # of a processor: more threads would not help

logger = logging.getLogger("channelsd.accelerate.full")


class Gateway:
    """The way back to one event loop: what threads have done is handed over in batches, one wake-up for each."""

    def __init__(self, loop):
        self.loop = loop
        self._done = deque()
        self._told = False

    def post(self, callback):
        """Thread: any. Calls `callback` on the loop; nothing happens if the loop is closed."""
        self._done.append(callback)
        if not self._told:
            self._told = True
            try:
                self.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                logger.debug("A request thread ended its work after the event loop was closed")

    def _drain(self):
        self._told = False  # before the first pop: what comes later wakes the loop again
        done = self._done
        while done:
            done.popleft()()


class Lease(Executor):
    """The thread of one request. Made on the loop; put() and submit() may be called by any thread.

    prepare: called in the thread when the first call begins; or None. `used`: whether there was any call. `is_left`:
    set by who put a call and does not wait for its end any more. has_thrown: whether the last error of a call was a
    GeneratorExit.
    """

    def __init__(self, pool, loop, prepare):
        self.pool = pool
        self.loop = loop
        self.prepare = prepare
        self.used = False
        self.is_left = False
        self.has_thrown = False
        self.since = 0.0  # when it began to wait for a thread, if it had to
        self._calls = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()

    def put(self, call):
        """Runs `call`, which raises nothing, in the thread; calls run one after the other."""
        with self._lock:
            closed = self._closed
            if not closed:
                first = not self.used
                self.used = True
                self._calls.put(call)
        if closed:
            # Left behind by a request that is over: stock gives such a task a new thread.
            lease = Lease(self.pool, self.loop, None)
            lease.put(call)
            lease.close()
        elif first:
            self.pool.lend(self)

    def submit(self, fn, /, *args, **kwargs):
        """As any Executor's: asgiref's sync_to_async() comes here."""
        future = Future()

        def call():
            if future.set_running_or_notify_cancel():
                try:
                    self.ready()
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)

        self.put(call)
        return future

    def close(self):
        """The request is over: the thread is free when the calls that were put have run."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._calls.put(None)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """close(); what an executor has to offer."""
        self.close()

    def ready(self):
        """Thread: its own. Each call begins with it: what the first one raises is that call's error."""
        prepare, self.prepare = self.prepare, None
        if prepare is not None:
            prepare()

    def serve(self, is_counted):
        """Thread: its own. Runs the calls until the lease is closed. is_counted: the ceiling counts this thread."""
        calls = self._calls
        while True:
            try:
                call = calls.get(timeout=PARK_AFTER if is_counted else None)
            except queue.Empty:
                self.pool.park()
                call = calls.get()
                self.pool.go_on()
            if call is None:
                return
            call()
            del call


class Pool:
    """All request threads of the process, `ceiling` at most.

    is_spoilt: called in a thread after each request; True ends the thread. at_end: called in a thread that ends.
    Neither raises.
    """

    def __init__(self, ceiling, is_spoilt, at_end):
        self.ceiling = max(1, ceiling)
        self._is_spoilt = is_spoilt
        self._at_end = at_end
        self._forget()
        atexit.register(self.stop)
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        """Begins with no thread: a child process has none of its parent's."""
        self._lock = threading.Lock()
        self._idle = []  # the inbox of each; the last one was busy last
        self._waiting = deque()  # leases
        self._threads = 0  # without those that are parked or beyond the ceiling
        self._taken_up = 0  # leases that got a thread, ever
        self._timers = weakref.WeakKeyDictionary()  # loop -> what was when its timer was set
        self._stopping = False
        self._alive = weakref.WeakSet()

    def lend(self, lease):
        """Gives `lease` a thread, now or when there is one."""
        with self._lock:
            if self._idle:
                self._taken_up += 1
                self._idle.pop().put(lease)
                return
            if self._threads <= 0:
                self._start(lease)
                return
            lease.since = time.monotonic()
            self._waiting.append(lease)
            watched = lease.loop in self._timers
            if not watched:
                self._timers[lease.loop] = self._state()
        if not watched:
            lease.loop.call_soon_threadsafe(self._watch, lease.loop)

    def _state(self, stuck=False):
        """What the next look compares with. stuck: nothing has moved since the last one. It takes two: the loop itself
        may have kept the threads from running until just now."""
        return self._taken_up, time.process_time(), time.monotonic(), stuck

    def _watch(self, loop):
        loop.call_later(GROW_AFTER, self._look, loop)

    def _look(self, loop):
        """A loop's timer, as long as a lease waits: starts threads as the module's text says."""
        with self._lock:
            taken_up, processor, since, was_stuck = self._timers.pop(loop)
            if not self._waiting:
                return
            now = time.monotonic()
            is_stuck = taken_up == self._taken_up
            waited = now - self._waiting[0].since
            if is_stuck and was_stuck:
                self._grow(len(self._waiting), beyond=waited > OWN_AFTER)
            elif not is_stuck and waited > SLOW_AFTER and time.process_time() - processor < BUSY_SHARE * (now - since):
                self._grow(max(1, self._threads // 8), beyond=waited > OWN_AFTER)
            self._timers[loop] = self._state(is_stuck)
        self._watch(loop)

    def _grow(self, count, beyond):
        for _ in range(min(count, len(self._waiting))):
            if self._threads < self.ceiling:
                self._start(self._waiting.popleft())
            elif beyond:
                tally.count(tally.OWN_THREAD)
                self._start(self._waiting.popleft(), once=True)

    def _start(self, lease, once=False):
        self._taken_up += 1
        if not once:
            self._threads += 1
        # A daemon: an idle one must not keep the process. stop() ends and joins them all.
        thread = threading.Thread(target=self._serve, args=(lease, once), name="django-request", daemon=True)
        self._alive.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads in this process: wait for one that becomes free
            if not once:
                self._threads -= 1
            self._waiting.appendleft(lease)
            if not self._threads:
                raise

    def park(self):
        """Thread: one of them, which waits for its request. It makes room for another one."""
        with self._lock:
            self._threads -= 1
            if self._waiting and not self._threads:
                self._start(self._waiting.popleft())

    def go_on(self):
        """Thread: one that was parked."""
        with self._lock:
            self._threads += 1

    def _serve(self, lease, once):
        """The body of a thread."""
        inbox = queue.SimpleQueue()
        while lease is not None:
            lease.serve(is_counted=not once)
            del lease
            lease = None if once or self._is_spoilt() else self._next(inbox)
            if lease is None and not once:
                with self._lock:
                    self._threads -= 1
                    # It may have been the only one that would have come for those who wait.
                    if self._waiting and self._threads < self.ceiling and not self._stopping:
                        self._start(self._waiting.popleft())
        self._at_end()

    def _next(self, inbox):
        """Waits for a lease; None: the thread is to end."""
        with self._lock:
            if self._waiting:
                self._taken_up += 1
                return self._waiting.popleft()
            if self._stopping or self._threads > self.ceiling:
                return None
            self._idle.append(inbox)
        try:
            return inbox.get(timeout=IDLE)
        except queue.Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
            return inbox.get()  # lent in the last moment

    def stop(self):
        """Ends the threads, each when it is free, and waits for that, as the executors of stock Django are waited for."""
        with self._lock:
            self._stopping = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)
        for thread in list(self._alive):
            if thread.is_alive():
                thread.join()

    def count(self):
        """(threads, idle ones), without those that are parked or beyond the ceiling."""
        with self._lock:
            return self._threads, len(self._idle)
