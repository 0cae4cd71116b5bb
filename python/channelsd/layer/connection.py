# SPDX-License-Identifier: BSD-3-Clause
"""One connection to the node: requests of one event loop, multiplexed; made again when it is lost.

A request is answered once: by the node, by the loss of the connection, or by the timer.
"""

import asyncio
import logging
import math
import os
import random
import select
import time

from ..records import RecordStream
from .errors import INVALID, LOST, NO_ANSWER, ChannelLayerUnavailable, error_of
from .local import PASSING, Channels
from .protocol import (
    LAYERS_MAX,
    RECEIVES_MAX,
    RECORD_MAX,
    VERSION,
    FromNode,
    ProtocolError,
    ToNode,
    check_hello,
)
from .settings import TIMEOUT, Settings

logger = logging.getLogger("channelsd.layer")

_DELIVER = FromNode.DELIVER
_REPLY = FromNode.REPLY
_MESSAGE = FromNode.MESSAGE

# Seconds: between two attempts to connect; how much later than the node this side gives up; how long a call waits for a
# node for which another has waited in vain; a RECEIVE that Redis could not serve; how long the end of a loop waits for
# messages that have crossed its CANCELs.
PAUSE_LEAST = 0.05
PAUSE_MOST = 0.5
GRACE = 0.25
DOWN_WAIT = 0.1
RECEIVE_PAUSE = 1.0
SETTLE = 0.25


class Answer:
    """In place of a future where no loop runs, or where none may be running yet."""

    __slots__ = ("_waiter", "result")

    def __init__(self):
        self.result = None
        self._waiter = None

    def done(self):
        return self.result is not None

    def set_result(self, result):
        self.result = result
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self):
        """For one who waits."""
        if self.result is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.result


