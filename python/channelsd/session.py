# SPDX-License-Identifier: BSD-3-Clause
"""What one request and one WebSocket have in common: the application's task, its events, and both flow windows.

Life: made by the link for an HTTP or WEBSOCKET record, its task runs the application. It is forgotten when the task
ends. It is over (`ended`) when the response is complete, the WebSocket refused, or the client gone; from then on the
application may live for the close timeout.

A finished session does not refer to its task, and nothing refers back to it: it is freed without the garbage collector.
"""

import asyncio
import functools
import logging

from .headers import check_headers
from .protocol import CREDIT_BYTES, CREDIT_IDLE_BYTES, CREDIT_MESSAGES, PAYLOAD_MAX, WINDOW_BYTES, ToEdge

logger = logging.getLogger("channelsd.server")

# Values of Session.ended.
OPEN = 0
COMPLETE = 1  # the application ended its side
GONE = 2  # the client is gone, or the edge gave up on the application


class ClientDisconnected(ConnectionResetError):
    """Raised by send() when there is nobody to send to: an OSError, as ASGI 2.4 asks. Not logged where it leaves the
    application."""


class Outgoing:
    """One message that could not leave at once: `payload` of `size` bytes, of which `offset` are in records already.

    flag: is_text of a WebSocket message, more_body of a response body. record: one without content, in place of those.
    """

    __slots__ = ("done", "flag", "offset", "payload", "record", "size", "waiter")

    def __init__(self, payload=b"", size=0, flag=False, record=None):
        self.payload = payload
        self.size = size
        self.offset = 0
        self.flag = flag
        self.record = record
        self.done = False
        self.waiter = None


def _wake(waiter, _done=None):
    if not waiter.done():
        waiter.set_result(None)


def _is_disconnect(error):
    """True for ClientDisconnected and for an exception group of nothing else (task groups wrap what tasks raise)."""
    if isinstance(error, ClientDisconnected):
        return True
    nested = getattr(error, "exceptions", None)
    return isinstance(nested, tuple) and bool(nested) and all(map(_is_disconnect, nested))


def content_of(value, key):
    """(bytes-like of single bytes, its length) of an event's content. Raises TypeError for what is not bytes."""
    if isinstance(value, (bytes, bytearray)):
        return value, len(value)
    if isinstance(value, memoryview):
        if value.itemsize != 1 or value.ndim != 1 or not value.contiguous:
            value = value.tobytes()
        return value, len(value)
    raise TypeError(f"{key!r} expected to be `bytes`, but got `{type(value)}`")


