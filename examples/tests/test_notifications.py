# SPDX-License-Identifier: BSD-3-Clause
"""Notifications."""

import pytest

from notifications.models import Notification
from notifications.services import notify
from tests.conftest import in_thread, post


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("message_received", {"conversation_id": 123}),
        ("payment_completed", {"payment_id": 789}),
        ("listing_published", {"listing_id": 456}),
        ("send", {}),  # Also the name of a method; events are not mixed up with methods.
        ("disconnect", {}),
        ("anything_else", {"nested": [1, {"a": None}]}),
    ],
)
async def test_each_type_reaches_its_user_and_nobody_else(kind, data, alice, bob, sockets):
    his, hers = await sockets("/ws/notifications/", bob), await sockets("/ws/notifications/", alice)
    await in_thread(notify, bob.pk, kind, "A title", "A text", data)
    assert await his.next() == {"type": kind, "title": "A title", "message": "A text", "data": data}
    assert await hers.receive_nothing()


@pytest.mark.parametrize("kind", ["", "websocket.disconnect", "a.b", "_private", "A", "x" * 60])
def test_types_of_the_protocol_are_refused(kind, bob):
    with pytest.raises(ValueError, match="not a notification type"):
        notify(bob.pk, kind, "t", "m", {})
    assert not Notification.objects.exists()


async def test_chat_message_notifies_the_other_participant(conversation, alice, bob, sockets):
    his, hers = await sockets("/ws/notifications/", bob), await sockets("/ws/notifications/", alice)
    chat = await sockets(f"/ws/chat/{conversation.pk}/", alice)
    await chat.ask({"message": "x" * 500})
    assert await his.next() == {
        "type": "message_received",
        "title": "New message from alice",
        "message": "x" * 120,
        "data": {"conversation_id": conversation.pk},
    }
    assert await hers.receive_nothing()


async def test_button_reaches_the_socket(bob, sockets, client):
    socket = await sockets("/ws/notifications/", bob)
    await in_thread(client.force_login, bob)
    body = {"type": "payment_completed", "user_id": bob.pk, "message": "Five coins"}
    response = await in_thread(post, client, "/api/notifications/send/", body)
    assert response.json() == {"sent": True}
    assert await socket.next() == {
        "type": "payment_completed",
        "title": "Payment completed",
        "message": "Five coins",
        "data": {"payment_id": 789},
    }


def test_sample_message_names_a_conversation_both_take_part_in(client, conversation, alice, bob, carol):
    client.force_login(alice)
    for user, data in ((bob, {"conversation_id": conversation.pk}), (carol, {})):
        body = {"type": "message_received", "user_id": user.pk}
        assert post(client, "/api/notifications/send/", body).status_code == 200
        assert user.notifications.get().data == data


def test_whom_one_may_notify(client, conversation, alice, bob, carol):
    def status(sender, receiver):
        client.force_login(sender)
        body = {"type": "listing_published", "user_id": receiver.pk}
        return post(client, "/api/notifications/send/", body).status_code

    assert status(alice, carol) == 200  # Staff: everybody.
    assert status(bob, bob) == 200
    assert status(bob, alice) == 200  # They have a conversation.
    assert status(bob, carol) == 403
    assert status(carol, bob) == 403


def test_api(client, bob, carol):
    assert client.get("/api/notifications/").status_code == 401
    notify(bob.pk, "first", "One", "1", {})
    notify(bob.pk, "second", "Two", "2", {"a": 1})
    notify(carol.pk, "third", "Three", "3", {})
    client.force_login(bob)
    listed = client.get("/api/notifications/").json()["notifications"]
    assert [(item["type"], item["data"]) for item in listed] == [("second", {"a": 1}), ("first", {})]
    for body in ({}, {"type": "x"}, {"type": "listing_published"}, {"type": "listing_published", "user_id": "1"}):
        assert post(client, "/api/notifications/send/", body).status_code == 400
