# SPDX-License-Identifier: BSD-3-Clause
"""Sessions: codes, the clock, warnings, the end, and workstations that fall silent."""

import re
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.utils import timezone

from tests.conftest import in_thread, logged_in, post
from workstations import services
from workstations.models import AccessSession, Workstation

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def poste_statut(poste):
    """Read a workstation's status again."""
    return Workstation.objects.get(pk=poste.pk).statut


def quick(session, seconds):
    """Leave only so many seconds on a session."""
    AccessSession.objects.filter(pk=session.pk).update(temps_utilise=session.duree_initiale - seconds)


async def validate(socket):
    """Give the code of the fixture's session."""
    return await socket.ask({"type": "validate_code", "code": "ABC123", "ip_address": "192.168.1.101"})


async def test_validate_code(session, carol, sockets):
    socket = await sockets("/ws/sessions/", carol)
    assert await validate(socket) == {
        "type": "code_valid",
        "session": {
            "id": session.pk,
            "code_acces": "ABC123",
            "utilisateur": "bob",
            "poste": "Poste 1",
            "duree_initiale": 7200,
            "temps_restant": 5400,
            "statut": "en_attente",
        },
    }


async def test_code_is_for_one_workstation(session, bob, sockets):
    await in_thread(lambda: Workstation.objects.create(nom="Poste 2", adresse_ip="192.168.1.102"))
    socket = await sockets("/ws/sessions/", bob)
    answer = await socket.ask({"type": "validate_code", "code": "abc123", "ip_address": "192.168.1.102"})
    assert answer == {"type": "error", "message": "This code is for another workstation."}


async def test_session_without_workstation_gets_the_one_it_is_opened_on(session, poste, bob, sockets):
    await in_thread(lambda: AccessSession.objects.update(poste=None))
    socket = await sockets("/ws/sessions/", bob)
    answer = await validate(socket)
    assert answer["session"]["poste"] == "Poste 1"


async def test_start_session(session, poste, alice, bob, sockets):
    everything = await sockets("/ws/sessions/", alice)
    one = await sockets(f"/ws/sessions/{session.pk}/", bob)
    started = await one.ask({"type": "start_session", "session_id": session.pk})
    assert re.fullmatch(ISO, started["session"].pop("debut_session"))
    assert started == {
        "type": "session_started",
        "session": {"id": session.pk, "statut": "active", "temps_restant": 5400},
    }
    assert (await everything.next())["type"] == "session_started"
    assert await in_thread(poste_statut, poste) == "occupe"
    again = await one.ask({"type": "start_session", "session_id": session.pk})
    assert again["type"] == "error"


async def test_stranger_starts_a_session_only_with_its_code(session, carol, sockets):
    socket = await sockets("/ws/sessions/", carol)
    start = {"type": "start_session", "session_id": session.pk}
    assert await socket.ask(start) == {"type": "error", "message": "Unknown session."}
    assert (await socket.ask(dict(start, type="get_time")))["type"] == "error"
    await validate(socket)
    assert (await socket.ask(start))["type"] == "session_started"


async def test_list_is_told_to_everybody_once(session, alice, bob, carol, sockets):
    socket = await sockets("/ws/sessions/", bob)
    others = [await sockets("/ws/sessions/", person) for person in (alice, carol)]
    started = await socket.ask({"type": "start_session", "session_id": session.pk})
    assert (started["type"], started["session"]["id"]) == ("session_started", session.pk)
    for other in others:
        assert await other.next() == started
    await in_thread(services.end, session.pk, services.FERMETURE_NORMALE)
    ended = {"type": "session_terminated", "raison": "fermeture_normale", "message": "The session was closed."}
    assert await socket.next() == ended
    for other in others:
        assert await other.next() == dict(ended, session_id=session.pk)
    for one in (socket, *others):
        assert await one.receive_nothing()


