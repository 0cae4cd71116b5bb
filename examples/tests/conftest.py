# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: people, sockets through the whole ASGI application, and nothing left over between tests."""

import asyncio
import json

import pytest
from channels.db import database_sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connections
from django.test import Client

from chat.models import Conversation
from config.asgi import application
from dashboard.publisher import publisher
from workstations.models import AccessSession, Workstation

TIMEOUT = 10


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory):
    """Use a file: several threads of one test are in the database at once. Each run has its own."""
    connections["default"].settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("db") / "test.sqlite3")


@pytest.fixture(autouse=True)
def clean(settings):
    """Quick passwords; a new channel layer for each test's loop; no publisher thread from an earlier test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.DASHBOARD_INTERVAL = 0.05
    cache.clear()
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


@pytest.fixture
def db_clean(transactional_db):
    """Open the database for threads too, and wait for ours before the tables are emptied."""
    yield
    assert publisher.wait_idle(TIMEOUT)


@pytest.fixture
def alice(db_clean):
    """Return a member of staff."""
    return get_user_model().objects.create_superuser("alice", password="alice")


@pytest.fixture
def bob(db_clean):
    """Return a plain user."""
    return get_user_model().objects.create_user("bob", password="bob")


@pytest.fixture
def carol(db_clean):
    """Return a plain user who takes part in nothing."""
    return get_user_model().objects.create_user("carol", password="carol")


@pytest.fixture
def conversation(alice, bob):
    """Return a conversation of alice and bob."""
    conversation = Conversation.objects.create(title="Alice and Bob")
    conversation.participants.add(alice, bob)
    return conversation


@pytest.fixture
def poste(db_clean):
    """Return an available workstation."""
    return Workstation.objects.create(nom="Poste 1", adresse_ip="192.168.1.101")


@pytest.fixture
def session(bob, poste):
    """Return bob's session; it waits to be started, half an hour of two is used."""
    return AccessSession.objects.create(
        code_acces="ABC123", utilisateur=bob, poste=poste, duree_initiale=7200, temps_utilise=1800
    )


async def in_thread(function, *args):
    """Run database code as Channels does."""
    return await database_sync_to_async(function)(*args)


async def published():
    """Wait until the dashboards know of all changes; the publisher's thread may need this test's loop for it."""
    assert await asyncio.to_thread(publisher.wait_idle, TIMEOUT)


def logged_in(user):
    """Return a test client with the user's session cookie."""
    client = Client()
    client.force_login(user)
    return client


def post(client, path, content):
    """Post JSON as the pages do."""
    return client.post(path, json.dumps(content), content_type="application/json")


class Socket(WebsocketCommunicator):
    """A browser's WebSocket: it sends an origin, and the cookie of a logged-in user."""

    def __init__(self, path, user=None, origin=b"http://localhost"):
        self.user = user
        headers = [(b"host", b"localhost")] + ([(b"origin", origin)] if origin else [])
        super().__init__(application, path, headers)

    async def connect(self, timeout=TIMEOUT):
        """Connect, with a cookie if there is a user."""
        if self.user is not None:
            client = await in_thread(logged_in, self.user)
            cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
            self.scope["headers"].append((b"cookie", cookie))
        return await super().connect(timeout)

    async def ask(self, content):
        """Send an object, return the next one received."""
        await self.send_json_to(content)
        return await self.next()

    async def next(self):
        """Return the next object received."""
        return await self.receive_json_from(TIMEOUT)

    async def next_where(self, condition):
        """Return the next object received that meets a condition, skipping others."""
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        while asyncio.get_running_loop().time() < deadline:
            message = await self.next()
            if condition(message):
                return message
        raise AssertionError("it never came")


@pytest.fixture
async def sockets():
    """Return a function that opens sockets; they are closed in the end."""
    opened = []

    async def open_socket(path, user=None, **kwargs):
        socket = Socket(path, user, **kwargs)
        accepted, _ = await socket.connect()
        assert accepted, f"refused: {path}"
        opened.append(socket)
        return socket

    yield open_socket
    for socket in opened:
        await socket.disconnect(timeout=TIMEOUT)
    await published()


async def refused(path, user=None, **kwargs):
    """Say whether a connection is closed before it is accepted."""
    socket = Socket(path, user, **kwargs)
    accepted, _ = await socket.connect()
    await socket.disconnect(timeout=TIMEOUT)
    await published()
    return not accepted
