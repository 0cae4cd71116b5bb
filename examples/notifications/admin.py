# SPDX-License-Identifier: BSD-3-Clause
"""Notifications in the admin, for reading."""

from django.contrib import admin

from notifications.models import Notification


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):
    """What was sent to whom."""

    list_display = ["created_at", "user", "type", "title"]
    list_filter = ["type"]
