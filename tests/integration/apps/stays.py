# SPDX-License-Identifier: BSD-3-Clause
"""A Channels consumer that streams until its client leaves, and goes on when it is told so: its http_disconnect() does
not raise StopConsumer."""

import logging

from channels.generic.http import AsyncHttpConsumer
from django.conf import settings

settings.configure()
logger = logging.getLogger("stays")


class Stays(AsyncHttpConsumer):
    async def http_request(self, message):
        await self.send_headers()
        await self.send_body(b"begun", more_body=True)

    async def http_disconnect(self, message):
        logger.warning("stays: http.disconnect")


application = Stays.as_asgi()
