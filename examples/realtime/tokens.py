# SPDX-License-Identifier: BSD-3-Clause
"""JSON Web Tokens: `?token=...` instead of a session cookie.

Why in the query: browsers cannot set headers on a WebSocket. Tokens therefore live ten minutes only; they are
looked at when a connection opens, not while it lasts.
"""

import time
from urllib.parse import parse_qs

import jwt
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser

from realtime.messages import MAX_ID

ALGORITHM = "HS256"


def make_token(user, lifetime=None):
    """Return a token that stands for @user during @lifetime seconds."""
    now = int(time.time())
    lifetime = settings.TOKEN_LIFETIME if lifetime is None else lifetime
    claims = {"sub": str(user.pk), "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, settings.SECRET_KEY, algorithm=ALGORITHM)


def user_of_token(token):
    """Return the active user a token stands for, or None.

    Only our own algorithm is accepted, whatever the token's header claims, and a token must expire.
    """
    try:
        claims = jwt.decode(
            token, settings.SECRET_KEY, algorithms=[ALGORITHM], options={"require": ["exp", "iat", "sub"]}
        )
        user_id = int(claims["sub"])
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
    if not 0 < user_id <= MAX_ID:
        return None
    return get_user_model().objects.filter(pk=user_id, is_active=True).first()


class TokenAuthMiddleware:
    """Takes the identity from `?token=` when there is one; then a good cookie does not rescue a bad token."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        query = scope.get("query_string", b"").decode("latin-1")
        tokens = parse_qs(query, keep_blank_values=True).get("token")
        if tokens is not None:
            user = await database_sync_to_async(user_of_token)(tokens[0]) if len(tokens) == 1 else None
            scope = dict(scope, user=user or AnonymousUser())
        return await self.application(scope, receive, send)
