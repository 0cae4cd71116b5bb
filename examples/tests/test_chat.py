# SPDX-License-Identifier: BSD-3-Clause
"""Chat and typing."""

import re

import pytest

from chat.models import Conversation, Message
from tests.conftest import in_thread, post


async def test_message_reaches_all_and_is_stored(conversation, alice, bob, sockets):
    path = f"/ws/chat/{conversation.pk}/"
    hers, his = await sockets(path, alice), await sockets(path, bob)
    await hers.send_json_to({"message": "  Hello <b>Bob</b> \u00e9\U0001f600 "})
    received = [await hers.next(), await his.next()]
    assert received[0] == received[1]
    message = received[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message.pop("created_at"))
    stored = await in_thread(Message.objects.get)
    assert stored.content == "Hello <b>Bob</b> \u00e9\U0001f600"
    assert message == {
        "type": "message",
        "message_id": stored.pk,
        "sender_id": alice.pk,
        "sender_username": "alice",
        "content": stored.content,
        "is_read": False,
    }


async def test_conversations_are_separate(conversation, alice, bob, sockets):
    def make():
        other = Conversation.objects.create(title="Other")
        other.participants.add(alice, bob)
        return other

    other = await in_thread(make)
    elsewhere = await sockets(f"/ws/chat/{other.pk}/", bob)
    here = await sockets(f"/ws/chat/{conversation.pk}/", bob)
    await here.ask({"message": "here"})
    assert (await elsewhere.ask({"message": "there"}))["content"] == "there"


async def test_who_was_taken_out_cannot_write_any_more(conversation, bob, sockets):
    socket = await sockets(f"/ws/chat/{conversation.pk}/", bob)
    await in_thread(conversation.participants.remove, bob)
    answer = await socket.ask({"message": "still here?"})
    assert answer == {"type": "error", "message": "You do not take part in this conversation."}
    assert await in_thread(Message.objects.count) == 0


async def test_typing_is_told_to_the_others(conversation, alice, bob, sockets):
    path = f"/ws/typing/{conversation.pk}/"
    hers, his, her_other_tab = [await sockets(path, user) for user in (alice, bob, alice)]
    await hers.send_json_to({"is_typing": True})
    assert await his.next() == {"type": "typing", "username": "alice", "is_typing": True}
    await his.send_json_to({"is_typing": True})
    # What came first would be her own.
    for socket in (hers, her_other_tab):
        assert await socket.next() == {"type": "typing", "username": "bob", "is_typing": True}
    await hers.send_json_to({"is_typing": False})
    assert await his.next() == {"type": "typing", "username": "alice", "is_typing": False}


async def test_who_disconnects_does_not_type_any_more(conversation, alice, bob, sockets):
    path = f"/ws/typing/{conversation.pk}/"
    hers, his = await sockets(path, alice), await sockets(path, bob)
    await hers.send_json_to({"is_typing": True})
    assert (await his.next())["is_typing"] is True
    await hers.disconnect()
    assert await his.next() == {"type": "typing", "username": "alice", "is_typing": False}


async def test_message_over_http_reaches_the_sockets(conversation, alice, bob, sockets, client):
    socket = await sockets(f"/ws/chat/{conversation.pk}/", alice)
    await in_thread(client.force_login, bob)
    response = await in_thread(post, client, f"/api/chat/{conversation.pk}/messages/", {"message": "by post"})
    assert await socket.next() == response.json()


def test_api(client, conversation, alice, bob, carol):
    path = f"/api/chat/{conversation.pk}/messages/"
    assert client.get(path).status_code == 401
    client.force_login(carol)
    assert client.get(path).status_code == 404
    assert post(client, path, {"message": "x"}).status_code == 404
    assert client.get(f"/api/chat/{2**64}/messages/").status_code == 404
    client.force_login(bob)
    first = post(client, path, {"message": "one"}).json()
    second = post(client, path, {"message": "two"}).json()
    assert client.get(path).json() == {"messages": [first, second]}
    assert client.get(f"{path}?after={first['message_id']}").json() == {"messages": [second]}
    assert not Message.objects.filter(is_read=True).exists()
    client.force_login(alice)
    client.get(path)
    assert Message.objects.filter(is_read=True).count() == 2


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "", "9" * 30, "\u0663"])
def test_api_bad_after(client, conversation, alice, after):
    client.force_login(alice)
    assert client.get(f"/api/chat/{conversation.pk}/messages/", {"after": after}).status_code == 400


@pytest.mark.parametrize("body", ["", "x", "[]", '{"message": 1}', '{"message": " "}', b"\xff"])
def test_api_bad_body(client, conversation, alice, body):
    client.force_login(alice)
    response = client.post(f"/api/chat/{conversation.pk}/messages/", body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["type"] == "error"


def test_api_needs_a_csrf_token(conversation, alice):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert post(client, f"/api/chat/{conversation.pk}/messages/", {"message": "x"}).status_code == 403
