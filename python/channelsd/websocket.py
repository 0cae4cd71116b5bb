# SPDX-License-Identifier: BSD-3-Clause
"""One WebSocket: scope, receive() and send() of ASGI's websocket protocol, spec version 2.5, with the denial response
extension."""

import asyncio

from .headers import check_headers
from .http import decode_path
from .protocol import EARLY_SIZE, PAYLOAD_MAX, WINDOW_BYTES, ProtocolError, ToEdge
from .session import COMPLETE, GONE, ClientDisconnected, Outgoing, Session, content_of

# Values of WebSocket.state.
CONNECTING = 0
ACCEPTED = 1
DENYING = 2  # websocket.http.response.start was sent
DENIED = 3  # ... and the last body too
CLOSED = 4  # by the application or, with `ended` set, by the client

# What a close frame can carry of a reason (RFC 6455 §5.5: 125 bytes less the code).
REASON_MAX = 123


def _is_close_code(code):
    """RFC 6455 §7.4 and the registry: what may stand in a close frame."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


def _text_of(value):
    """`value` as a str, or None if it is no text. A lazy translation of Django is one: no str, but it has the methods."""
    if isinstance(value, str):
        return value
    return str(value) if hasattr(value, "encode") else None


def _content(message):
    """(str or bytes-like, size in bytes, is_text) of a websocket.send. An empty one of two keys counts as absent.

    Raises ValueError or TypeError.
    """
    text = message.get("text")
    data = message.get("bytes")
    if text is None and data is None:
        raise ValueError(f"Got invalid WebSocket reply message on {message} - contains neither bytes nor text")
    if text and data:
        raise ValueError(f"Got invalid WebSocket reply message on {message} - contains both bytes and text keys")
    if data or text is None:
        return (*content_of(data, "bytes"), False)
    content = _text_of(text)
    if content is None:
        raise TypeError(f"'text' expected to be `str`, but got `{type(text)}`")
    # A lone surrogate raises UnicodeEncodeError, a ValueError, here: in the packer it would cost what that holds.
    return content, len(content.encode("utf-8")), True


class WebSocket(Session):
    """queue: None for websocket.connect, str or bytes for a message, (str or bytes, size to credit) for one that came
    in parts."""

    __slots__ = (
        "final",  # (code, reason) of websocket.disconnect
        "final_due",  # receive() has it to return
        "offered",
        "parts",
        "state",
        "told",  # it was received
    )

    def __init__(self, link, record, state):
        _, id, http_version, scheme, path, raw_path, query, root_path, headers, client, server, subprotocols = record
        path = decode_path(path)
        client = list(client) if client is not None else None
        Session.__init__(self, link, id, path, client, [None])
        self.state = CONNECTING
        self.offered = subprotocols
        self.parts = None
        self.final = None
        self.final_due = False
        self.told = False
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": link.spec_version},
            "http_version": http_version,
            "scheme": scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": root_path,
            "headers": list(headers),
            "client": client,
            "server": list(server) if server is not None else None,
            "subprotocols": list(subprotocols),
            "extensions": {"websocket.http.response": {}},
        }
        if state is not None:
            scope["state"] = state.copy()
        self.task = link.loop.create_task(self.run(link.application, scope))

    # From the edge. A whole message is queued by the link itself, which saves a call.

    def part(self, piece, is_text, last):
        """A piece of a message that is too large for one record."""
        if self.final is not None:
            return
        parts = self.parts
        if not last:
            # One buffer, not a list: a client that sends fragments of a byte would make each an object of 40.
            if parts is None:
                parts = self.parts = bytearray()
            parts += piece
            # The application cannot take it yet; the edge holds the ceiling of a message.
            if not self.ended:
                self.link.put((ToEdge.CREDIT, self.id, len(piece), 0))
            return
        self.parts = None
        if parts:
            parts += piece
            whole = parts.decode("utf-8") if is_text else bytes(parts)
        else:
            whole = piece.decode("utf-8") if is_text else piece
        self.queue.append((whole, len(piece)))
        self.wake()

    def disconnected(self, code, reason):
        """The WebSocket is over; the messages that came before are still delivered."""
        if self.final is None:
            self.final = (1006 if code is None else code, reason or "")
            self.final_due = True
        self.state = CLOSED
        self.parts = None
        self.end(GONE)
        self._drop_pending()
        self.wake()

    # To the application

    async def receive(self):
        """websocket.connect, websocket.receive for each message, then websocket.disconnect.

        A call after that: to a Django project nothing comes any more, as under Daphne, until the close timeout cancels
        it; others get the disconnect at every call.
        """
        while not (self.queue or self.final_due):
            await self.wait()
        if self.told:
            # As in HttpRequest.receive(): a loop that does not heed it must not stop everybody else.
            await asyncio.sleep(0)
        return self.take()

    def take(self):
        """The event that receive() returns, once `queue` has something or `final_due` is set."""
        queue = self.queue
        if not queue:
            self.told = True
            # Who asks again would be told for ever: a consumer that does not stop at its disconnect.
            self.final_due = not self.link.late_sends_pass
            code, reason = self.final
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        item = queue.pop(0)
        kind = item.__class__
        if kind is str:
            event = {"type": "websocket.receive", "text": item}
            self.taken_bytes += len(item) if item.isascii() else len(item.encode("utf-8"))
        elif kind is bytes:
            event = {"type": "websocket.receive", "bytes": item}
            self.taken_bytes += len(item)
        elif item is None:
            return {"type": "websocket.connect"}
        elif kind is tuple:
            event = {"type": "websocket.receive", ("text" if item[0].__class__ is str else "bytes"): item[0]}
            self.taken_bytes += item[1]
        else:
            self.link.violated(ProtocolError(f"a message of type {kind.__name__}"))
            raise ClientDisconnected("the client has disconnected")
        self.taken_messages += 1
        if self.taken_messages >= 64 or self.taken_bytes >= 16384:
            self.give_credit()
        return event

    # From the application

    async def send(self, message):
        """Takes websocket.accept, .send, .close and the two of a denial response.

        Raises ValueError or TypeError for what ASGI does not allow; once the client is gone or the application has
        closed see late_send(). An error leaves the link and the WebSocket as they were.
        """
        try:
            kind = message["type"]
        except KeyError:
            raise ValueError("Message has no type defined") from None
        if kind != "websocket.send":
            if self.state >= DENIED:
                return await self.late_send()
            return await self._send_other(kind, message)
        if self.state != ACCEPTED:
            if self.state >= DENIED:
                return await self.late_send()
            raise ValueError("Socket has not been accepted, so cannot send over it")
        content = message.get("text")
        if content.__class__ is str and message.get("bytes") is None and content.isascii():
            size = len(content)
            is_text = True
        else:
            content, size, is_text = _content(message)
        if size > PAYLOAD_MAX or self.unsent >= WINDOW_BYTES or self.pending:
            if is_text and size > PAYLOAD_MAX:
                content = content.encode("utf-8")
            await self.send_queued(Outgoing(content, size, is_text))
            return
        self.unsent += size
        link = self.link
        link.pack((4, self.id, content))  # ToEdge.SEND
        link.waiting += size
        if not link.scheduled:
            link.schedule()
        elif link.waiting >= EARLY_SIZE:
            link.send_early()
        if not size:
            # No window counts it: the link itself holds back an application that sends nothing else.
            await link.settle()

    def emit(self, content, size):
        """Sends a message of `size` bytes, at most PAYLOAD_MAX, without waiting for anything; for channelsd.accelerate.

        Does nothing once the WebSocket is over. What stands behind others in the queue goes when they have gone.
        """
        if self.state != ACCEPTED:
            return
        if self.pending:
            self.pending.append(Outgoing(content, size, content.__class__ is str))
            self._pump()
            return
        self.unsent += size
        self.link.put((ToEdge.SEND, self.id, content))

    async def _send_other(self, kind, message):
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            await self._close(message)
        elif kind == "websocket.http.response.start":
            self._must_be(CONNECTING, kind)
            self.begin_response(message)
            self.state = DENYING
        elif kind == "websocket.http.response.body":
            if self.state == CONNECTING:
                raise ValueError(f"HTTP response has not yet been started but got {kind}")
            self._must_be(DENYING, kind)
            body, size = content_of(message.get("body", b""), "body")
            await self._deny(body, size, bool(message.get("more_body", False)))
        else:
            raise ValueError(f"Cannot handle message type {kind}!")

    def _must_be(self, state, kind):
        if self.state == DENYING != state:
            raise ValueError(f"WebSocket is being denied by a response but got {kind}")
        if self.state != state:
            raise ValueError(f"Socket has already been accepted but got {kind}")

    def _accept(self, message):
        self._must_be(CONNECTING, "websocket.accept")
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.offered:
            raise ValueError(f"Subprotocol {subprotocol!r} was not offered by the client")
        if subprotocol is not None and len(subprotocol) > PAYLOAD_MAX // 4:
            raise ValueError(f"A subprotocol of {len(subprotocol)} characters cannot be accepted")
        headers = check_headers(message.get("headers") or ())
        for name, _ in headers:
            if name.lower() == b"sec-websocket-protocol":
                raise ValueError("Header 'sec-websocket-protocol' is not allowed, give the subprotocol instead")
        self.state = ACCEPTED
        self.link.put((ToEdge.ACCEPT, self.id, subprotocol, headers))

    async def _close(self, message):
        refused = self.state != ACCEPTED
        if refused:
            # A refusal is an HTTP response: no code and no reason goes with it, so what they are does not matter.
            self._must_be(CONNECTING, "websocket.close")
            record = (ToEdge.CLOSE, self.id, 1000, "")
        else:
            record = (ToEdge.CLOSE, self.id, self._code_of(message), self._reason_of(message))
        self.state = CLOSED
        if self.pending:
            await self.send_queued(Outgoing(record=record))
        else:
            self.link.put(record)
        if refused:
            self._refused()

    @staticmethod
    def _code_of(message):
        code = message.get("code")
        if code is None:
            return 1000
        if not isinstance(code, int) or isinstance(code, bool):
            raise ValueError(f"Close code '{code}' expected to be `int`, but got `{type(code)}`")
        if not _is_close_code(code):
            raise ValueError(f"Close code {code:d} cannot be sent")
        return int(code)

    def _reason_of(self, message):
        """What the close frame gives as reason, cut to what fits. Daphne sends none and does not look at it, so one that
        no frame can have is left out for a Django project and raises ValueError for others."""
        given = message.get("reason")
        if given is None:
            return ""
        reason = _text_of(given)
        try:
            if reason is None:
                raise ValueError(f"Close reason '{given}' expected to be `str`, but got `{type(given)}`")
            encoded = reason.encode("utf-8")
        except ValueError:
            if self.link.late_sends_pass:
                return ""
            raise
        return reason if len(encoded) <= REASON_MAX else encoded[:REASON_MAX].decode("utf-8", "ignore")

    async def _deny(self, body, size, more):
        if not more:
            self.state = DENIED
        elif not size and self.start is None:
            return
        if size > PAYLOAD_MAX or self.unsent >= WINDOW_BYTES or self.pending:
            await self.send_queued(Outgoing(body, size, more))
        else:
            self.unsent += size
            self.emit_body(body, more)
            if not more:
                self._refused()

    def _refused(self):
        """The edge forgets a WebSocket that was refused, so the disconnect is ours to make."""
        self.final = (1006, "")
        self.final_due = True
        self.end(COMPLETE)
        self.wake()

    def _emit(self, item, piece, last):
        if self.state in (DENYING, DENIED):
            self.emit_body(piece, item.flag or not last)
            if last and not item.flag:
                self._refused()
        elif item.size <= PAYLOAD_MAX:
            self.link.put((ToEdge.SEND, self.id, piece))
        else:
            self.link.put((ToEdge.PART, self.id, piece, item.flag, last))

    def _taken_back(self, item):
        if self.state == DENIED and not item.flag:
            self.state = DENYING

    def _is_over(self):
        return self.state >= DENIED

    def _last_record(self, failed):
        if self.state != CLOSED:
            return (ToEdge.END, self.id, failed)
        # The application closed. What it could not send before stays unsent, but the close must not.
        for item in self.pending or ():
            if item.record is not None:
                return item.record
        return None
