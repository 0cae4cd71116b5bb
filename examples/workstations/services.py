# SPDX-License-Identifier: BSD-3-Clause
"""What can be done with sessions and workstations; synchronous, used by consumers, views and the admin.

Each change begins with a conditional UPDATE: the database decides who was first, on any backend, and a transaction
on SQLite holds its write lock before it reads. Messages leave after the commit.
"""

import ipaddress
from datetime import timedelta

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from realtime.groups import send_after_commit
from realtime.messages import MAX_ID, BadInput, iso
from workstations.models import AccessSession, Workstation
from workstations.signals import state_changed

LIST_GROUP = "sessions"
FERMETURE_NORMALE = "fermeture_normale"
TEMPS_ECOULE = "temps_ecoule"
REASONS = {
    FERMETURE_NORMALE: "The session was closed.",
    TEMPS_ECOULE: "The time is used up.",
}
WRONG_CODES_ALLOWED = 10
WRONG_CODES_SECONDS = 60


def session_group(session_id):
    """Name the group of those who follow one session."""
    return f"session_{session_id}"


def describe(session):
    """Return a session as in `code_valid`."""
    return {
        "id": session.pk,
        "code_acces": session.code_acces,
        "utilisateur": session.utilisateur.get_username(),
        "poste": session.poste.nom if session.poste else None,
        "duree_initiale": session.duree_initiale,
        "temps_restant": session.temps_restant,
        "statut": session.statut,
    }


def time_update(session):
    """Return the message that tells how much time is left."""
    left = session.temps_restant
    return {
        "type": "time_update",
        "temps_restant": left,
        "temps_restant_minutes": left // 60,
        "pourcentage_utilise": session.pourcentage_utilise,
        "statut": session.statut,
    }


def get(session_id):
    """Return a session with its user and workstation, or None."""
    if not 0 < session_id <= MAX_ID:
        return None
    return AccessSession.objects.select_related("utilisateur", "poste").filter(pk=session_id).first()


def visible_to(user):
    """Return the sessions a user may see: staff all, others their own."""
    sessions = AccessSession.objects.select_related("utilisateur", "poste")
    return sessions if user.is_staff else sessions.filter(utilisateur_id=user.pk)


def may_see(user, session_id):
    """Say whether a user may follow a session."""
    return 0 < session_id <= MAX_ID and visible_to(user).filter(pk=session_id).exists()


def find_by_code(user_id, code, ip_address):
    """Return the session an access code opens; raise BadInput for a wrong code or workstation.

    Holding the code is the right to use the session, so wrong codes are counted per user against guessing.
    """
    failures_key = f"wrong-codes:{user_id}"
    if cache.get(failures_key, 0) >= WRONG_CODES_ALLOWED:
        raise BadInput("Too many wrong codes; wait a minute.")
    session = AccessSession.objects.select_related("utilisateur", "poste").filter(code_acces=code.upper()).first()
    if session is None:
        cache.add(failures_key, 0, WRONG_CODES_SECONDS)
        cache.incr(failures_key)
        raise BadInput("Unknown access code.")
    if session.statut == AccessSession.TERMINEE:
        raise BadInput("This session has ended.")
    if session.temps_restant == 0:
        raise BadInput("No time is left on this code.")
    return session if ip_address is None else _bind(session, ip_address)


def _bind(session, ip_address):
    """Return @session, tied to the workstation with this address if it had none; raise BadInput if it has another."""
    try:
        address = str(ipaddress.ip_address(ip_address))
    except ValueError:
        raise BadInput('"ip_address" is not an IP address.') from None
    poste = Workstation.objects.filter(adresse_ip=address).first()
    if poste is None:
        raise BadInput("No workstation has this address.")
    if session.poste is None:
        AccessSession.objects.filter(pk=session.pk, poste=None).update(poste=poste)
        session = get(session.pk)
    if session is None or session.poste_id != poste.pk:
        raise BadInput("This code is for another workstation.")
    return session


