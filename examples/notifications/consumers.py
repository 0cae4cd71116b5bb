# SPDX-License-Identifier: BSD-3-Clause
"""The consumer of one user's notifications."""

from notifications.services import notification_group
from realtime.consumers import JsonConsumer


class NotificationConsumer(JsonConsumer):
    """Passes on whatever is sent to the user's group."""

    def group_names(self):
        """Join the user's own group."""
        return [notification_group(self.user.pk)]

    async def dispatch(self, message):
        """Pass on events of any type: new ones must not need a new method here."""
        if message["type"].startswith("websocket."):
            await super().dispatch(message)
        else:
            await self.send_json(message)
