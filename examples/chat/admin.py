# SPDX-License-Identifier: BSD-3-Clause
"""Conversations in the admin."""

from django.contrib import admin

from chat.models import Conversation, Message


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):
    """Conversations and who takes part."""

    filter_horizontal = ["participants"]


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    """Messages, for reading."""

    list_display = ["created_at", "conversation", "sender", "content", "is_read"]