@transaction.atomic
def start(session_id):
    """Start a waiting session and tell everybody who follows it; raise BadInput if it cannot be started."""
    now = timezone.now()
    waiting = AccessSession.objects.filter(pk=session_id, statut=AccessSession.EN_ATTENTE)
    if not waiting.update(statut=AccessSession.ACTIVE, debut_session=now):
        raise BadInput("This session is not waiting to be started.")
    session = get(session_id)
    left = session.duree_initiale - session.temps_utilise
    if left <= 0:
        raise BadInput("No time is left on this code.")
    if session.poste is not None:
        running = AccessSession.objects.filter(poste_id=session.poste_id, statut=AccessSession.ACTIVE)
        if running.exclude(pk=session_id).exists():
            raise BadInput("The workstation is in use.")
        Workstation.objects.filter(pk=session.poste_id).update(statut=Workstation.OCCUPE)
    session.fin_prevue = now + timedelta(seconds=left)
    AccessSession.objects.filter(pk=session_id).update(fin_prevue=session.fin_prevue)
    event = {
        "type": "session_started",
        "session": {
            "id": session.pk,
            "statut": session.statut,
            "temps_restant": session.temps_restant,
            "debut_session": iso(now),
        },
    }
    send_after_commit(session_group(session_id), event)
    send_after_commit(LIST_GROUP, event)
    state_changed.send(sender=AccessSession)


@transaction.atomic
def end(session_id, raison):
    """End a running session, free its workstation and tell everybody; False if it was not running."""
    now = timezone.now()
    running = AccessSession.objects.filter(pk=session_id, statut=AccessSession.ACTIVE)
    if not running.update(statut=AccessSession.TERMINEE, fin_session=now):
        return False
    session = get(session_id)
    # The end that was planned, if it has passed: nobody may have looked for a while.
    ended = min(now, session.fin_prevue or now)
    used = session.temps_utilise + max(0, round((ended - (session.debut_session or ended)).total_seconds()))
    AccessSession.objects.filter(pk=session_id).update(
        fin_session=ended, temps_utilise=min(used, session.duree_initiale)
    )
    Workstation.objects.filter(pk=session.poste_id, statut=Workstation.OCCUPE).update(statut=Workstation.DISPONIBLE)
    event = {"type": "session_terminated", "raison": raison, "message": REASONS[raison]}
    send_after_commit(session_group(session_id), event)
    # A list is about many sessions, so there the message also says which one.
    send_after_commit(LIST_GROUP, dict(event, session_id=session_id))
    state_changed.send(sender=AccessSession)
    return True


def heartbeat(session_id, connexion):
    """Note that a session's workstation is alive on this connection; return its id, or None without one."""
    session = get(session_id)
    if session is None or session.poste_id is None:
        return None
    poste = Workstation.objects.filter(pk=session.poste_id)
    poste.update(connexion=connexion, dernier_signal=timezone.now())
    running = AccessSession.objects.filter(poste_id=session.poste_id, statut=AccessSession.ACTIVE).exists()
    back = Workstation.OCCUPE if running else Workstation.DISPONIBLE
    if poste.filter(statut=Workstation.HORS_LIGNE).update(statut=back):
        state_changed.send(sender=Workstation)
    return session.poste_id


def lost(poste_id, connexion):
    """Mark a workstation disconnected, unless another connection has spoken for it since."""
    mine = Workstation.objects.filter(pk=poste_id, connexion=connexion)
    if mine.exclude(statut=Workstation.HORS_LIGNE).update(statut=Workstation.HORS_LIGNE, connexion=""):
        state_changed.send(sender=Workstation)


def sweep():
    """Catch up with the clock: end sessions and drop workstations that nobody watched while it ran."""
    now = timezone.now()
    due = AccessSession.objects.filter(statut=AccessSession.ACTIVE, fin_prevue__lte=now)
    for session_id in due.values_list("pk", flat=True):
        end(session_id, TEMPS_ECOULE)
    oldest = now - timedelta(seconds=settings.HEARTBEAT_TIMEOUT)
    silent = Workstation.objects.filter(dernier_signal__lt=oldest).exclude(connexion="")
    if silent.exclude(statut=Workstation.HORS_LIGNE).update(statut=Workstation.HORS_LIGNE, connexion=""):
        state_changed.send(sender=Workstation)
