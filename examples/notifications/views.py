# SPDX-License-Identifier: BSD-3-Clause
"""The page of notifications, the list over HTTP, and a way to send one."""

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import Q
from django.shortcuts import render

from chat.models import Conversation
from notifications.services import notify
from realtime.http import error, json_body, json_view
from realtime.messages import BadInput, id_field, iso, text_field

SAMPLES = {
    "message_received": ("New message", "Somebody wrote to you.", {}),
    "payment_completed": ("Payment completed", "Your payment was received.", {"payment_id": 789}),
    "listing_published": ("Listing published", "Your listing is online.", {"listing_id": 456}),
}


def recipients(user):
    """Return whom a user may notify: staff everybody, others themselves and whom they talk with."""
    people = get_user_model().objects.filter(is_active=True).order_by("username")
    if user.is_staff:
        return people
    return people.filter(Q(pk=user.pk) | Q(conversations__in=user.conversations.all())).distinct()


@login_required
def notification_page(request):
    """Show notifications as they come."""
    context = {"recipients": recipients(request.user)[:100], "kinds": list(SAMPLES)}
    return render(request, "notifications.html", context)


@json_view("GET")
def api_list(request):
    """List the user's last notifications, newest first."""
    return {
        "notifications": [
            {
                "type": notification.type,
                "title": notification.title,
                "message": notification.message,
                "data": notification.data,
                "created_at": iso(notification.created_at),
            }
            for notification in request.user.notifications.all()[:50]
        ]
    }


@json_view("POST")
def api_send(request):
    """Send a sample notification to one user, with a text of one's own if there is one."""
    body = json_body(request)
    kind = text_field(body, "type", 50)
    if kind not in SAMPLES:
        raise BadInput('"type" must be one of ' + ", ".join(SAMPLES) + ".")
    user_id = id_field(body, "user_id")
    text = text_field(body, "message", 500, required=False)
    if not recipients(request.user).filter(pk=user_id).exists():
        return error("You may not notify this user.", 403)
    title, message, data = SAMPLES[kind]
    if kind == "message_received":
        shared = request.user.conversations.filter(pk__in=Conversation.objects.filter(participants=user_id)).first()
        data = {"conversation_id": shared.pk} if shared else {}
    with transaction.atomic():
        notify(user_id, kind, title, text or message, data)
    return {"sent": True}
