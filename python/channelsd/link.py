# SPDX-License-Identifier: BSD-3-Clause
"""One link: records in and out over one socket to one edge loop.

In: everything the socket holds (at most READ_MAX) is fed to one unpacker and dispatched in the same loop turn. Out: the
records of a loop turn collect in one packer and leave in one system call at the start of the next. While the socket is
full they collect further; how much that can become is bounded by the windows of the ids.
"""

import logging
import os
import socket
import sys

import msgpack

from .http import HttpRequest
from .protocol import MANY_MAX, RECORD_MAX, VERSION, ProtocolError, ToEdge
from .websocket import WebSocket

logger = logging.getLogger("channelsd.server")

READ_MAX = 256 * 1024
# A packer's buffer never shrinks by itself; one that grew beyond this is replaced.
KEEP_MAX = 1024 * 1024


class Link:
    """`worker` owns the link: see Worker in service.py for what it reports there."""

    __slots__ = (
        "_backlog",  # bytes of earlier turns that the socket did not take
        "_buffer",
        "_fd",
        "_handlers",
        "_packer",
        "_settling",  # futures of settle()
        "_socket",
        "_unpacker",
        "application",
        "draining",  # SHUTDOWN came
        "late_sends_pass",  # see Session.late_send()
        "loop",
        "lost",  # the socket is closed or broken
        "pack",  # appends a record; an error in it would lose the records before, so all content is checked first
        "requests",  # id -> HttpRequest, until its application has ended
        "scheduled",  # a flush will come without schedule()
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
        self.scheduled = False
        self.draining = False
        self.lost = False
        self.waiting = 0
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._socket.set_inheritable(False)
        # A forked child must not keep the socket open: the edge would not see the end of this process.
        os.register_at_fork(after_in_child=self._socket.close)
        self._fd = fd
        self._buffer = memoryview(bytearray(READ_MAX))
        self._backlog = b""
        self._settling = []
        self._unpacker = msgpack.Unpacker(
            raw=False,
            use_list=False,
            read_size=READ_MAX,
            max_buffer_size=READ_MAX + RECORD_MAX,
            max_str_len=RECORD_MAX,
            max_bin_len=RECORD_MAX,
            max_array_len=RECORD_MAX,
            max_map_len=0,
            max_ext_len=0,
        )
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
        self._new_packer()

    def _new_packer(self):
        self._packer = msgpack.Packer(autoreset=False)
        self.pack = self._packer.pack

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

    def put(self, record):
        """Queues one record."""
        self.pack(record)
        if not self.scheduled:
            self.schedule()

    def send_many(self, ids, content):
        """Queues one message, str or bytes of at most PAYLOAD_MAX, for many WebSockets; their windows are the caller's."""
        for start in range(0, len(ids), MANY_MAX):
            self.put((ToEdge.SEND_MANY, ids[start : start + MANY_MAX], content))

    def schedule(self):
        self.scheduled = True
        self.loop.call_soon(self._flush)

    def _flush(self):
        """At the turn's end: sends what it queued, behind what earlier turns left."""
        if self._backlog:
            return  # send_early() met a full socket; _writable() goes on
        if self.lost:
            self._packer.reset()
            return
        self.scheduled = False
        self._send()
        if self._settling and not self.scheduled:
            self._settled()

    def send_early(self):
        """Sends what this turn has queued so far: a group's worth of messages need not wait for the last of them."""
        self.waiting = 0
        if not self._backlog and not self.lost:
            self._send()

    def _send(self):
        """One system call with what is queued; what the socket does not take becomes the backlog."""
        self.waiting = 0
        view = self._packer.getbuffer()
        size = len(view)
        if not size:
            view.release()
            return
        try:
            sent = self._socket.send(view)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            view.release()
            self._end(f"cannot write: {error}")
            return
        if sent < size:
            self._backlog = bytes(view[sent:])
            # What is put from now on waits for the socket, not for the next turn.
            self.scheduled = True
            self.loop.add_writer(self._fd, self._writable)
        view.release()
        if size > KEEP_MAX:
            self._new_packer()
        else:
            self._packer.reset()

    def _writable(self):
        try:
            sent = self._socket.send(self._backlog)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"cannot write: {error}")
            return
        self._backlog = self._backlog[sent:] if sent < len(self._backlog) else b""
        if not self._backlog:
            self.loop.remove_writer(self._fd)
            self._flush()

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

    def _readable(self):
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"cannot read: {error}")
            return
        if not count:
            self._end("the server has closed it")
            return
        try:
            self._unpacker.feed(self._buffer[:count])
            self._dispatch()
        except Exception as error:
            self.violated(error)

    def _dispatch(self):
        websocket_of = self.websockets.get
        handlers = self._handlers
        for record in self._unpacker:
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