GROUP_EVENTS = [
    {
        "type": "time_update",
        "temps_restant": 5340,
        "temps_restant_minutes": 89,
        "pourcentage_utilise": 1,
        "statut": "active",
    },
    {"type": "time_warning", "temps_restant": 60, "temps_restant_minutes": 1, "message": "Only 1 min left."},
    {"type": "code_valid", "session": {"id": 1, "code_acces": "ABC123", "statut": "en_attente"}},
    {"type": "session_started", "session": {"id": 1, "statut": "active", "temps_restant": 5400}},
    {"type": "session_started"},
    {"type": "session_terminated", "raison": "fermeture_normale", "message": "Closed."},
    {"type": "session_terminated", "session_id": 999_999, "raison": "fermeture_normale", "message": "Closed."},
    {"type": "heartbeat_ack", "timestamp": "2025-11-19T10:30:00Z"},
    {"type": "heartbeat"},
    {"type": "something.new", "data": [1]},
]


@pytest.mark.parametrize("event", GROUP_EVENTS, ids=lambda event: event["type"])
async def test_what_anybody_sends_to_the_groups_arrives_unchanged(event, session, bob, carol, sockets):
    on_list = await sockets("/ws/sessions/", carol)
    one = await sockets(f"/ws/sessions/{session.pk}/", bob)
    opened_by_code = await sockets("/ws/sessions/", carol)
    await validate(opened_by_code)
    layer = get_channel_layer()
    await layer.group_send("sessions", event)
    assert await on_list.next() == event
    assert await opened_by_code.next() == event
    assert await one.receive_nothing()
    await in_thread(async_to_sync(layer.group_send), f"session_{session.pk}", dict(event, other=1))
    assert await one.next() == dict(event, other=1)
    assert await opened_by_code.next() == dict(event, other=1)
    assert await on_list.receive_nothing()


async def test_get_time(session, bob, sockets):
    socket = await sockets("/ws/sessions/", bob)
    ask = {"type": "get_time", "session_id": session.pk}
    assert await socket.ask(ask) == {
        "type": "time_update",
        "temps_restant": 5400,
        "temps_restant_minutes": 90,
        "pourcentage_utilise": 0,
        "statut": "en_attente",
    }
    await socket.ask(dict(ask, type="start_session"))
    later = timezone.now() + timedelta(seconds=5339.5)
    await in_thread(lambda: AccessSession.objects.update(fin_prevue=later))
    answer = await socket.ask(ask)
    assert (answer["statut"], answer["pourcentage_utilise"]) == ("active", 1)
    assert (answer["temps_restant"], answer["temps_restant_minutes"]) in ((5340, 89), (5339, 88))


async def test_warnings_and_the_end(session, poste, alice, bob, sockets, settings):
    settings.SESSION_WARNINGS = (0.8, 0.4)
    await in_thread(quick, session, 1)
    everything = await sockets("/ws/sessions/", alice)
    one = await sockets(f"/ws/sessions/{session.pk}/", bob)
    second = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await one.send_json_to({"type": "start_session", "session_id": session.pk})
    for socket in (one, second):
        assert (await socket.next())["type"] == "session_started"
        for _ in settings.SESSION_WARNINGS:
            warning = await socket.next()
            assert warning == {
                "type": "time_warning",
                "temps_restant": 1,
                "temps_restant_minutes": 0,
                "message": "Only 1 s left.",
            }
        assert await socket.next() == {
            "type": "session_terminated",
            "raison": "temps_ecoule",
            "message": "The time is used up.",
        }
        answer = await socket.ask({"type": "get_time", "session_id": session.pk})
        assert (answer["temps_restant"], answer["statut"], answer["pourcentage_utilise"]) == (0, "terminee", 100)
    assert (await everything.next())["type"] == "session_started"
    assert (await everything.next())["session_id"] == session.pk
    assert await everything.receive_nothing()
    assert await in_thread(poste_statut, poste) == "disponible"


async def test_workstation_on_the_list_can_tell_its_own_end_from_others(session, bob, carol, sockets):
    socket = await sockets("/ws/sessions/", carol)
    await validate(socket)
    other = await in_thread(
        lambda: AccessSession.objects.create(code_acces="OTHER1", utilisateur=bob, duree_initiale=60)
    )
    await in_thread(services.start, other.pk)
    await in_thread(services.end, other.pk, services.FERMETURE_NORMALE)
    assert (await socket.next())["session"]["id"] == other.pk
    assert (await socket.next())["session_id"] == other.pk
    await in_thread(services.start, session.pk)
    assert (await socket.next())["session"]["id"] == session.pk
    await in_thread(services.end, session.pk, services.FERMETURE_NORMALE)
    ended = await socket.next()
    assert (ended["raison"], ended.get("session_id", session.pk)) == ("fermeture_normale", session.pk)
    assert await socket.receive_nothing()