class Connection(RecordStream):
    """A peer of the node. `endpoint` is None for the connection that a worker inherits."""

    END_OF_FILE = "the node has closed the connection"

    def __init__(self, loop, endpoint, what="client", timeout=TIMEOUT):
        self.loop = loop
        self.endpoint = endpoint
        self.what = what
        self.timeout = timeout
        self.channels = []  # a Channels for each layer, by its index
        self.bases = {}  # base of names -> Channels
        self.is_up = False  # there is a socket, and HELLO was put
        self.is_greeted = False  # and the node has said HELLO
        self.is_closed = False
        self.number = 0  # counts connections
        self.error = None
        self.on_lost = None  # for a connection that cannot be made again: called with the reason
        self._socket = None
        self._fd = -1
        self._next_req = 0
        self._pending = {}  # req -> (answer, deadline)
        self._receives = {}  # Held -> None: those that wait
        self._asked = {}  # req -> Held, on this connection
        self._opening = {}  # Channels -> Answer: OPEN was put on this connection
        self._crossing = False  # a RECEIVE was taken back, and what was sent before may still come
        self._timer = None
        self._connector = None
        self._waiters = []
        self._nudge = None
        self._was_away = False
        self._clear(RECORD_MAX)

    def add_layer(self, config, settings=None):
        """A Channels for these settings, yet to be opened."""
        if len(self.channels) >= LAYERS_MAX:
            raise ValueError(f"one process uses at most {LAYERS_MAX} channel layers with different settings")
        channels = Channels(self, len(self.channels), config, settings)
        self.channels.append(channels)
        return channels

    # Connecting

    def use(self, sock):
        """Begins to speak over a connected socket."""
        self._clear(RECORD_MAX)
        self._attach(sock)
        self.number += 1
        self.is_up = True
        self.is_greeted = False
        self.put((ToNode.HELLO, VERSION, os.getpid(), self.what))
        if self.loop is not None:
            self.loop.add_reader(self._fd, self._readable)

    async def ready(self, channels, patience=None):
        """Returns when `channels` is open. Raises what stands in the way: ChannelLayerUnavailable after `patience`
        seconds, by default the timeout; ChannelLayerRefused."""
        if self.is_closed:
            raise ChannelLayerUnavailable("this connection to the channel layer was closed")
        if patience is None:
            patience = self.timeout
        is_down = self.endpoint is not None and self.endpoint.is_down
        if is_down:
            patience = min(patience, DOWN_WAIT)
        channels.error = None
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        self.connect_soon()
        try:
            await asyncio.wait([waiter], timeout=patience)
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if channels.is_open:
            return
        if channels.error is not None:
            raise error_of(INVALID, channels.error)
        if self.endpoint is not None and not self.is_up:
            self.endpoint.is_down = True
        raise ChannelLayerUnavailable(str(self.error or "the channel layer's node does not answer"))

    def connect_soon(self):
        """For whoever wants the connection to be up, and does not wait in ready()."""
        if self.loop is None:
            return
        if self._connector is None:
            self._connector = self.loop.create_task(self._bring_up())
        elif self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    async def _bring_up(self):
        """Connects, as often as it takes while somebody wants it, and opens the layers."""
        pause = PAUSE_LEAST
        connector = asyncio.current_task()
        try:
            while not self.is_closed:
                if not self.is_up and self._try_connect():
                    self.error = None
                if self.is_up and await self._open_all():
                    break
                if self.endpoint is None and not self.is_up:
                    break
                if not self.is_wanted():
                    break
                self._nudge = self.loop.create_future()
                await asyncio.wait([self._nudge], timeout=pause * random.uniform(0.75, 1.25))
                if self._nudge.done():
                    await asyncio.sleep(PAUSE_LEAST)
                self._nudge = None
                pause = min(2 * pause, PAUSE_MOST)
        finally:
            # That of a loop which has closed ends when it is collected; the connection may have another by then.
            if self._connector is connector:
                self._connector = None
                self._nudge = None
                self._wake()

    def _try_connect(self):
        if self.endpoint is None:
            return False
        try:
            self.use(self.endpoint.connect())
        except ChannelLayerUnavailable as error:
            if self.channels and any(channels.queues for channels in self.channels) and not self._was_away:
                logger.warning("The channel layer's node is away; connecting again: %s", error)
                self._was_away = True
            self.error = error
            return False
        return True

    async def _open_all(self):
        """Opens what is not open. Returns False if something came between."""
        asked = []
        for channels in list(self.channels):
            if not channels.is_open and channels.error is None:
                asked.append((channels, self.open(channels)))
        number = self.number
        for channels, answer in asked:
            code, value = await answer.wait()
            if self.number != number or not self.is_up:
                self.error = ChannelLayerUnavailable(f"the channel layer's node is gone: {value}")
                return False
            self.opened(channels, code, value)
        if any(not channels.is_open and channels.error is None for channels in self.channels):
            return False  # added meanwhile
        if self._was_away:
            self._was_away = False
            logger.warning("The channel layer's node is back")
        return True

    def open(self, channels):
        """Asks the node to open a layer; then opened(). However long the answer takes, it is waited for, as a second OPEN
        would be a breach: whoever wants the layer gives up alone."""
        answer = self._opening.get(channels)
        if answer is None:
            answer = self._opening[channels] = Answer()
            req = self._next_req
            self._next_req = req + 1
            self._pending[req] = (answer, math.inf)
            self.put((ToNode.OPEN, channels.index, req, channels.config, channels.bases))
        return answer

    def opened(self, channels, code, value):
        """What the node has answered to open()."""
        self._opening.pop(channels, None)
        if code and code != INVALID:
            # Nothing that another attempt could not change. Who waits for a message hears of it nowhere else.
            error = error_of(code, value)
            if self._receives and str(error) != str(self.error):
                logger.warning("The channel layer cannot be opened; trying again: %s", error)
            self.error = error
        elif code == 0:
            try:
                channels.opened(value[0], Settings(value[1]))
            except (ValueError, TypeError, IndexError) as error:
                self.violated(error)
                return
            channels.rejoin()
            for held in list(self._receives):
                if held.channels is channels:
                    self._ask(held)
        else:
            channels.error = value or ""
            if channels.queues:
                logger.error("The channel layer cannot be opened again: %s", value)
            for held in list(self._receives):
                if held.channels is channels:
                    del self._receives[held]
                    held.answered(error=error_of(code, value))

    def _wake(self):
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def is_wanted(self):
        """Whether a lost connection is made again at once, and not at the next call."""
        return bool(self._waiters or self._receives or any(channels.queues for channels in self.channels))

    def is_idle(self):
        """Whether nobody would miss it."""
        return not (self._pending or self.is_wanted())

    # Requests

    async def call(self, channels, op, *items):
        """Asks the node, and returns (code, value). A message is a dict: it is packed as the layer's settings say."""
        if not channels.is_open:
            await self.ready(channels)
        if op in (ToNode.GROUP_SEND, ToNode.SEND):
            items = (items[0], channels.settings.pack(items[1]))
        answer = self.loop.create_future()
        self.request(answer, channels, op, *items)
        return await answer

    def request(self, answer, channels, op, *items):
        """Puts a record that will be answered: answer.set_result((code, value))."""
        req = self._next_req
        self._next_req = req + 1
        wait = self.timeout + GRACE
        self._pending[req] = (answer, time.monotonic() + wait)
        if self._timer is None and self.loop is not None:
            self._timer = self.loop.call_later(wait, self._check_pending)
        self.put((op, channels.index, req, *items))

    def _check_pending(self):
        """One timer for all requests: answers those that the node has left without an answer."""
        now = time.monotonic()
        late = [req for req, (_, deadline) in self._pending.items() if deadline <= now]
        for req in late:
            answer, _ = self._pending.pop(req)
            if not answer.done():
                answer.set_result((NO_ANSWER, f"the channel layer's node did not answer within {self.timeout:g} s"))
        # Only now, as an answer may lead to the next request, which would set a timer of its own.
        self._timer = None
        due = min((deadline for _, deadline in self._pending.values()), default=math.inf)
        if due < math.inf:
            self._timer = self.loop.call_later(max(0.01, due - now), self._check_pending)

    def add_receive(self, held):
        # The node would end the connection of a process that asks for more.
        if len(self._receives) >= RECEIVES_MAX:
            raise RuntimeError(f"one process waits for at most {RECEIVES_MAX} messages of normal channels at a time")
        if held.channels.error is not None:
            held.answered(error=error_of(INVALID, held.channels.error))
            return
        self._receives[held] = None
        self._ask(held)

    def _ask(self, held):
        # What was repeated later may have been asked again on a new connection meanwhile.
        if held not in self._receives or held.req in self._asked:
            return
        if not held.channels.is_open:
            self.connect_soon()
            return
        held.connected = self.number
        held.req = self._next_req
        self._next_req += 1
        self._asked[held.req] = held
        self.put((ToNode.RECEIVE, held.channels.index, held.req, held.name))

    def drop_receive(self, held):
        """The receiver was cancelled: nothing may be lost with it."""
        if held.body is not None:
            held.put_back()
            return
        self._receives.pop(held, None)
        if self._asked.pop(held.req, None) is not None and self.is_up:
            self._crossing = True
            self.put((ToNode.CANCEL, held.channels.index, held.req))

    # Out

    def schedule(self):
        self.scheduled = True
        if self.loop is not None:
            self.loop.call_soon(self._flush)

    def _flush(self):
        if self._backlog:
            return  # _writable() goes on
        self.scheduled = False
        if self.is_up:
            self._send()
        else:
            self._packer.reset()

    # In

    def _dispatch(self):
        layers = self.channels
        unpacker = self._unpacker
        for record in unpacker:
            op = record[0]
            if op == _DELIVER:
                _, layer, ticket, groups, names, body = record
                layers[layer].deliver(ticket, groups, names, body)
            elif op == _REPLY:
                _, req, code, value = record
                self._reply(req, code, value)
            elif op == _MESSAGE:
                _, layer, req, body = record
                self._message(layer, req, body)
            else:
                self._seldom(op, record)
            if unpacker.tell() == self._fed:
                break

    def _seldom(self, op, record):
        if op == FromNode.HELLO:
            check_hello(record)
            self.is_greeted = True
        elif op == FromNode.OPENED:
            _, _, req, base, settings = record
            self._reply(req, 0, (base, settings))
        elif op == FromNode.ADD:
            self.channels[record[1]].added(record[2], record[3])
        elif op == FromNode.DISCARD:
            self.channels[record[1]].discarded(record[2], record[3])
        elif op == FromNode.FLUSHED:
            self.channels[record[1]].flushed()
        else:
            raise ProtocolError(f"unknown operation {op!r}")

    def _reply(self, req, code, value):
        pending = self._pending.pop(req, None)
        if pending is not None:
            if not pending[0].done():
                pending[0].set_result((code, value))
            return
        held = self._asked.pop(req, None)
        if held is None:
            return
        if code in PASSING and self.loop is not None:
            self.loop.call_later(RECEIVE_PAUSE, self._ask, held)
        else:
            self._receives.pop(held, None)
            held.answered(error=error_of(code, value))

    def _message(self, layer, req, body):
        held = self._asked.pop(req, None)
        if held is None:
            # It has crossed CANCEL.
            self.put((ToNode.RETURN, layer, req))
            return
        self._receives.pop(held, None)
        held.answered(body)

    # The end

    def violated(self, error):
        """The node broke the protocol, or we have a bug."""
        logger.error("channel layer: %s: %s", type(error).__name__, error, exc_info=error)
        self.error = ChannelLayerUnavailable(f"the channel layer's node: {error}")
        self._end(f"protocol error: {error}")

    def _end(self, reason):
        if not self.is_up:
            return
        self.is_up = False
        if not self.is_greeted:
            reason = f"{reason} before it said HELLO: if it runs, its log says why (layer.refused)"
        for channels in self.channels:
            channels.is_open = False
            channels.error = None
        if self.endpoint is None:
            self.error = ChannelLayerUnavailable(f"the worker has lost its connection to the channel layer: {reason}")
        if self.loop is not None:
            self._leave_loop(self.loop)
        self._socket.close()
        self._socket = self._buffer = None
        self._clear(RECORD_MAX)
        self._asked.clear()
        self._opening.clear()
        pending, self._pending = self._pending, {}
        text = (
            f"the connection to the channel layer's node was lost ({reason}); it is not known whether the call was "
            "carried out"
        )
        for answer, _ in pending.values():
            if not answer.done():
                answer.set_result((LOST, text))
        if self.is_closed:
            return
        if self.on_lost is not None:
            self.on_lost(reason)
        elif self.endpoint is not None and self.is_wanted():
            self.connect_soon()

    def close(self):
        """For good. From the connection's loop, or after its end."""
        if self.is_closed:
            return
        self.is_closed = True
        self._write_rest()
        self._end("it was closed here")
        error = ChannelLayerUnavailable("the channel layer was closed")
        for held in list(self._receives):
            self._receives.pop(held, None)
            held.answered(error=error)
        for channels in self.channels:
            channels.close(error)
        if self._connector is not None and self.loop is not None:
            self._connector.cancel()
        self._end_timers()
        self._wake()

    def forked(self):
        """In a child process: the socket is the parent's."""
        self.is_closed = True
        self.is_up = False
        for channels in self.channels:
            channels.is_open = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _leave_loop(self, loop):
        if not loop.is_closed():
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)

    def _end_timers(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connector = self._nudge = None
        for channels in self.channels:
            channels.end_timers()

    def _write_rest(self):
        """Sends what was put, as far as the socket takes it at once."""
        if not self.is_up:
            return
        self._backlog += self._packer.bytes()
        self._packer.reset()
        try:
            if self._backlog:
                self._backlog = self._backlog[self._socket.send(self._backlog) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(f"cannot write: {error}")

    # Between two loops

    def park(self):
        """The loop ends. What stands for channels that are left (their names, messages and groups) waits for another."""
        loop, self.loop = self.loop, None
        if self._connector is not None:
            if not loop.is_closed():
                self._connector.cancel()
            # The loop may not turn once more for it. That would be told, as a fault of the program, on its stderr.
            self._connector._log_destroy_pending = False
        self._end_timers()
        # All who wait for these are of that loop.
        self._pending.clear()
        self._waiters.clear()
        for channels in self.channels:
            channels.park()
        for held in list(self._receives):
            self.drop_receive(held)
        if self.is_up:
            self._leave_loop(loop)
            if self._crossing:
                self._settle()
            self._write_rest()
        if not any(channels.queues for channels in self.channels):
            self.close()
        elif self.is_up and (self._backlog or not all(channels.is_open for channels in self.channels)):
            self._end("its event loop has ended")
        self.scheduled = False

    def adopt(self, loop):
        """Goes on in another loop, or begins in the first."""
        self.loop = loop
        if self.is_up:
            loop.add_reader(self._fd, self._readable)
            if self._backlog:
                self.scheduled = True
                loop.add_writer(self._fd, self._writable)
            else:
                self.scheduled = True
                loop.call_soon(self._flush)
        elif self.is_wanted():
            self.connect_soon()
        for channels in self.channels:
            channels.resume()

    def _settle(self):
        """Messages that have crossed a CANCEL are given back: behind a PING's answer there are none."""
        answer = Answer()
        req = self._next_req
        self._next_req = req + 1
        self._pending[req] = (answer, time.monotonic() + SETTLE)
        self.put((ToNode.PING, req))
        self.exchange(answer, time.monotonic() + SETTLE)
        self._crossing = False

    def exchange(self, answer, deadline):
        """Blocks until there is an answer, for at most until `deadline`. Only while no loop has the connection."""
        while not answer.done():
            self._write_rest()
            left = deadline - time.monotonic()
            if left <= 0 or not self.is_up:
                return
            poll = select.poll()
            poll.register(self._fd, select.POLLIN | (select.POLLOUT if self._backlog else 0))
            if any(event & ~select.POLLOUT for _, event in poll.poll(left * 1000)):
                self._readable()
        self._write_rest()
