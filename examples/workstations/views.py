# SPDX-License-Identifier: BSD-3-Clause
"""The pages about sessions, and what they ask over HTTP."""

from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.shortcuts import render

from realtime.http import error, json_view
from workstations import services
from workstations.models import Workstation


def _visible(user, session_id):
    session = services.get(session_id)
    if session is None or not services.may_see(user, session_id):
        return None
    return session


@login_required
def session_list(request):
    """Show the sessions, and a form for an access code."""
    services.sweep()
    return render(
        request,
        "sessions.html",
        {
            "sessions": [services.describe(session) for session in services.visible_to(request.user)[:100]],
            "workstations": Workstation.objects.exclude(adresse_ip=None),
        },
    )


@login_required
def session_detail(request, session_id):
    """Show one session."""
    services.sweep()
    session = _visible(request.user, session_id)
    if session is None:
        raise Http404("No such session.")
    return render(request, "session.html", {"session": services.describe(session)})


@json_view("GET")
def api_list(request):
    """List the sessions the user may see, newest first."""
    services.sweep()
    return {"sessions": [services.describe(session) for session in services.visible_to(request.user)[:100]]}


@json_view("GET")
def api_time(request, session_id):
    """Answer what `get_time` answers."""
    services.sweep()
    session = _visible(request.user, session_id)
    if session is None:
        return error("Unknown session.", 404)
    return services.time_update(session)


@json_view("POST")
def api_end(request, session_id):
    """End a running session."""
    if _visible(request.user, session_id) is None:
        return error("Unknown session.", 404)
    if not services.end(session_id, services.FERMETURE_NORMALE):
        return error("This session is not running.", 409)
    return services.time_update(services.get(session_id))
