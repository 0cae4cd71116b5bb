# SPDX-License-Identifier: BSD-3-Clause
"""The front page, and tokens for clients that have no cookie."""

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.decorators import login_required
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from realtime.http import error, json_body, json_view
from realtime.messages import text_field
from realtime.tokens import make_token


@login_required
def index(request):
    """Link everything there is to see."""
    return render(request, "index.html")


@csrf_exempt  # It changes nothing, and other sites cannot read the answer.
@json_view("POST", login=False)
def token(request):
    """Give a token to whoever sends a user name and a password, or has a session."""
    body = json_body(request)
    if body:
        user = authenticate(
            request,
            username=text_field(body, "username", 150),
            password=text_field(body, "password", 1000),
        )
    else:
        user = request.user if request.user.is_authenticated else None
    if user is None:
        return error("Unknown user name or wrong password.", 401)
    return {"token": make_token(user), "expires_in": settings.TOKEN_LIFETIME}
