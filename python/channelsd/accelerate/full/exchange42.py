# SPDX-License-Identifier: BSD-3-Clause
"""One request under Django 4.2: in the application's own task, in its context, and nobody hears that the client left."""

import contextvars

from django.core import signals

from . import hop, receivers
from .exchange import Exchange, close_here
from .plan import current


class Exchange42(Exchange):
    """What differs from later versions of Django."""

    def _send_started(self):
        """As sync_to_async(request_started.send): what receivers set in their context is seen by the view."""
        self.is_started = True
        signals.request_started.send(sender=type(self.handler), scope=self.scope)

    def _close_in_thread(self, response):
        """In the only context that there is."""
        response.close()

    async def _refuse(self, send):
        """send_response() closes it."""
        self.body_file.close()
        await self.handler.send_response(self.refusal, send)

    async def serve(self, receive, send):
        """All that follows the body."""
        if self.plan.segments:
            current.set(self)
        if self._owner is not None and receivers.started.are_known:
            self.is_started = True
            self.lease.prepare = self._send_started
            self._create_request()
            if self.request is not None and self.plan.top is None:
                self.passage.begin()
        if self.refusal is None:
            if self.passage is None or not self.passage.is_for_loop:
                await self._hop_here()
            if self.response is None and self.refusal is None:
                await self._process_here()
        if self.refusal is not None:
            await self._refuse(send)
        elif self.is_finished or self.needs_no_thread(self.response):
            await self._send_plain(send)
        else:
            await self.handler.send_response(self.response, send)

    async def _hop_here(self):
        context = contextvars.copy_context()
        if self._owner is not None:
            self.outside = context
        try:
            self.at_hop = hop.Hop(self.lease, self.loop, self.in_thread, context)
            await self.at_hop.wait()
        finally:
            hop.settle(context)

    async def _process_here(self):
        response = await self.passage.finish(self.lease)
        self._complete(response)
        if response.status_code >= 400 and not getattr(response, "_has_been_logged", False):
            await hop.run_in(self.lease, lambda at_hop: self._log(response))
        self.response = response

    async def _send_plain(self, send):
        """send_response() without its hop for response.close()."""
        response = self.response
        headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
        headers += [(b"Set-Cookie", morsel.OutputString().encode("ascii")) for morsel in response.cookies.values()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        for chunk, is_last in self.handler.chunk_bytes(response.content):
            await send({"type": "http.response.body", "body": chunk, "more_body": not is_last})
        if self.is_finished:
            self.raise_close_error()
        else:
            close_here(response)
