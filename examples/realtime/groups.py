# SPDX-License-Identifier: BSD-3-Clause
"""Messages to groups from synchronous code: views, signals, the admin, database code of consumers."""

import logging

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

logger = logging.getLogger(__name__)


def send_after_commit(group, event):
    """Send @event to @group once the current transaction is committed (at once when there is none).

    Under an ASGI server the message is sent on the server's own loop: async_to_sync finds it from the thread
    that Django runs the view in. What was stored stays stored when the layer cannot be reached.
    """

    def send():
        try:
            async_to_sync(get_channel_layer().group_send)(group, event)
        except Exception:
            logger.exception("nothing was sent to group %s", group)

    transaction.on_commit(send)
