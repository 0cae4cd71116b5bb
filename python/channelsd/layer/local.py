# SPDX-License-Identifier: BSD-3-Clause
"""What one process keeps of a layer: its own channels, their messages, and who of them is in which group.

The node knows only which groups this peer is in, so the first channel that joins a group and the last that leaves it are
told (JOIN, LEAVE), and whoever comes or goes meanwhile waits for the same answer.
"""

import asyncio
import itertools
import logging
import os
import time

from .bodies import BodyQueue, expect
from .errors import LOST, NO_ANSWER, TIMED_OUT, UNAVAILABLE, error_of
from .protocol import BASES_MAX, REST_CHARS, ToNode

logger = logging.getLogger("channelsd.layer")

# Seconds: a group that could not be joined again is tried again; undecodable messages are logged, drops reported.
REJOIN_PAUSE = 1.0
REPORT_PAUSE = 1.0

# Groups of one channel; more are kept in a set.
_FEW = 8


class _Change:
    """A JOIN or LEAVE under way; for the connection an answer as a future is one."""

    __slots__ = ("_channels", "_waiters", "again", "code", "group", "joining", "value")

    def __init__(self, channels, group, joining, again=False):
        self._channels = channels
        self._waiters = []
        self.group = group
        self.joining = joining
        self.again = again  # after a lost connection, for members that are there already
        self.code = None
        self.value = None

    def done(self):
        return self.code is not None

    def set_result(self, answer):
        self.code, self.value = answer
        self._channels._changed(self)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self):
        """Waits for the answer and returns its code."""
        if self.code is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return self.code


