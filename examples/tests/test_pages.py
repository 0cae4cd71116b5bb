# SPDX-License-Identifier: BSD-3-Clause
"""Pages, static files, the demo command, and settings."""

import inspect
import logging
import re
from pathlib import Path

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import override_settings

from chat.models import Conversation, Message
from config.asgi import application
from config.layers import channel_layers
from realtime.groups import send_after_commit
from tests.conftest import TIMEOUT
from workstations.models import AccessSession, Workstation

BASE = Path(__file__).resolve().parent.parent
PAGES = ["/", "/dashboard/", "/sessions/", "/chat/", "/notifications/"]


@pytest.mark.parametrize("path", PAGES)
def test_pages_need_a_login(path, client, db_clean):
    assert client.get(path)["Location"] == f"/login/?next={path}"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_pages_render(path, name, client, session, conversation):
    client.force_login(get_user_model().objects.get(username=name))
    content = client.get(path).content.decode()
    assert name in content
    assert ("/admin/" in content) == (name == "alice")
    assert not re.search(r"<[^>]*\son\w+=", content)


def test_chat_page_is_for_participants(client, conversation, bob, carol):
    path = f"/chat/{conversation.pk}/"
    Message.objects.create(conversation=conversation, sender=carol, content="</script><b>")
    client.force_login(bob)
    content = client.get(path).content.decode()
    assert "<b>" not in content.split("chat-data")[1].split("</script>")[0]
    assert Message.objects.get().is_read
    client.force_login(carol)
    assert client.get(path).status_code == 404
    assert client.get(f"/chat/{2**64}/").status_code == 404


def test_session_page_is_for_its_owner(client, session, alice, bob, carol):
    path = f"/sessions/{session.pk}/"
    for user, status in ((alice, 200), (bob, 200), (carol, 404)):
        client.force_login(user)
        assert client.get(path).status_code == status
    assert client.get(f"/sessions/{2**64}/").status_code == 404


def test_login_and_logout(client, bob):
    assert b"Wrong" not in client.get("/login/").content
    assert b'role="alert"' in client.post("/login/", {"username": "bob", "password": "no"}).content
    assert client.post("/login/", {"username": "bob", "password": "bob"})["Location"] == "/"
    assert client.get("/login/")["Location"] == "/"
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


@pytest.mark.parametrize("debug", [True, False])
def test_static_files_are_served(debug, client):
    with override_settings(DEBUG=debug):
        for path, kind in (
            ("/static/js/socket.js", "text/javascript"),
            ("/static/css/site.css", "text/css"),
            ("/static/icon.svg", "image/svg+xml"),
            ("/static/admin/css/base.css", "text/css"),
        ):
            response = client.get(path)
            assert response.status_code == 200, path
            assert response["Content-Type"].startswith(kind) or kind == "text/javascript"
            assert "javascript" in response["Content-Type"] or kind != "text/javascript"
            again = client.get(path, HTTP_IF_MODIFIED_SINCE=response["Last-Modified"])
            assert again.status_code == 304
        assert client.get("/static/nothing.js").status_code == 404
        assert client.get("/static/../config/settings.py").status_code == 400
        assert client.get("/static/%2e%2e/config/settings.py").status_code == 400


def test_scripts_never_write_html():
    for script in (BASE / "static" / "js").glob("*.js"):
        text = script.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, (script.name, word)
        assert "http://" not in text, script.name
        assert "https://" not in text, script.name


async def test_http_through_the_asgi_application(db_clean):
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/login/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request", "body": b""})
    assert (await communicator.receive_output(TIMEOUT))["status"] == 200
    assert b"Log in" in (await communicator.receive_output(TIMEOUT))["body"]
    await communicator.wait(TIMEOUT)


def test_demo_can_be_repeated(db_clean, client, capsys):
    models = (get_user_model(), Conversation, Message, Workstation, AccessSession)
    with override_settings(DEBUG=True):
        call_command("demo")
        before = [model.objects.count() for model in models]
        assert before == [2, 1, 1, 6, 4]
        call_command("demo")
        assert [model.objects.count() for model in models] == before
        AccessSession.objects.update(statut="terminee")
        call_command("demo", "--reset")
    assert not AccessSession.objects.exclude(statut="en_attente").exists()
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:8000/" in printed
    for name in ("alice", "bob"):
        assert client.login(username=name, password=name)


def test_demo_is_not_for_production(db_clean):
    with override_settings(DEBUG=False), pytest.raises(CommandError):
        call_command("demo")


def test_layer_in_memory_without_redis():
    assert channel_layers({})["default"]["BACKEND"] == "channels.layers.InMemoryChannelLayer"


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"REDIS_URL": "rediss://r:1/2", "REDIS_HOST": "other"}, "rediss://r:1/2"),
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        ({"REDIS_PORT": "6380"}, "redis://localhost:6380/0"),
        ({"REDIS_HOST": "redis", "REDIS_PORT": "6380"}, "redis://redis:6380/0"),
    ],
)
def test_layer_in_redis(environ, address):
    layer = channel_layers(environ)["default"]
    assert layer["BACKEND"] == "channels_redis.core.RedisChannelLayer"
    assert (layer["CONFIG"]["capacity"], layer["CONFIG"]["expiry"]) == (1500, 10)
    (host,) = layer["CONFIG"]["hosts"]
    assert host["address"] == address
    assert host["socket_timeout"] is None


def test_unreachable_layer_does_not_undo_what_was_stored(db_clean, settings, caplog, monkeypatch):
    async def broken(*_args):
        raise ConnectionError("no Redis")

    monkeypatch.setattr("channels.layers.InMemoryChannelLayer.group_send", broken)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with caplog.at_level(logging.ERROR):
        send_after_commit("some_group", {"type": "event"})
    assert "nothing was sent to group some_group" in caplog.text


def test_asgi_application_setting(settings):
    assert settings.ASGI_APPLICATION == "config.asgi.application"
    assert "daphne" not in settings.INSTALLED_APPS
    assert inspect.iscoroutinefunction(application.__call__)
