# SPDX-License-Identifier: BSD-3-Clause
"""The example project is plain Channels: it does the same under channelsd, Daphne and uvicorn, in the memory of one
process and, under channelsd, in two workers that meet in Redis."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime

import httpx
import pytest
from server import ROOT, Channelsd, Daphne
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

EXAMPLES = ROOT / "examples"
MANY_SECONDS = 10


class Uvicorn(Channelsd):
    """The other server that such a project may come from."""

    def __init__(self, app, **keywords):
        super().__init__(app, "--host", "127.0.0.1", "--port", "0", tcp=False, **keywords)

    @staticmethod
    def program():
        return [sys.executable, "-m", "uvicorn"]

    def wait_ready(self):
        self.port = int(self.stderr.wait_for(rb"running on http://127\.0\.0\.1:(\d+)", 30)[1])


@contextlib.contextmanager
def redis_server(folder):
    """The URL of a Redis of our own, on a unix socket."""
    program = shutil.which("redis-server")
    assert program, "no redis-server: install it (make deps)"
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        for line in process.stdout:
            if b"ready to accept" in line.lower():
                break
        yield f"unix://{path}"
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.fixture(scope="module", params=["channelsd", "channelsd, Redis", "daphne", "uvicorn"])
def site(request, tmp_path_factory):
    """The example project with its demo data, served."""
    folder = tmp_path_factory.mktemp("site")
    env = {"EXAMPLE_DB": str(folder / "db.sqlite3")}
    for command in (["migrate", "--verbosity", "0"], ["demo"]):
        manage = [sys.executable, "manage.py", *command]
        subprocess.run(manage, cwd=EXAMPLES, env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)
    with contextlib.ExitStack() as stack:
        keywords = {"cwd": EXAMPLES, "env": env}
        app = "config.asgi:application"
        if request.param == "channelsd, Redis":
            env["REDIS_URL"] = stack.enter_context(redis_server(folder))
            server = stack.enter_context(Channelsd(app, "--workers", 2, **keywords))
        elif request.param == "channelsd":
            server = stack.enter_context(Channelsd(app, **keywords))
        else:
            server = (Daphne if request.param == "daphne" else Uvicorn)(app, **keywords)
            stack.callback(server.kill_group)
        server.has_redis = "REDIS_URL" in env
        yield server
        assert "Traceback" not in server.stderr.text()


class Person:
    """Somebody with the demo's account `name`: a browser with its cookie."""

    def __init__(self, site, name, stack):
        self.site, self.name, self.stack = site, name, stack
        self.http = stack.enter_context(httpx.Client(base_url=site.url, timeout=10, follow_redirects=True))
        self.post("/login/", username=name, password=name)

    def token_of(self, path):
        return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.http.get(path).text)[1]

    def post(self, path, **form):
        """Fills in the form of the page `path`."""
        form["csrfmiddlewaretoken"] = self.token_of(path)
        response = self.http.post(path, data=form)
        assert response.status_code == 200, response.text
        return response

    def post_json(self, path, content):
        headers = {"X-CSRFToken": self.http.cookies["csrftoken"]}
        response = self.http.post(path, json=content, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    def socket(self, path):
        """A WebSocket as the page opens it."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        return self.stack.enter_context(
            connect(self.site.ws_url + path, origin=self.site.url, additional_headers={"Cookie": cookies})
        )


def ask(socket, content):
    socket.send(json.dumps(content))


def hear(socket, kind=None):
    """The next message, or the next one of this type."""
    while True:
        message = json.loads(socket.recv(timeout=MANY_SECONDS))
        if kind in (None, message["type"]):
            return message


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def alice(site, stack):
    return Person(site, "alice", stack)


@pytest.fixture
def bob(site, stack):
    return Person(site, "bob", stack)


STATS = {
    "utilisateurs": {"total", "actifs", "nouveaux_mois"},
    "sessions": {"total", "actives", "en_attente", "terminees_aujourd_hui"},
    "postes": {"total", "disponibles", "occupes", "hors_ligne"},
}


def assert_stats(message):
    assert set(message) == {"type", "data"}
    assert set(message["data"]) == {*STATS, "timestamp"}
    for part, names in STATS.items():
        assert set(message["data"][part]) == names
        assert all(type(count) is int for count in message["data"][part].values())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", message["data"]["timestamp"])


def is_moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None


def test_change_in_the_admin_reaches_open_dashboards(alice, bob):
    one, other = alice.socket("/ws/dashboard/"), bob.socket("/ws/dashboard/")
    ask(one, {"type": "get_stats"})
    before = hear(one, "stats_update")
    assert_stats(before)
    name = f"Poste {time.monotonic_ns()}"
    alice.post("/admin/workstations/workstation/add/", nom=name, statut="disponible")
    for socket in (one, other):
        while (pushed := hear(socket, "stats_update"))["data"]["postes"]["total"] == before["data"]["postes"]["total"]:
            pass
        assert_stats(pushed)
        assert pushed["data"]["postes"]["total"] == before["data"]["postes"]["total"] + 1


def test_polling_answers_what_the_socket_says(alice):
    answer = alice.http.get("/api/dashboard/")
    assert answer.headers["cache-control"] == "no-store"
    assert_stats(answer.json())


def test_token_without_cookie_and_origin_as_wscat_comes(site, stack):
    answer = httpx.post(site.url + "/api/token/", json={"username": "bob", "password": "bob"})
    token = answer.json()["token"]
    socket = stack.enter_context(connect(f"{site.ws_url}/ws/dashboard/?token={token}"))
    ask(socket, {"type": "get_stats"})
    assert_stats(hear(socket))


@pytest.mark.parametrize(
    "path", ["dashboard/", "sessions/", "sessions/1/", "chat/1/", "notifications/", "typing/1/", "dashboard/?token=x"]
)
def test_who_has_no_identity_is_refused_before_accept(site, path):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{site.ws_url}/ws/{path}")
    assert refused.value.response.status_code == 403


def test_page_of_another_site_is_refused(site, alice):
    cookies = "; ".join(f"{name}={value}" for name, value in alice.http.cookies.items())
    with pytest.raises(InvalidStatus) as refused:
        connect(site.ws_url + "/ws/dashboard/", origin="https://evil.example", additional_headers={"Cookie": cookies})
    assert refused.value.response.status_code == 403


def test_chat_message_reaches_all_and_notifies_the_other(alice, bob):
    sockets = [alice.socket("/ws/chat/1/"), bob.socket("/ws/chat/1/"), bob.socket("/ws/chat/1/")]
    notified = alice.socket("/ws/notifications/")
    text = f"Grüße {time.monotonic_ns()}"
    ask(sockets[1], {"message": text})
    messages = [hear(socket) for socket in sockets]
    assert messages[0] == messages[1] == messages[2]
    fields = {"type", "message_id", "sender_id", "sender_username", "content", "created_at", "is_read"}
    assert set(messages[0]) == fields
    assert {name: messages[0][name] for name in ("type", "sender_username", "content", "is_read")} == {
        "type": "message",
        "sender_username": "bob",
        "content": text,
        "is_read": False,
    }
    assert is_moment(messages[0]["created_at"])
    notification = hear(notified)
    assert set(notification) == {"type", "title", "message", "data"}
    assert (notification["type"], notification["data"]) == ("message_received", {"conversation_id": 1})


def test_typing_is_told_to_the_others(alice, bob):
    mine, theirs = alice.socket("/ws/typing/1/"), bob.socket("/ws/typing/1/")
    ask(mine, {"is_typing": True})
    assert hear(theirs) == {"type": "typing", "username": "alice", "is_typing": True}
    ask(theirs, {"is_typing": False})
    assert hear(mine) == {"type": "typing", "username": "bob", "is_typing": False}


def test_session_from_its_code_to_its_end(alice, bob):
    listening = alice.socket("/ws/sessions/")
    socket = bob.socket("/ws/sessions/")
    ask(socket, {"type": "validate_code", "code": "ABC123", "ip_address": "192.168.1.101"})
    valid = hear(socket, "code_valid")["session"]
    session_id = valid.pop("id")
    assert valid == {
        "code_acces": "ABC123",
        "utilisateur": "bob",
        "poste": "Poste 1",
        "duree_initiale": 7200,
        "temps_restant": 5400,
        "statut": "en_attente",
    }
    ask(socket, {"type": "start_session", "session_id": session_id})
    started = hear(socket, "session_started")
    assert set(started) == {"type", "session"}
    assert set(started["session"]) == {"id", "statut", "temps_restant", "debut_session"}
    assert started["session"]["statut"] == "active"
    assert is_moment(started["session"]["debut_session"])
    assert hear(listening, "session_started") == started
    ask(socket, {"type": "get_time", "session_id": session_id})
    told = hear(socket, "time_update")
    assert set(told) == {"type", "temps_restant", "temps_restant_minutes", "pourcentage_utilise", "statut"}
    assert 5300 < told["temps_restant"] <= 5400
    assert told["temps_restant_minutes"] == told["temps_restant"] // 60
    used = 5400 - told["temps_restant"]  # Of what was left at the start, not of the 7200 paid for.
    assert (told["pourcentage_utilise"], told["statut"]) == (used * 100 // 5400, "active")
    ask(socket, {"type": "heartbeat"})
    assert hear(socket, "heartbeat_ack")
    watching = alice.socket(f"/ws/sessions/{session_id}/")
    bob.post_json(f"/api/sessions/{session_id}/end/", {})
    for one in (socket, watching, listening):
        ended = hear(one, "session_terminated")
        assert (ended["type"], ended["raison"]) == ("session_terminated", "fermeture_normale")
        assert ended["message"]


def test_idle_consumer_outlives_the_patience_of_redis_py(site, alice):
    """Longer than the five seconds after which redis-py 8 gives up on a reply, so this test needs six."""
    if site.has_redis:
        socket = alice.socket("/ws/notifications/")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=6)
        user = hear_own_id(alice)
        alice.post_json("/api/notifications/send/", {"type": "payment_completed", "user_id": user})
        assert hear(socket)["type"] == "payment_completed"


def hear_own_id(person):
    socket = person.socket("/ws/chat/1/")
    ask(socket, {"message": "who am I?"})
    return hear(socket, "message")["sender_id"]
