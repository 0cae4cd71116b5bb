# SPDX-License-Identifier: BSD-3-Clause
"""Routes of the notifications."""

from django.urls import path

from notifications import views

urlpatterns = [
    path("notifications/", views.notification_page, name="notifications"),
    path("api/notifications/", views.api_list, name="api-notifications"),
    path("api/notifications/send/", views.api_send, name="api-notifications-send"),
]
