# SPDX-License-Identifier: BSD-3-Clause
"""Bad input: every consumer answers with an error message and goes on."""

import json

import pytest

from tests.conftest import in_thread
from workstations import services

BAD_TEXTS = [
    "x",
    "{",
    "null",
    "[]",
    "1",
    '"text"',
    "NaN",
    '{"type": NaN}',
    '{"session_id": 1e999999}',
    "1" * 6000,
    "[" * 10_000,
    '{"type":' * 1500,
    " " * 16_385,
    '{"message": "' + "x" * 20_000 + '"}',
    "\ufeff{}",
]

BAD_OBJECTS = [
    {},
    {"type": None},
    {"type": 1},
    {"type": []},
    {"type": "error"},
    {"type": "websocket.disconnect"},
    {"type": "session_started", "session": {"id": 1}},
    {"type": "validate_code"},
    {"type": "validate_code", "code": 1},
    {"type": "validate_code", "code": ""},
    {"type": "validate_code", "code": "x" * 17},
    {"type": "validate_code", "code": "\ud800"},
    {"type": "validate_code", "code": "nul\0"},
    {"type": "validate_code", "code": "NOBODY"},
    {"type": "validate_code", "code": "ABC123", "ip_address": 1},
    {"type": "validate_code", "code": "ABC123", "ip_address": "not an address"},
    {"type": "validate_code", "code": "ABC123", "ip_address": "10.0.0.1"},
    *(
        {"type": kind, "session_id": value}
        for kind in ("start_session", "get_time")
        for value in (None, "1", 1.0, True, -1, 0, 2**63, 10**40, 999_999, [], {})
    ),
    {"message": None},
    {"message": 1},
    {"message": ["text"]},
    {"message": ""},
    {"message": "  \n"},
    {"message": "\ud800"},
    {"message": "nul\0"},
    {"message": "x" * 4001},
    {"is_typing": None},
    {"is_typing": 1},
    {"is_typing": "true"},
]


@pytest.fixture
def paths(session, conversation):
    """Return every route."""
    return [
        "/ws/dashboard/",
        "/ws/sessions/",
        f"/ws/sessions/{session.pk}/",
        f"/ws/chat/{conversation.pk}/",
        "/ws/notifications/",
        f"/ws/typing/{conversation.pk}/",
    ]


async def test_bad_input_is_answered_and_the_connection_goes_on(paths, bob, sockets, caplog):
    texts = BAD_TEXTS + [json.dumps(content) for content in BAD_OBJECTS]
    for path in paths:
        socket = await sockets(path, bob)
        for text in texts:
            await socket.send_to(text_data=text)
            answer = await socket.next_where(lambda message: message["type"] != "stats_update")
            assert set(answer) == {"type", "message"}, (path, text[:80])
            assert answer["type"] == "error", (path, text[:80])
        await socket.send_to(bytes_data=b"\xff\x00")
        answer = await socket.next_where(lambda message: message["type"] != "stats_update")
        assert answer["message"] == "JSON text is expected, not binary data."
    assert not caplog.records, caplog.text


async def test_an_accident_of_the_server_is_logged_and_answered(session, bob, sockets, monkeypatch, caplog):
    def broken(session_id):
        raise RuntimeError("out of order")

    socket = await sockets("/ws/sessions/", bob)
    with monkeypatch.context() as patch:
        patch.setattr(services, "get", broken)
        answer = await socket.ask({"type": "get_time", "session_id": session.pk})
    assert answer == {"type": "error", "message": "The server could not do that."}
    assert "out of order" in caplog.text
    assert (await socket.ask({"type": "get_time", "session_id": session.pk}))["type"] == "time_update"


async def test_guessing_codes_is_limited(session, bob, sockets):
    socket = await sockets("/ws/sessions/", bob)
    for number in range(services.WRONG_CODES_ALLOWED):
        answer = await socket.ask({"type": "validate_code", "code": f"X{number}"})
        assert answer["message"] == "Unknown access code."
    answer = await socket.ask({"type": "validate_code", "code": "ABC123"})
    assert answer["message"] == "Too many wrong codes; wait a minute."
    assert (await in_thread(services.get, session.pk)).statut == "en_attente"
