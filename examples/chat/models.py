# SPDX-License-Identifier: BSD-3-Clause
"""Conversations and their messages."""

from django.conf import settings
from django.db import models


class Conversation(models.Model):
    """People who talk with each other."""

    title = models.CharField(max_length=100)
    participants = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="conversations")

    class Meta:
        ordering = ["title", "pk"]

    def __str__(self):
        return self.title


class Message(models.Model):
    """What somebody wrote."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    sender = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="messages")
    content = models.TextField(max_length=4000)
    created_at = models.DateTimeField(auto_now_add=True)
    is_read = models.BooleanField(default=False)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.sender}: {self.content[:40]}"
