# SPDX-License-Identifier: BSD-3-Clause
"""How the other apps notify somebody."""

import re

from notifications.models import Notification
from realtime.groups import send_after_commit

# A type is also the name of an event on the channel layer; those of the ASGI protocol have a dot.
TYPE = re.compile(r"[a-z][a-z0-9_]{0,49}")


def notification_group(user_id):
    """Name the group of one user's connections."""
    return f"notifications_{user_id}"


def notify(user_id, kind, title, message, data):
    """Store a notification and send it to the user's open pages after the commit."""
    if not TYPE.fullmatch(kind):
        raise ValueError(f"not a notification type: {kind!r}")
    Notification.objects.create(user_id=user_id, type=kind, title=title, message=message, data=data)
    event = {"type": kind, "title": title, "message": message, "data": data}
    send_after_commit(notification_group(user_id), event)