class Session:
    """Base of HttpRequest and WebSocket, which bring receive(), send(), _emit() and disconnected()."""

    __slots__ = (
        "client",
        "ended",
        "id",
        "killed",  # we cancelled the task
        "link",
        "path",
        "pending",  # list of Outgoing behind the window, or None
        "queue",  # what came from the edge and was not received yet; at most the window, so a list will do
        "start",  # (status, headers) of a response whose first body is awaited
        "taken_bytes",  # received by the application, credit not given yet
        "taken_messages",
        "task",
        "unsent",  # bytes on their way to the client, by the count of the records
        "waiter",  # future of the application's receive()
    )

    def __init__(self, link, id, path, client, queue):
        self.link = link
        self.id = id
        self.path = path
        self.client = client
        self.queue = queue
        self.waiter = None
        self.task = None
        self.ended = OPEN
        self.killed = False
        self.start = None
        self.unsent = 0
        self.pending = None
        self.taken_bytes = 0
        self.taken_messages = 0

    def __repr__(self):
        return f"<{type(self).__name__} client={self.client!r} path={self.path!r}>"

    # The application's task

    async def run(self, application, scope):
        """The body of the task. Nothing leaves it, not even SystemExit, which would end the event loop for all."""
        failed = False
        try:
            await application(scope, self.receive, self.send)
        except BaseException as error:
            failed = True
            self._log_failure(error)
        self._finish(failed)

    def _log_failure(self, error):
        if isinstance(error, asyncio.CancelledError) and (self.killed or self._is_over()):
            return
        if self._is_over() and _is_disconnect(error):
            logger.debug("%r: the application stopped because the client is gone", self)
            return
        # The first frame is run() above; an error raised by calling the application wrongly has no other.
        traceback = error.__traceback__
        if traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        logger.error(
            "Exception inside application: %s",
            error if str(error) else type(error).__name__,
            exc_info=(type(error), error, traceback),
        )

    def _finish(self, failed):
        link = self.link
        if not self.ended:
            record = self._last_record(failed)
            self.ended = COMPLETE
            if record is not None:
                link.put(record)
        self._drop_pending()
        self.queue = None
        self.waiter = None
        self.task = None
        link.forget(self)

    def _is_over(self):
        """Whether send() may raise ClientDisconnected."""
        return self.ended != OPEN

    def _last_record(self, failed):
        """What the edge is told when the application ended before its side was over; None for nothing."""
        return (ToEdge.END, self.id, failed)

    def kill(self):
        """Cancels the application."""
        if self.task is not None:
            self.killed = True
            self.task.add_done_callback(self._cancelled_unbegun)
            self.task.cancel()

    def _cancelled_unbegun(self, _task):
        """A task that is cancelled before its first step never comes to _finish()."""
        if self.task is not None:
            self._finish(failed=True)

    def end(self, how):
        """The application's side is over (`how`: COMPLETE or GONE); Worker's next check starts the close timeout."""
        if not self.ended:
            self.ended = how

    # From the edge

    def wake(self):
        """Lets receive() look again."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def wait(self):
        """The future on which receive() waits for wake(). It carries nothing: what came stays queued until it is taken,
        so a cancelled receive() loses nothing. Several may wait; all of them are woken and look again."""
        waiter = self.link.loop.create_future()
        self.watch(waiter)
        return waiter

    def watch(self, waiter):
        """wait() with a future of the caller's."""
        previous = self.waiter
        if previous is not None and not previous.done():
            waiter.add_done_callback(functools.partial(_wake, previous))
        self.waiter = waiter

    def give_credit(self):
        """Called when a message or body piece was taken: tells the edge, as seldom as the protocol allows."""
        if (
            self.taken_bytes >= CREDIT_BYTES
            or self.taken_messages >= CREDIT_MESSAGES
            or (self.taken_bytes >= CREDIT_IDLE_BYTES and not self.queue)
        ):
            if not self.ended:
                self.link.put((ToEdge.CREDIT, self.id, self.taken_bytes, self.taken_messages))
            self.taken_bytes = 0
            self.taken_messages = 0

    def credited(self, count):
        """`count` bytes have left for the client."""
        self.unsent -= count
        if self.pending:
            self._pump()

    # To the edge

    def begin_response(self, message):
        """Checks an http.response.start and keeps it until the first body comes."""
        headers = check_headers(message.get("headers") or ())
        if self.start is not None:
            raise ValueError("HTTP response has already been started")
        if "status" not in message:
            raise ValueError("Specifying a status code is required for a Response message.")
        status = message["status"]
        if not isinstance(status, int) or isinstance(status, bool):
            raise ValueError(f"Status code '{status}' expected to be `int`, but got `{type(status)}`")
        if not 200 <= status <= 999:
            raise ValueError(f"Status code {status:d} is not one of a response")
        if message.get("trailers"):
            raise ValueError("Response trailers are not supported")
        self.start = (int(status), headers)

    def emit_body(self, piece, more):
        """One record of a response: START with the first piece, BODY with the others."""
        start = self.start
        if start is not None:
            self.start = None
            self.link.put((ToEdge.START, self.id, start[0], start[1], piece, more))
        else:
            self.link.put((ToEdge.BODY, self.id, piece, more))

    async def send_queued(self, item):
        """Sends an Outgoing behind what waits already, and returns when the last of it is in a record.

        If the caller is cancelled, a message of which nothing was sent is taken back; one that has begun goes on by
        itself, so that what follows is not taken for its rest. If the client leaves meanwhile: late_send().
        """
        pending = self.pending
        if pending is None:
            pending = self.pending = []
        pending.append(item)
        self._pump()
        if item.done:
            return
        item.waiter = self.link.loop.create_future()
        try:
            await item.waiter
        except asyncio.CancelledError:
            if not item.offset and item.record is None and self.pending and item in self.pending:
                self.pending.remove(item)
                self._taken_back(item)
                self._pump()
            raise
        if not item.done:
            await self.late_send()

    async def late_send(self):
        """What send() does when there is nobody to send to any more.

        ASGI 2.4 asks for an OSError. Django projects were written for Daphne, where nothing happens, and depend on it: a
        Channels consumer that an exception ends is never told websocket.disconnect, and does not leave its groups.
        """
        if not self.link.late_sends_pass:
            raise ClientDisconnected("the client has disconnected")
        await asyncio.sleep(0)  # a loop that only sends must not stop everybody else

    def _emit(self, item, piece, last):
        """Makes the record of one piece of an item."""
        raise NotImplementedError

    def _taken_back(self, item):
        """An item left the queue unsent."""

    def _pump(self):
        """Sends what waits, in order, as far as the window allows: a record goes while less than it is unsent."""
        pending = self.pending
        while pending:
            item = pending[0]
            if item.record is not None:
                self.link.put(item.record)
            elif not self._pump_item(item):
                return
            pending.pop(0)
            item.done = True
            if item.waiter is not None:
                _wake(item.waiter)

    def _pump_item(self, item):
        """Returns whether the item is sent to its end."""
        last = False
        while not last:
            if self.unsent >= WINDOW_BYTES:
                return False
            if item.size <= PAYLOAD_MAX:
                piece, length, last = item.payload, item.size, True
            else:
                piece = memoryview(item.payload)[item.offset : item.offset + PAYLOAD_MAX]
                length = len(piece)
                last = item.offset + length == item.size
            self.unsent += length
            item.offset += length
            self._emit(item, piece, last)
        return True

    def _drop_pending(self):
        pending, self.pending = self.pending, None
        for item in pending or ():
            if item.waiter is not None:
                _wake(item.waiter)
