# SPDX-License-Identifier: BSD-3-Clause
"""The WebSocket routes."""

from django.urls import path, re_path

from chat.consumers import ChatConsumer, TypingConsumer
from dashboard.consumers import DashboardConsumer
from notifications.consumers import NotificationConsumer
from realtime.consumers import RefuseConsumer
from workstations.consumers import SessionConsumer

websocket_urlpatterns = [
    path("ws/dashboard/", DashboardConsumer.as_asgi()),
    path("ws/sessions/", SessionConsumer.as_asgi()),
    path("ws/sessions/<int:session_id>/", SessionConsumer.as_asgi()),
    path("ws/chat/<int:conversation_id>/", ChatConsumer.as_asgi()),
    path("ws/notifications/", NotificationConsumer.as_asgi()),
    path("ws/typing/<int:conversation_id>/", TypingConsumer.as_asgi()),
    # Without this one an unknown path is an exception in the server's log.
    re_path(r"^.*$", RefuseConsumer.as_asgi()),
]
