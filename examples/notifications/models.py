# SPDX-License-Identifier: BSD-3-Clause
"""Notifications, kept so that a page without a socket can fetch them."""

from django.conf import settings
from django.db import models


class Notification(models.Model):
    """Something one user should know."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications")
    type = models.CharField(max_length=50)
    title = models.CharField(max_length=200)
    message = models.TextField()
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self):
        return self.title
