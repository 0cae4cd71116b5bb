# SPDX-License-Identifier: BSD-3-Clause
"""The dashboard: counts, pushes on change, and the limit on their rate."""

import asyncio
import re
import threading
from datetime import timedelta

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from dashboard.publisher import ATTEMPTS, Publisher
from dashboard.stats import collect_stats
from tests.conftest import TIMEOUT, in_thread, logged_in, published
from workstations.models import AccessSession, Workstation


async def test_get_stats(alice, session, sockets):
    socket = await sockets("/ws/dashboard/", alice)
    answer = await socket.ask({"type": "get_stats"})
    assert answer["type"] == "stats_update"
    data = answer["data"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", data.pop("timestamp"))
    assert data == {
        "utilisateurs": {"total": 2, "actifs": 2, "nouveaux_mois": 2},
        "sessions": {"total": 1, "actives": 0, "en_attente": 1, "terminees_aujourd_hui": 0},
        "postes": {"total": 1, "disponibles": 1, "occupes": 0, "hors_ligne": 0},
    }


def test_counts(bob, carol):
    long_ago = timezone.now() - timedelta(days=40)
    get_user_model().objects.filter(pk=carol.pk).update(is_active=False, date_joined=long_ago)
    for number, statut in enumerate(["disponible", "disponible", "occupe", "hors_ligne"]):
        Workstation.objects.create(nom=f"Poste {number}", statut=statut)
    now = timezone.now()
    ended = [now, now - timedelta(days=2)]
    for number, statut in enumerate(["en_attente", "active", "active", "terminee", "terminee"]):
        AccessSession.objects.create(
            code_acces=f"C{number}",
            utilisateur=bob,
            duree_initiale=60,
            statut=statut,
            fin_session=ended.pop() if statut == "terminee" else None,
        )
    data = collect_stats()
    assert data["utilisateurs"] == {"total": 2, "actifs": 1, "nouveaux_mois": 1}
    assert data["sessions"] == {"total": 5, "actives": 2, "en_attente": 1, "terminees_aujourd_hui": 1}
    assert data["postes"] == {"total": 4, "disponibles": 2, "occupes": 1, "hors_ligne": 1}


async def test_every_open_dashboard_hears_of_a_change(alice, bob, sockets):
    mine = await sockets("/ws/dashboard/", alice)
    his = await sockets("/ws/dashboard/", bob)
    await in_thread(lambda: Workstation.objects.create(nom="Poste 9"))
    for socket in (mine, his):
        await socket.next_where(lambda message: message["data"]["postes"]["total"] == 1)


async def test_deletion_is_a_change(alice, poste, sockets):
    socket = await sockets("/ws/dashboard/", alice)
    await in_thread(poste.delete)
    await socket.next_where(lambda message: message["data"]["postes"]["total"] == 0)


@pytest.mark.parametrize("what", ["user", "session", "workstation"])
async def test_change_in_the_admin_reaches_the_dashboard(what, alice, bob, session, poste, sockets):
    socket = await sockets("/ws/dashboard/", alice)
    client = await in_thread(logged_in, alice)
    if what == "user":
        path = "/admin/auth/user/add/"
        form = {"username": "dave", "password1": "kah7Eeng", "password2": "kah7Eeng", "usable_password": "true"}

        def condition(data):
            return data["utilisateurs"]["total"] == 3

    elif what == "workstation":
        path = f"/admin/workstations/workstation/{poste.pk}/change/"
        form = {"nom": "Poste 1", "adresse_ip": "192.168.1.101", "statut": "hors_ligne"}

        def condition(data):
            return data["postes"]["hors_ligne"] == 1

    else:
        path = "/admin/workstations/accesssession/add/"
        form = {
            "code_acces": "NEW1",
            "utilisateur": bob.pk,
            "poste": "",
            "duree_initiale": 60,
            "temps_utilise": 0,
            "statut": "en_attente",
        }

        def condition(data):
            return data["sessions"]["en_attente"] == 2

    response = await in_thread(client.post, path, form)
    assert response.status_code == 302, response.content.decode()
    await socket.next_where(lambda message: condition(message["data"]))


async def test_nothing_is_told_of_a_change_that_was_rolled_back(alice, sockets):
    socket = await sockets("/ws/dashboard/", alice)
    await published()
    while not await socket.receive_nothing(timeout=0.1, interval=0.01):
        await socket.next()

    def change():
        with transaction.atomic():
            Workstation.objects.create(nom="Poste 9")
            transaction.set_rollback(True)

    await in_thread(change)
    await published()
    # A message that was sent would come before this answer.
    answer = await socket.ask({"type": "get_stats"})
    assert answer["data"]["postes"]["total"] == 0
    assert await socket.receive_nothing()


async def test_client_gets_one_push_per_interval_and_the_last_state(alice, sockets, settings):
    settings.DASHBOARD_INTERVAL = 0.3
    socket = await sockets("/ws/dashboard/", alice)
    await published()
    loop = asyncio.get_running_loop()
    layer = get_channel_layer()
    pushes = []
    for number in range(20):
        await layer.group_send("dashboard", {"type": "stats_update", "data": {"number": number}})
    while not pushes or pushes[-1][1] != {"number": 19}:
        message = await socket.next()
        pushes.append((loop.time(), message["data"]))
    times = [moment for moment, data in pushes if "number" in data]
    assert len(times) <= 3
    assert all(later - earlier > 0.25 for earlier, later in zip(times, times[1:]))


class FakeTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def test_publisher_gathers_changes_and_tells_the_last():
    fake = FakeTime()
    started, go_on = threading.Event(), threading.Event()
    calls = []

    def publish():
        calls.append(fake.now)
        started.set()
        assert go_on.wait(TIMEOUT)

    publisher = Publisher(publish, lambda: 1.0, fake.clock, fake.sleep)
    publisher.note()
    assert started.wait(TIMEOUT)
    for _ in range(50):
        publisher.note()  # While the first is on its way: it may have counted too early.
    go_on.set()
    assert publisher.wait_idle(TIMEOUT)
    assert calls == [100.0, 101.0]
    publisher.note()
    assert publisher.wait_idle(TIMEOUT)
    assert calls == [100.0, 101.0, 102.0]


def test_publisher_does_not_wait_after_a_pause():
    fake = FakeTime()
    calls = []
    publisher = Publisher(lambda: calls.append(fake.now), lambda: 1.0, fake.clock, fake.sleep)
    publisher.note()
    assert publisher.wait_idle(TIMEOUT)
    fake.now += 60
    publisher.note()
    assert publisher.wait_idle(TIMEOUT)
    assert calls == [100.0, 160.0]


def test_publisher_tries_again_and_gives_up(caplog):
    fake = FakeTime()
    calls = []

    def publish():
        calls.append(fake.now)
        raise ConnectionError("no Redis")

    publisher = Publisher(publish, lambda: 1.0, fake.clock, fake.sleep)
    publisher.note()
    assert publisher.wait_idle(TIMEOUT)
    assert len(calls) == ATTEMPTS
    assert caplog.text.count("was not told") == ATTEMPTS


async def test_bad_messages(alice, sockets):
    socket = await sockets("/ws/dashboard/", alice)
    await published()
    for bad in ({"type": "nothing"}, {"type": ["get_stats"]}, {"type": {}}, {}):
        await socket.send_json_to(bad)
        answer = await socket.next_where(lambda message: message["type"] != "stats_update")
        assert answer == {"type": "error", "message": "Unknown message type."}


def test_api(client, alice):
    assert client.get("/api/dashboard/").status_code == 401
    client.force_login(alice)
    content = client.get("/api/dashboard/").json()
    assert content["type"] == "stats_update"
    assert content["data"]["utilisateurs"]["total"] == 1
    assert client.post("/api/dashboard/").status_code == 405
