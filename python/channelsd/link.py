# SPDX-License-Identifier: BSD-3-Clause
"""One link: the requests and WebSockets of one edge loop, as records over one socket (records.py). What waits to be sent is
bounded by the windows of the ids.
"""

import logging
import os
import socket
import sys

from .http import HttpRequest
from .protocol import MANY_MAX, RECORD_MAX, VERSION, ProtocolError, ToEdge
from .records import RecordStream
from .websocket import WebSocket

logger = logging.getLogger("channelsd.server")


class Link(RecordStream):
    """`worker` owns the link: see Worker in service.py for what it reports there."""

    END_OF_FILE = "the server has closed it"

    __slots__ = (
        "_handlers",
        "_settling",  # futures of settle()
        "application",
        "draining",  # SHUTDOWN came
        "late_sends_pass",  # see Session.late_send()
        "lost",  # the socket is closed or broken
        "requests",  # id -> HttpRequest, until its application has ended
        "spec_version",  # of ASGI's http and websocket protocols, as the scopes tell it
        "waiting",  # bytes of messages queued in this turn, roughly
        "websockets",  # id -> WebSocket, likewise
        "worker",
    )

    def __init__(self, worker, fd):
        """Takes over the descriptor. Raises OSError if it is no socket."""
        self.worker = worker
        self.loop = worker.loop
        self.application = None
        self.late_sends_pass = False
        self.spec_version = "2.5"
        self.requests = {}
        self.websockets = {}
        self.draining = False
        self.lost = False
        self.waiting = 0
        self._settling = []
        self._attach(socket.socket(fileno=fd))
        self._socket.setblocking(False)
        self._socket.set_inheritable(False)
        # A forked child must not keep the socket open: the edge would not see the end of this process.
        os.register_at_fork(after_in_child=self._socket.close)
        self._clear(RECORD_MAX)
        # By operation.
        self._handlers = (
            self._hello,
            self._http,
            self._body,
            self._websocket,
            None,  # RECEIVE: in _dispatch()
            self._part,
            self._disconnect,
            self._credit,
            self._beat,
            self._shutdown,
        )

    def start(self, application):
        """Says READY and begins to serve."""
        self.application = application
        # A Django project was written for Daphne's way with a client that is gone; only without it is ASGI 2.4 claimed.
        self.late_sends_pass = "django" in sys.modules
        self.spec_version = "2.3" if self.late_sends_pass else "2.5"
        self.put((ToEdge.READY, VERSION, os.getpid()))
        self.loop.add_reader(self._fd, self._readable)

    def sessions(self):
        """All whose application runs."""
        return list(self.requests.values()) + list(self.websockets.values())

    def busy(self):
        return bool(self.requests or self.websockets)

    def forget(self, session):
        """The application of a session has ended."""
        if self.requests.pop(session.id, None) is None:
            self.websockets.pop(session.id, None)
        if self.worker.is_watching:
            self.worker.forgot(session)

    # Out

    def send_many(self, ids, content):
        """Queues one message, str or bytes of at most PAYLOAD_MAX, for many WebSockets; their windows are the caller's."""
        for start in range(0, len(ids), MANY_MAX):
            self.put((ToEdge.SEND_MANY, ids[start : start + MANY_MAX], content))

    def _flush(self):
        """At the turn's end: sends what it queued, behind what earlier turns left."""
        if self._backlog:
            return  # send_early() met a full socket; _writable() goes on
        if self.lost:
            self._packer.reset()
            return
        self.scheduled = False
        self.waiting = 0
        self._send()
        if self._settling and not self.scheduled:
            self._settled()

    def send_early(self):
        """Sends what this turn has queued so far: a group's worth of messages need not wait for the last of them."""
        self.waiting = 0
        if not self._backlog and not self.lost:
            self._send()

    async def settle(self):
        """Returns when everything put so far is in the socket."""
        if self.scheduled and not self.lost:
            waiter = self.loop.create_future()
            self._settling.append(waiter)
            await waiter

    def _settled(self):
        waiters, self._settling = self._settling, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self, timeout):
        """Sends what is left, for at most `timeout` seconds, and closes. The loop does not run any more."""
        if not self.lost:
            try:
                self._socket.settimeout(timeout)
                self._socket.sendall(self._backlog + self._packer.bytes())
            except OSError as error:
                logger.debug("link %d: the last records were not sent: %s", self._fd, error)
        self._socket.close()

    # In

    def _dispatch(self):
        websocket_of = self.websockets.get
        handlers = self._handlers
        unpacker = self._unpacker
        for record in unpacker:
            op = record[0]
            if op == 4:  # FromEdge.RECEIVE
                websocket = websocket_of(record[1])
                if websocket is not None:
                    websocket.queue.append(record[2])
                    # Session.wake(), without the call.
                    waiter = websocket.waiter
                    if waiter is not None:
                        websocket.waiter = None
                        if not waiter.done():
                            waiter.set_result(None)
            else:
                handlers[op](record)
            if unpacker.tell() == self._fed:
                break

    def _session(self, id):
        return self.websockets.get(id) or self.requests.get(id)

    def _hello(self, record):
        if record[1] != VERSION:
            raise ProtocolError(
                f"the server speaks version {record[1]} of the link protocol, this package version {VERSION}: "
                "install them together"
            )

    def _http(self, record):
        request = HttpRequest(self, record, self.worker.state)
        self.requests[request.id] = request

    def _body(self, record):
        _, id, body, more = record
        request = self.requests.get(id)
        if request is not None:
            request.body(body, more)

    def _websocket(self, record):
        websocket = WebSocket(self, record, self.worker.state)
        self.websockets[websocket.id] = websocket

    def _part(self, record):
        _, id, piece, is_text, last = record
        websocket = self.websockets.get(id)
        if websocket is not None:
            websocket.part(piece, is_text, last)

    def _disconnect(self, record):
        _, id, code, reason = record
        session = self._session(id)
        if session is not None:
            session.disconnected(code, reason)

    def _credit(self, record):
        _, id, count = record
        session = self._session(id)
        if session is not None:
            session.credited(count)

    def _beat(self, record):
        self.put((ToEdge.BEAT, record[1]))

    def _shutdown(self, record):
        self.draining = True
        self.worker.link_shutdown(record[1] / 1000)

    # The end

    def violated(self, error):
        """The edge broke the protocol, or we have a bug."""
        if not self.lost:
            logger.error("link %d: %s: %s", self._fd, type(error).__name__, error, exc_info=error)
            self._end("protocol error")

    def _end(self, reason):
        if self.lost:
            return
        self.lost = True
        self.scheduled = True
        self.loop.remove_reader(self._fd)
        self.loop.remove_writer(self._fd)
        self._backlog = b""
        self._settled()
        # The edge learns it from the end of file.
        self._socket.close()
        self.worker.link_lost(self, reason)
