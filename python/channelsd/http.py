# SPDX-License-Identifier: BSD-3-Clause
"""One HTTP request: scope, receive() and send() of ASGI's http protocol, spec version 2.5."""

import asyncio

from .protocol import PAYLOAD_MAX, WINDOW_BYTES
from .session import COMPLETE, GONE, Outgoing, Session, content_of

# Bytes of an event that was not received yet, up to which a further piece joins it.
JOIN_MAX = 4096


def decode_path(path):
    """The edge sends bytes for a path that is not UTF-8; applications get it as urllib.parse.unquote would give it."""
    return path if path.__class__ is str else path.decode("utf-8", "replace")


class HttpRequest(Session):
    """queue: (body, more_body) of the pieces that came."""

    __slots__ = ("finishing", "started", "told")

    def __init__(self, link, record, state):
        _, id, http_version, method, scheme, path, raw_path, query, root_path, headers, *rest = record
        client, server, body, more = rest
        path = decode_path(path)
        # Two-item lists and tuples of pairs, as Daphne gives them.
        client = list(client) if client is not None else None
        # Nothing of the body at hand yet is no event; an empty body is one.
        Session.__init__(self, link, id, path, client, [(body, more)] if body or not more else [])
        self.started = False
        self.finishing = False  # the last body was given to send()
        self.told = False  # http.disconnect was received
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": link.spec_version},
            "http_version": http_version,
            "method": method,
            "scheme": scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": root_path,
            "headers": list(headers),
            "client": client,
            "server": list(server) if server is not None else None,
            "extensions": {},
        }
        if state is not None:
            scope["state"] = state.copy()
        self.task = link.loop.create_task(self.run(link.application, scope))

    # From the edge

    def body(self, body, more):
        """A further piece of the request body."""
        if self.ended:
            return
        queue = self.queue
        # Small pieces join what waits: the window counts their bytes, not what an event costs.
        if queue and len(queue[-1][0]) + len(body) <= JOIN_MAX:
            queue[-1] = (queue[-1][0] + body, more)
        else:
            queue.append((body, more))
        self.wake()

    def disconnected(self, code=None, reason=""):
        """The client is gone."""
        self.end(GONE)
        self._drop_pending()
        self.wake()

    # To the application

    async def receive(self):
        """http.request for each piece of the body, then http.disconnect when the response is complete or the client is
        gone.

        A call after that: as for a WebSocket, to a Django project nothing comes any more; others get it at every call.
        """
        while not self._has_disconnect():
            if self.queue and self.ended != COMPLETE:
                body, more = self.queue.pop(0)
                self.taken_bytes += len(body)
                self.give_credit()
                return {"type": "http.request", "body": body, "more_body": more}
            await self.wait()
        if self.told:
            # A loop that does not heed the disconnect must not stop everybody else, and must be open to cancellation.
            await asyncio.sleep(0)
        self.told = True
        return {"type": "http.disconnect"}

    def _has_disconnect(self):
        """Whether http.disconnect is what receive() returns. Who asks again would be told for ever: a consumer that does
        not stop at its http_disconnect()."""
        if not self.ended or (self.ended == GONE and self.queue):
            return False
        return not (self.told and self.link.late_sends_pass)

    # From the application

    async def send(self, message):
        """Takes http.response.start and http.response.body.

        Raises ValueError or TypeError for what ASGI does not allow; once the client is gone see late_send(). What
        follows a complete response is ignored.
        """
        if self.finishing:
            return
        if self.ended:
            return await self.late_send()
        try:
            kind = message["type"]
        except KeyError:
            raise ValueError("Message has no type defined") from None
        if kind == "http.response.body":
            if not self.started:
                raise ValueError(f"HTTP response has not yet been started but got {kind}")
            body, size = content_of(message.get("body", b""), "body")
            more = bool(message.get("more_body", False))
            self.finishing = not more
            await self._send_body(body, size, more)
        elif kind == "http.response.start":
            if self.started:
                raise ValueError("HTTP response has already been started")
            self.begin_response(message)
            self.started = True
        else:
            raise ValueError(f"Cannot handle message type {kind}!")

    async def _send_body(self, body, size, more):
        if not size and more and self.start is None:
            return
        if size > PAYLOAD_MAX or self.unsent >= WINDOW_BYTES or self.pending:
            await self.send_queued(Outgoing(body, size, more))
        else:
            self.unsent += size
            self.emit_body(body, more)
            if not more:
                self._complete()

    def _complete(self):
        self.end(COMPLETE)
        self.wake()

    def _emit(self, item, piece, last):
        self.emit_body(piece, item.flag or not last)
        if last and not item.flag:
            self._complete()

    def _taken_back(self, item):
        if not item.flag:
            self.finishing = False
