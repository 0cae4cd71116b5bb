# SPDX-License-Identifier: BSD-3-Clause
"""Routes of the chat."""

from django.urls import path

from chat import views

urlpatterns = [
    path("chat/", views.conversation_list, name="conversations"),
    path("chat/<int:conversation_id>/", views.conversation_detail, name="chat"),
    path("api/chat/<int:conversation_id>/messages/", views.api_messages, name="api-messages"),
]
