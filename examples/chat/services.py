# SPDX-License-Identifier: BSD-3-Clause
"""What can be done in a conversation; synchronous, used by the consumers and the views."""

from django.contrib.auth import get_user_model
from django.db import transaction

from chat.models import Conversation, Message
from notifications.services import notify
from realtime.groups import send_after_commit
from realtime.messages import MAX_ID, BadInput, iso

MAX_TEXT = 4000
PREVIEW = 120


def chat_group(conversation_id):
    """Name the group that gets a conversation's messages."""
    return f"chat_{conversation_id}"


def typing_group(conversation_id):
    """Name the group that hears who is typing."""
    return f"typing_{conversation_id}"


def conversation_of(user, conversation_id):
    """Return a conversation the user takes part in, or None."""
    if not 0 < conversation_id <= MAX_ID:
        return None
    return Conversation.objects.filter(pk=conversation_id, participants=user.pk).first()


def is_participant(user, conversation_id):
    """Say whether the user takes part in the conversation."""
    return conversation_of(user, conversation_id) is not None


def describe(message):
    """Return a message as clients see it."""
    return {
        "type": "message",
        "message_id": message.pk,
        "sender_id": message.sender_id,
        "sender_username": message.sender.get_username(),
        "content": message.content,
        "created_at": iso(message.created_at),
        "is_read": message.is_read,
    }


@transaction.atomic
def post_message(user_id, conversation_id, text):
    """Store a message, send it to all who are connected, and notify the other participants.

    Whoever was taken out of the conversation since connecting can no longer write: that raises BadInput.
    """
    message = Message.objects.create(conversation_id=conversation_id, sender_id=user_id, content=text)
    people = get_user_model().objects.filter(conversations=conversation_id).values_list("pk", flat=True)
    if user_id not in people:
        raise BadInput("You do not take part in this conversation.")
    event = describe(message)
    send_after_commit(chat_group(conversation_id), event)
    for person in people:
        if person != user_id:
            notify(
                person,
                "message_received",
                f"New message from {event['sender_username']}",
                text[:PREVIEW],
                {"conversation_id": conversation_id},
            )
    return event


def messages_after(conversation, message_id, limit=100):
    """Return the last @limit messages newer than @message_id, oldest first."""
    newest = conversation.messages.select_related("sender").filter(pk__gt=message_id).order_by("-pk")[:limit]
    return [describe(message) for message in reversed(newest)]


def mark_read(conversation, user):
    """Note that the user has seen what the others wrote."""
    conversation.messages.filter(is_read=False).exclude(sender=user.pk).update(is_read=True)