class Channels:
    """The channels of one layer on one connection. All calls come from the connection's loop.

    queues: full name -> BodyQueue of bodies; None until one is needed, so that an idle channel is small.
    groups: group -> names of members, as the keys of a dictionary.
    """

    def __init__(self, connection, index, config, settings=None):
        self.connection = connection
        self.index = index
        self.config = config
        self.settings = settings  # None until the layer was opened for the first time
        self.bases = []  # the first is that of "specific"
        self.error = None  # why the node has refused the layer on this connection, in words
        self.is_open = False
        self.queues = {}
        self.groups = {}
        self.unpack = None
        self.size = None
        self.afar = set()  # FarGetters
        self._joined = {}  # name -> its groups
        self._changes = {}  # group -> _Change
        self._idle = {}  # name -> since when nobody reads it
        self._mailboxes = {}  # prefix -> base
        self._sweeper = None
        self._reporter = None
        self._full = 0
        self._full_name = None
        self._unknown = 0
        self._undecodable = 0

    def opened(self, base, settings):
        self.settings = settings
        self.unpack = settings.unpack
        self.size = settings.size
        self.error = None
        if not self.bases:
            self.bases.append(base)
        elif self.bases[0] != base:
            raise ValueError(f"the node has changed the names of this process from {self.bases[0]!r} to {base!r}")
        self.connection.bases[base] = self
        self.is_open = True

    # Channels

    def new(self, base):
        """A name for a new channel."""
        name = base + os.urandom(10).hex()[:REST_CHARS]
        self.queues[name] = None
        self._idle[name] = time.monotonic()
        self._is_used()
        return name

    async def mailbox(self, prefix):
        """The base for names with another prefix than "specific"."""
        base = self._mailboxes.get(prefix)
        if base is None:
            if len(self.bases) >= BASES_MAX:
                raise ValueError(f"new_channel() of one process takes at most {BASES_MAX - 1} prefixes")
            code, base = await self.connection.call(self, ToNode.MAILBOX, prefix)
            if code:
                raise error_of(code, base)
            if prefix not in self._mailboxes:
                self._mailboxes[prefix] = base
                self.bases.append(base)
                self.connection.bases[base] = self
        return base

    def make_queue(self, name):
        """For a channel that had none yet."""
        queue = self.queues[name] = BodyQueue(self.size(name))
        self._idle.setdefault(name, time.monotonic())
        self._is_used()
        return queue

    def _is_used(self):
        """Perhaps the first channel after a while without any, in which a lost connection was not made again."""
        if self._sweeper is None:
            self._sweep_later()
        if not self.is_open:
            self.connection.connect_soon()

    def take_afar(self, name):
        """The next body of an own channel, or None. In any loop, but not while the connection changes its own."""
        queue = self.queues.get(name)
        try:
            return queue._queue.pop(0) if queue is not None else None
        except IndexError:
            return None

    def expect_afar(self, far):
        """`far` is woken when there is something to take, and when the connection leaves its loop."""
        if far not in self.afar:
            return
        queue = self.queues.get(far.name)
        if queue is None:
            queue = self.make_queue(far.name)
        queue.was_read = True
        expect(queue, far)
        if queue._queue:
            queue._wakeup_next(queue._getters)

    def leave_afar(self, far):
        """`far` was woken, or waits no longer: what he leaves is for the next."""
        queue = self.queues.get(far.name)
        if queue is not None:
            if far in queue._getters:
                queue._getters.remove(far)
            if queue._queue:
                queue._wakeup_next(queue._getters)

    def _wake_afar(self):
        for far in tuple(self.afar):
            far.set_result(None)

    def forget(self, name):
        """Nobody reads this channel any more."""
        for group in tuple(self._joined.pop(name, ())):
            members = self.groups.get(group)
            if members is not None:
                members.pop(name, None)
                if not members:
                    self._emptied(group)
        self.queues.pop(name, None)
        self._idle.pop(name, None)

    def _sweep_later(self):
        loop = self.connection.loop
        if loop is not None:
            pause = max(1.0, min(self.settings.expiry, 60) / 2)
            self._sweeper = loop.call_later(pause, self._sweep)

    def _sweep(self):
        """Forgets what nobody has read for long: `expiry`, which is how long a message lives; or `group_expiry`."""
        self._sweeper = None
        now = time.monotonic()
        expiry, group_expiry = self.settings.expiry, max(self.settings.group_expiry, self.settings.expiry)
        for name, since in list(self._idle.items()):
            queue = self.queues.get(name)
            if queue is not None and type(queue) is not BodyQueue:
                # A consumer is fed from it, and will tell when it ends.
                del self._idle[name]
            elif queue is not None and (queue.was_read or queue._getters):
                queue.was_read = False
                self._idle[name] = now
            elif now - since > (group_expiry if name in self._joined else expiry):
                self.forget(name)
        if self._idle:
            self._sweep_later()

    # Messages

    def deliver(self, ticket, groups, names, body):
        """DELIVER: to the union of members and names, each once."""
        if not groups and len(names) == 1:
            queue = self.queues.get(names[0])
            if queue.__class__ is BodyQueue and (queue._maxsize <= 0 or len(queue._queue) < queue._maxsize):
                # As put_nowait(), in one piece: what the message costs that comes alone is to run code that the processor's
                # caches have lost. Whoever receives it finds out whether it can be unpacked.
                queue._queue.append(body)
                getters = queue._getters
                while getters:
                    getter = getters.popleft()
                    if not getter.done():
                        getter.set_result(None)
                        break
                if ticket is not None:
                    self.connection.put((ToNode.ACCEPTED, self.index, ticket, False))
                return
            targets = names
        elif len(groups) == 1 and not names:
            targets = self.groups.get(groups[0], ())
        else:
            targets = dict.fromkeys(itertools.chain(*[self.groups.get(group, ()) for group in groups], names))
        missed = self.distribute(targets, body)
        is_full = False
        if missed or not targets:
            is_full = self._missed(missed)
        if ticket is not None:
            self.connection.put((ToNode.ACCEPTED, self.index, ticket, is_full))

    def distribute(self, names, body):
        """Puts a body into the queues of these channels. Returns the names that did not get it: full, or unknown."""
        try:
            self.unpack(body)
        except ValueError as error:
            self.undecodable(error)
            return ()
        queues = self.queues
        missed = []
        for name in names:
            queue = queues.get(name)
            if queue is None:
                if name not in queues:
                    missed.append(name)
                    continue
                queue = self.make_queue(name)
            try:
                queue.put_nowait(body)
            except asyncio.QueueFull:
                missed.append(name)
        return missed

    def offer(self, name, body):
        """A message of this process for one of its own channels. Returns whether there was room. Raises ValueError for one
        that could not be read."""
        self.unpack(body)
        queue = self.queues.get(name)
        if queue is None:
            if name not in self.queues:
                self._missed((name,))
                return True
            queue = self.make_queue(name)
        try:
            queue.put_nowait(body)
        except asyncio.QueueFull:
            return False
        return True

    def undecodable(self, error):
        self._undecodable += 1
        if self._undecodable == 1:
            logger.warning("A message that does not decode was dropped: %s", error)
        self._report_later()

    def _missed(self, names):
        """Counts what found no room or no channel. Returns whether it was room."""
        full = 0
        for name in names:
            if name in self.queues:
                full += 1
                self._full_name = name
        self._full += full
        self._unknown += len(names) - full if names else 1
        self._report_later()
        return bool(full)

    def _report_later(self):
        loop = self.connection.loop
        if self._reporter is None and loop is not None:
            self._reporter = loop.call_later(REPORT_PAUSE, self._report)

    def _report(self):
        self._reporter = None
        if self._undecodable > 1:
            logger.warning("%d messages that do not decode were dropped", self._undecodable - 1)
        self._undecodable = 0
        if self.is_open:
            if self._full:
                self.connection.put((ToNode.DROPPED, self.index, self._full, self._full_name))
            if self._unknown:
                self.connection.put((ToNode.DROPPED, self.index, self._unknown, None))
        self._full = self._unknown = 0

    # Groups

    def _enter(self, group, name):
        members = self.groups.get(group)
        if members is None:
            members = self.groups[group] = {}
        elif name in members:
            return
        members[name] = None
        joined = self._joined.get(name)
        if joined is None:
            self._joined[name] = [group]
        elif type(joined) is set:
            joined.add(group)
        elif len(joined) < _FEW:
            joined.append(group)
        else:
            self._joined[name] = {group, *joined}

    def _exit(self, group, name):
        """Takes a member out; the caller looks whether it was the last."""
        self.groups[group].pop(name, None)
        joined = self._joined.get(name)
        if joined is not None and group in joined:
            joined.remove(group)
            if not joined:
                del self._joined[name]

    async def join(self, group, name):
        """group_add() of an own channel."""
        while True:
            change = self._changes.get(group)
            if change is not None and change.joining:
                break
            if change is not None:
                await change.wait()
            elif self.groups.get(group):
                self._enter(group, name)
                return
            elif not self.is_open:
                await self.connection.ready(self)
            else:
                change = self._begin(group, joining=True)
                break
        self._enter(group, name)
        if await change.wait():
            if group in self.groups and name in self.groups[group]:
                self._exit(group, name)
            raise error_of(change.code, change.value)

    async def leave(self, group, name):
        """group_discard() of an own channel."""
        members = self.groups.get(group)
        if members is None or name not in members:
            # Perhaps another process has added it, in a way that only Redis knows.
            code, value = await self.connection.call(self, ToNode.GROUP_DISCARD, group, name)
            if code:
                raise error_of(code, value)
            return
        self._exit(group, name)
        if self.is_open and self.settings.backend == "redis":
            self.connection.put((ToNode.GROUP_DISCARD, self.index, None, group, name))
        change = self._emptied(group) if not members else None
        while change is not None and not self.groups.get(group):
            if await change.wait() and not change.joining and change.code != LOST:
                raise error_of(change.code, change.value)
            following = self._changes.get(group)
            change = following if following is not change else None

    def _begin(self, group, joining, again=False):
        change = self._changes[group] = _Change(self, group, joining, again)
        self.connection.request(change, self, ToNode.JOIN if joining else ToNode.LEAVE, group)
        return change

    def _emptied(self, group):
        """The last own member of a group has left. Returns what is under way for it, or None."""
        change = self._changes.get(group)
        if change is None:
            self.groups.pop(group, None)
            if self.is_open:
                change = self._begin(group, joining=False)
        return change

    def _changed(self, change):
        """JOIN or LEAVE was answered, or its connection was lost."""
        group = change.group
        if self._changes.get(group) is change:
            del self._changes[group]
        members = self.groups.get(group)
        if change.code and change.joining:
            if change.again:
                self._rejoin_later(change)
                return
            # What it was for is not in the group.
            for name in list(members or ()):
                self._exit(group, name)
            self.groups.pop(group, None)
            if change.code in (TIMED_OUT, NO_ANSWER) and self.is_open:
                self._begin(group, joining=False)
        elif not self.is_open:
            if not members:
                self.groups.pop(group, None)
        elif change.joining and not members:
            self._emptied(group)
        elif not change.joining and members:
            # Another process has added one while LEAVE was on its way.
            self._begin(group, joining=True)

    def _rejoin_later(self, change):
        if change.code == LOST:
            return  # the next connection does it
        logger.warning("The group %r could not be joined again: %s; trying on", change.group, change.value)
        if self.connection.loop is not None:
            self.connection.loop.call_later(REJOIN_PAUSE, self._rejoin, change.group)

    def _rejoin(self, group):
        if self.is_open and self.groups.get(group) and group not in self._changes:
            self._begin(group, joining=True, again=True)

    def rejoin(self):
        """Joins all groups on a new connection."""
        for group in list(self.groups):
            self._rejoin(group)

    def added(self, group, name):
        """ADD"""
        if name in self.queues:
            self._enter(group, name)
        elif group not in self.groups:
            self._emptied(group)

    def discarded(self, group, name):
        """DISCARD"""
        members = self.groups.get(group)
        if members is not None and name in members:
            self._exit(group, name)
            if not members:
                self._emptied(group)

    def flushed(self):
        """FLUSHED. A JOIN that has no answer yet may come after the flush."""
        for group in list(self.groups):
            if group not in self._changes:
                for name in list(self.groups[group]):
                    self._exit(group, name)
                del self.groups[group]
        for queue in self.queues.values():
            if queue is not None:
                queue._queue.clear()

    # Normal channels

    async def receive_held(self, name):
        """The next message of a normal channel, which is the node's until taken()."""
        held = Held(self, name, asyncio.get_running_loop().create_future())
        self.connection.add_receive(held)
        try:
            await held.future
        except asyncio.CancelledError:
            self.connection.drop_receive(held)
            raise
        if held.error is not None:
            raise held.error
        return held

    # The loop

    def end_timers(self):
        for timer in (self._sweeper, self._reporter):
            if timer is not None:
                timer.cancel()
        self._sweeper = self._reporter = None

    def park(self):
        """The loop has ended."""
        self._changes.clear()
        for name, queue in self.queues.items():
            if queue is not None:
                # Its futures, and perhaps its class, belong to that loop.
                kept = BodyQueue(self.size(name))
                kept._queue.extend(queue._queue)
                self.queues[name] = kept
                self._idle.setdefault(name, time.monotonic())
        self._wake_afar()

    def close(self, error):
        """Whoever waits for a message gets `error`."""
        for queue in self.queues.values():
            for getter in queue._getters if queue is not None else ():
                if isinstance(getter, asyncio.Future) and not getter.done():
                    getter.set_exception(error)
        self.queues.clear()
        self.groups.clear()
        self._joined.clear()
        self._idle.clear()
        self._wake_afar()

    def resume(self):
        """In another loop."""
        if self._idle:
            self._sweep_later()


class Held:
    """A message of a normal channel, or somebody who waits for one."""

    __slots__ = ("body", "channels", "connected", "error", "future", "name", "req")

    def __init__(self, channels, name, future):
        self.channels = channels
        self.name = name
        self.future = future
        self.connected = 0  # which connection of the Connection it was asked on; 0: none
        self.req = None
        self.body = None
        self.error = None

    def answered(self, body=None, error=None):
        self.body = body
        self.error = error
        if not self.future.done():
            self.future.set_result(None)

    @property
    def message(self):
        """Raises ValueError for what does not decode."""
        return self.channels.unpack(self.body)

    def taken(self):
        self._tell(ToNode.TAKEN)

    def put_back(self):
        self._tell(ToNode.RETURN)

    def _tell(self, op):
        connection = self.channels.connection
        if self.connected == connection.number and connection.is_up:
            connection.put((op, self.channels.index, self.req))


# Codes with which a RECEIVE is repeated: it waits as long as it takes.
PASSING = frozenset((UNAVAILABLE, TIMED_OUT))
