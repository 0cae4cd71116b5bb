# SPDX-License-Identifier: BSD-3-Clause
"""Who may connect: cookies, tokens, origins, participants."""

import base64
import json
import time

import jwt
import pytest
from django.conf import settings

from realtime.tokens import make_token
from tests.conftest import in_thread, post, refused

PATHS = ["/ws/dashboard/", "/ws/sessions/", "/ws/notifications/"]


def token_of(user, **changes):
    """Make a token by hand; a claim changed to None is left out."""
    claims = {"sub": str(user.pk), "iat": int(time.time()), "exp": int(time.time()) + 60, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, settings.SECRET_KEY, algorithm="HS256")


def unsigned(user):
    """Make a token that claims to need no signature."""

    def part(content):
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    claims = {"sub": str(user.pk), "iat": int(time.time()), "exp": int(time.time()) + 60}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


@pytest.mark.parametrize("path", PATHS)
async def test_stranger_is_refused(path, db_clean):
    assert await refused(path)


@pytest.mark.parametrize("path", PATHS)
async def test_cookie_is_an_identity(path, bob, sockets):
    await sockets(path, bob)


@pytest.mark.parametrize("path", PATHS)
async def test_token_is_an_identity(path, bob, sockets):
    await sockets(f"{path}?token={make_token(bob)}")


@pytest.mark.parametrize("path", ["/ws/chat/{}/", "/ws/typing/{}/"])
async def test_conversation_is_for_participants(path, conversation, bob, carol, sockets):
    path = path.format(conversation.pk)
    await sockets(path, bob)
    await sockets(f"{path}?token={make_token(bob)}")
    assert await refused(path)
    assert await refused(path, carol)
    assert await refused(f"{path}?token={make_token(carol)}")


@pytest.mark.parametrize("path", ["/ws/chat/{}/", "/ws/typing/{}/", "/ws/sessions/{}/"])
@pytest.mark.parametrize("number", ["0", "999999", str(2**63), "9" * 60])
async def test_unknown_id_is_refused(path, number, alice):
    assert await refused(path.format(number), alice)


async def test_session_is_for_its_owner_and_staff(session, alice, bob, carol, sockets):
    path = f"/ws/sessions/{session.pk}/"
    await sockets(path, bob)
    await sockets(path, alice)
    assert await refused(path, carol)
    assert await refused(path)


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/chat/", "/ws/chat/abc/", "/ws/dashboard", "/ws/dashboard/x"])
async def test_unknown_path_is_refused(path, alice):
    assert await refused(path, alice)


async def test_expired_token_is_refused(bob):
    assert await refused(f"/ws/dashboard/?token={make_token(bob, lifetime=-1)}")


async def test_bad_tokens_are_refused(bob):
    good = make_token(bob)
    other_key = jwt.encode({"sub": str(bob.pk), "iat": 1, "exp": 2**31}, "x" * 64, algorithm="HS256")
    other_algorithm = jwt.encode(
        {"sub": str(bob.pk), "iat": 1, "exp": 2**31}, settings.SECRET_KEY.ljust(64, "x"), algorithm="HS512"
    )
    same_key_other_algorithm = jwt.encode(
        jwt.decode(good, options={"verify_signature": False}), settings.SECRET_KEY * 2, algorithm="HS512"
    )
    bad = [
        "",
        "x",
        "a.b.c",
        "%FF%00",
        good + "x",
        good[:-4],
        unsigned(bob),
        other_key,
        other_algorithm,
        same_key_other_algorithm,
        token_of(bob, exp=None),
        token_of(bob, iat=None),
        token_of(bob, sub=None),
        token_of(bob, sub="bob"),
        token_of(bob, sub="-1"),
        token_of(bob, sub=str(2**70)),
        token_of(bob, sub="9" * 5000),
        token_of(bob, sub="999999"),
        token_of(bob, nbf=int(time.time()) + 3600),
        f"{good}&token={good}",
    ]
    for token in bad:
        assert await refused(f"/ws/dashboard/?token={token}"), token


async def test_signature_with_another_algorithm_is_refused_even_with_the_right_key(bob, settings):
    settings.SECRET_KEY = "k" * 64
    claims = {"sub": str(bob.pk), "iat": int(time.time()), "exp": int(time.time()) + 60}
    token = jwt.encode(claims, settings.SECRET_KEY, algorithm="HS512")
    assert await refused(f"/ws/dashboard/?token={token}")


async def test_bad_token_is_not_rescued_by_a_cookie(bob):
    assert await refused("/ws/dashboard/?token=x", bob)


async def test_token_decides_when_both_are_given(conversation, bob, carol, sockets):
    await sockets(f"/ws/chat/{conversation.pk}/?token={make_token(bob)}", carol)
    assert await refused(f"/ws/chat/{conversation.pk}/?token={make_token(carol)}", bob)


async def test_inactive_user_is_refused(bob):
    token = make_token(bob)
    bob.is_active = False
    await in_thread(bob.save)
    assert await refused(f"/ws/dashboard/?token={token}")
    assert await refused("/ws/dashboard/", bob)


async def test_clients_that_are_no_browser_send_no_origin_and_are_served(bob):
    assert not await refused(f"/ws/dashboard/?token={make_token(bob)}", origin=None)


@pytest.mark.parametrize("origin", [b"http://evil.example", b"null"])
async def test_other_origins_are_refused(origin, bob):
    assert await refused("/ws/dashboard/", bob, origin=origin)
    assert await refused(f"/ws/dashboard/?token={make_token(bob)}", origin=origin)


def test_token_by_password(client, bob):
    response = post(client, "/api/token/", {"username": "bob", "password": "bob"})
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    content = response.json()
    assert content["expires_in"] == settings.TOKEN_LIFETIME
    claims = jwt.decode(content["token"], settings.SECRET_KEY, algorithms=["HS256"])
    assert claims["sub"] == str(bob.pk)
    assert claims["exp"] - claims["iat"] == settings.TOKEN_LIFETIME


def test_token_by_session(client, bob):
    client.force_login(bob)
    assert "token" in post(client, "/api/token/", {}).json()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"username": "bob", "password": "wrong"}, 401),
        ({"username": "nobody", "password": "bob"}, 401),
        ({}, 401),
        ({"username": "bob"}, 400),
        ({"username": 1, "password": []}, 400),
        ([], 400),
    ],
)
def test_token_refused(client, bob, body, status):
    response = post(client, "/api/token/", body)
    assert response.status_code == status
    assert response.json()["type"] == "error"


def test_token_wrong_method(client):
    response = client.get("/api/token/")
    assert response.status_code == 405
    assert response["Allow"] == "POST"