async def test_less_time_given_by_the_admin_is_noticed(session, alice, bob, sockets, settings):
    settings.SESSION_RECHECK = 0.05
    socket = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await socket.ask({"type": "start_session", "session_id": session.pk})
    await in_thread(lambda: AccessSession.objects.update(fin_prevue=timezone.now()))
    assert (await socket.next())["raison"] == "temps_ecoule"


async def test_heartbeat_is_answered(session, bob, sockets):
    for path in ("/ws/sessions/", f"/ws/sessions/{session.pk}/"):
        socket = await sockets(path, bob)
        answer = await socket.ask({"type": "heartbeat"})
        assert answer["type"] == "heartbeat_ack"
        assert re.fullmatch(ISO, answer["timestamp"])


async def test_missed_heartbeats_mark_the_workstation_disconnected(session, poste, alice, bob, sockets, settings):
    settings.HEARTBEAT_TIMEOUT = 0.3
    dashboard = await sockets("/ws/dashboard/", alice)
    socket = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await socket.ask({"type": "heartbeat"})
    await dashboard.next_where(lambda message: message["data"]["postes"]["hors_ligne"] == 1)
    settings.HEARTBEAT_TIMEOUT = 60
    await socket.ask({"type": "heartbeat"})
    await dashboard.next_where(lambda message: message["data"]["postes"]["hors_ligne"] == 0)
    assert await in_thread(poste_statut, poste) == "disponible"


async def test_lost_connection_marks_the_workstation_disconnected(session, poste, bob, sockets):
    socket = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await socket.ask({"type": "start_session", "session_id": session.pk})
    await socket.ask({"type": "heartbeat"})
    await socket.disconnect()
    assert await in_thread(poste_statut, poste) == "hors_ligne"
    onlooker = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await onlooker.ask({"type": "get_time", "session_id": session.pk})
    assert await in_thread(poste_statut, poste) == "hors_ligne"
    await onlooker.ask({"type": "heartbeat"})
    assert await in_thread(poste_statut, poste) == "occupe"


async def test_reconnected_workstation_survives_the_end_of_its_old_connection(session, poste, bob, sockets):
    old = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await old.ask({"type": "heartbeat"})
    new = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await new.ask({"type": "heartbeat"})
    await old.disconnect()
    assert await in_thread(poste_statut, poste) == "disponible"


async def test_nothing_is_left_running_after_a_disconnect(session, bob, sockets):
    import asyncio

    before = asyncio.all_tasks()
    socket = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await socket.ask({"type": "start_session", "session_id": session.pk})
    await socket.ask({"type": "heartbeat"})
    names = {task.get_coro().__name__ for task in asyncio.all_tasks() - before}
    assert {"watch_clock", "watch_heartbeats"} <= names
    await socket.disconnect()
    names = {task.get_coro().__name__ for task in asyncio.all_tasks() - before}
    assert not {"watch_clock", "watch_heartbeats"} & names


@pytest.mark.parametrize(
    ("paid", "used", "left", "percent"),
    [(5400, 0, 5400, 0), (5400, 0, 5340, 1), (7200, 1800, 5340, 1), (7200, 1800, 2700, 50), (7200, 1800, 0, 100)],
)
def test_percentage_is_of_the_time_left_at_the_start(paid, used, left, percent):
    now = timezone.now()
    ran = timedelta(seconds=paid - used - left)
    running = AccessSession(
        duree_initiale=paid,
        temps_utilise=used,
        statut="active",
        debut_session=now - ran,
    )
    running.seconds_left = lambda: float(left)
    assert running.pourcentage_utilise == percent
    ended = AccessSession(
        duree_initiale=paid,
        temps_utilise=paid - left,
        statut="terminee",
        debut_session=now - ran,
        fin_session=now,
    )
    assert ended.pourcentage_utilise == percent


