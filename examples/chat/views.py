# SPDX-License-Identifier: BSD-3-Clause
"""The pages of the chat, and its messages over HTTP."""

from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.shortcuts import render

from chat import services
from realtime.http import error, json_body, json_view
from realtime.messages import MAX_ID, BadInput, text_field


@login_required
def conversation_list(request):
    """List the conversations of the user."""
    conversations = request.user.conversations.prefetch_related("participants")
    return render(request, "conversations.html", {"conversations": conversations})


@login_required
def conversation_detail(request, conversation_id):
    """Show one conversation."""
    conversation = services.conversation_of(request.user, conversation_id)
    if conversation is None:
        raise Http404("No such conversation.")
    services.mark_read(conversation, request.user)
    data = {
        "conversation_id": conversation.pk,
        "user_id": request.user.pk,
        "messages": services.messages_after(conversation, 0),
    }
    return render(request, "chat.html", {"conversation": conversation, "chat_data": data})


@json_view("GET", "POST")
def api_messages(request, conversation_id):
    """Return what is newer than `?after=`, or store a message: all a page without a socket needs."""
    conversation = services.conversation_of(request.user, conversation_id)
    if conversation is None:
        return error("Unknown conversation.", 404)
    if request.method == "POST":
        text = text_field(json_body(request), "message", services.MAX_TEXT)
        return services.post_message(request.user.pk, conversation_id, text)
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 20 and int(after) <= MAX_ID):
        raise BadInput('"after" must be a whole number.')
    services.mark_read(conversation, request.user)
    return {"messages": services.messages_after(conversation, int(after))}
