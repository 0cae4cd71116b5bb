# SPDX-License-Identifier: BSD-3-Clause
"""Which origins may open a WebSocket.

A browser always sends an Origin, so another site's page cannot use somebody's cookie. Clients that send none (wscat, a
workstation's agent) have no cookies that a page could borrow, and are let through to the check of who they are.
"""

from channels.security.websocket import OriginValidator
from django.conf import settings


class BrowserOriginValidator(OriginValidator):
    """ALLOWED_HOSTS for whoever sends an Origin."""

    def __init__(self, application):
        hosts = settings.ALLOWED_HOSTS
        if settings.DEBUG and not hosts:
            hosts = ["localhost", "127.0.0.1", "[::1]"]
        super().__init__(application, hosts)

    def valid_origin(self, parsed_origin):
        return parsed_origin is None or super().valid_origin(parsed_origin)