def test_percentage_without_a_run():
    assert AccessSession(duree_initiale=60, temps_utilise=30).pourcentage_utilise == 0
    assert AccessSession(duree_initiale=60, temps_utilise=30, statut="terminee").pourcentage_utilise == 0
    assert AccessSession(duree_initiale=60, temps_utilise=60).pourcentage_utilise == 100


def test_two_sessions_cannot_run_on_one_workstation(session, poste, bob):
    services.start(session.pk)
    other = AccessSession.objects.create(code_acces="X", utilisateur=bob, poste=poste, duree_initiale=60)
    with pytest.raises(services.BadInput, match="in use"):
        services.start(other.pk)
    other.refresh_from_db()
    assert (other.statut, other.debut_session) == ("en_attente", None)


def test_used_up_or_ended_codes_are_refused(session, bob):
    quick(session, 0)
    with pytest.raises(services.BadInput, match="No time"):
        services.find_by_code(bob.pk, "ABC123", None)
    with pytest.raises(services.BadInput, match="No time"):
        services.start(session.pk)
    AccessSession.objects.update(statut="terminee")
    with pytest.raises(services.BadInput, match="ended"):
        services.find_by_code(bob.pk, "ABC123", None)


def test_sweep_ends_what_nobody_watched(session, poste):
    services.start(session.pk)
    past = timezone.now() - timedelta(hours=1)
    AccessSession.objects.update(debut_session=past - timedelta(seconds=5400), fin_prevue=past)
    silent = Workstation.objects.create(nom="Poste 2", connexion="gone", dernier_signal=past)
    services.sweep()
    session.refresh_from_db()
    assert (session.statut, session.fin_session, session.temps_utilise) == ("terminee", past, 7200)
    assert poste_statut(poste) == "disponible"
    assert poste_statut(silent) == "hors_ligne"


def test_ending_early_keeps_the_rest(session):
    services.start(session.pk)
    AccessSession.objects.update(debut_session=timezone.now() - timedelta(seconds=400))
    assert services.end(session.pk, services.FERMETURE_NORMALE)
    assert not services.end(session.pk, services.FERMETURE_NORMALE)
    session.refresh_from_db()
    assert 2199 <= session.temps_utilise <= 2202


async def test_ending_in_the_admin_tells_the_workstation(session, alice, bob, sockets):
    socket = await sockets(f"/ws/sessions/{session.pk}/", bob)
    await socket.ask({"type": "start_session", "session_id": session.pk})
    client = await in_thread(logged_in, alice)
    form = {
        "code_acces": "ABC123",
        "utilisateur": bob.pk,
        "poste": session.poste_id,
        "duree_initiale": 7200,
        "temps_utilise": 1800,
        "statut": "terminee",
        "debut_session_0": timezone.now().strftime("%Y-%m-%d"),
        "debut_session_1": timezone.now().strftime("%H:%M:%S"),
    }
    path = f"/admin/workstations/accesssession/{session.pk}/change/"
    response = await in_thread(client.post, path, form)
    assert response.status_code == 302, response.content.decode()
    assert (await socket.next())["type"] == "session_terminated"


def test_admin_action_ends_sessions(session, client, alice):
    services.start(session.pk)
    client.force_login(alice)
    form = {"action": "end_sessions", "_selected_action": [session.pk]}
    assert client.post("/admin/workstations/accesssession/", form).status_code == 302
    session.refresh_from_db()
    assert session.statut == "terminee"


def test_api(client, session, alice, bob, carol):
    path = f"/api/sessions/{session.pk}/"
    assert client.get("/api/sessions/").status_code == 401
    client.force_login(carol)
    assert client.get("/api/sessions/").json() == {"sessions": []}
    assert client.get(path).status_code == 404
    assert client.post(f"{path}end/").status_code == 404
    client.force_login(bob)
    assert client.get("/api/sessions/").json()["sessions"][0]["code_acces"] == "ABC123"
    assert client.get(path).json()["temps_restant"] == 5400
    assert client.get(f"/api/sessions/{2**64}/").status_code == 404
    assert post(client, f"{path}end/", {}).status_code == 409
    services.start(session.pk)
    assert post(client, f"{path}end/", {}).json()["statut"] == "terminee"
    client.force_login(alice)
    assert len(client.get("/api/sessions/").json()["sessions"]) == 1
