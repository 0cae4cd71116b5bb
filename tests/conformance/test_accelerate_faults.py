# SPDX-License-Identifier: BSD-3-Clause
"""Consumers that raise, hang, return nonsense or are cancelled: their clients see the same under --accelerate exact, under
--accelerate off, and under Daphne but for what DIFFERENCES has, with its reason."""

import re
from pathlib import Path

import pytest
from server import Channelsd, Daphne
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

HERE = Path(__file__).resolve().parent / "faulty"
SERVERS = {
    "exact": (Channelsd, ("--accelerate", "exact")),
    "off": (Channelsd, ("--accelerate", "off")),
    "daphne": (Daphne, ()),
}
SECONDS = 10

# Scenario -> (Daphne's end, ours, why).
WHY = "Daphne drops it without a word; here send() raises, as it does there for a message without a type"
DIFFERENCES = {
    "sends nothing": ((["echo send_nothing"], "open"), ([], (1011, "")), WHY),
    "sends nonsense": ((["echo send_nonsense"], "open"), ([], (1011, "")), WHY),
}


@pytest.fixture(scope="module")
def servers():
    """One server of each kind, with a close timeout of a second."""
    running = {}
    try:
        for name, (kind, options) in SERVERS.items():
            options = (*options, "--application-close-timeout", "1")
            running[name] = kind("faulty:application", *options, cwd=HERE)
        yield running
    finally:
        for server in running.values():
            server.kill_group()


def messages_of(client, count):
    """Up to `count` messages, or None for until it is closed; then what the end was: "open" or (code, reason)."""
    got = []
    try:
        while count is None or len(got) < count:
            got.append(client.recv(SECONDS))
    except ConnectionClosed:
        return got, (client.close_code, client.close_reason)
    except TimeoutError:
        return got, "silent"
    return got, "open"


def session(server, path, texts, count):
    """What a client sees that sends all its texts at once: a status, or messages and the end."""
    try:
        with connect(f"{server.ws_url}/{path}", open_timeout=SECONDS, close_timeout=SECONDS) as client:
            for text in texts:
                client.send(text)
            return messages_of(client, count)
    except InvalidStatus as error:
        return error.response.status_code


# Scenario -> path, texts, how many messages come back (None: until the server ends it).
SCENARIOS = {
    "good": ("Base", ["a", "b", "c"], 3),
    "raises": ("Base", ["a", "raise"], None),
    "layer": ("Base", ["a", "layer"], 3),
    "group": ("Base", ["group"], 2),
    "layer raises": ("Base", ["layer_raise"], None),
    "layer with an unknown type": ("Base", ["unknown_type"], None),
    "layer without a type": ("Base", ["no_type"], None),
    "layer overflows": ("Base", ["overflow"], None),
    "sends nothing": ("Base", ["send_nothing"], 1),
    "sends nonsense": ("Base", ["send_nonsense"], 1),
    "sends without a type": ("Base", ["send_no_type"], None),
    "closes": ("Base", ["a", "close"], None),
    "closes, then sends": ("Base", ["a", "close_and_send"], None),
    "raises in connect": ("RaisesInConnect", [], None),
    "raises behind accept": ("RaisesBehindAccept", [], None),
    "closes in connect": ("ClosesInConnect", [], None),
    "no handlers": ("NoHandlers", [], None),
    "no such path": ("nothing", [], None),
    "sync": ("Sync", ["a", "layer"], 3),
    "sync raises": ("Sync", ["a", "raise"], None),
    "sync closes": ("Sync", ["a", "close"], None),
    "json": ("Json", ['{"a": "\u00fc"}', "[1, 2.5, null]"], 2),
    "json that is none": ("Json", ['{"a": 1}', "{"], None),
    "json that cannot be": ("Json", ['"bad"'], None),
    "bytes where text is meant": ("Json", [b"\x00"], None),
    "raises in disconnect": ("RaisesInDisconnect", ["a"], 1),
    "many messages": ("Base", [str(number) for number in range(500)], 500),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_client_sees_the_same(servers, name):
    path, texts, count = SCENARIOS[name]
    seen = {kind: session(server, path, texts, count) for kind, server in servers.items()}
    assert seen["exact"] == seen["off"]
    daphne, ours, _ = DIFFERENCES.get(name, (seen["off"], seen["off"], ""))
    assert seen["daphne"] == daphne
    assert seen["exact"] == ours


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("Base", [r"disconnected 1000"]),
        ("RaisesInDisconnect", [r"disconnected 1000", r"in disconnect"]),
        ("Hangs", [r"took too long to shut down and was killed", r"cancelled"]),
        ("Swallows", [r"took too long to shut down and was killed", r"cancelled", r"disconnected 1000"]),
        ("NoDisconnect", [r"disconnected 1000", r"took too long to shut down and was killed"]),
    ],
)
def test_what_becomes_of_the_consumer_of_a_client_that_leaves(servers, path, logged):
    """The same lines in the same order, and the server goes on."""
    for kind, server in servers.items():
        start = len(server.stderr.data)
        with connect(f"{server.ws_url}/{path}", open_timeout=SECONDS) as client:
            client.send("a")
            assert client.recv(SECONDS), kind
        for pattern in logged:
            start = server.log_has(re.compile(pattern).pattern, SECONDS, start).end()
        assert session(server, "Base", ["still"], 1) == (["echo still"], "open"), kind


@pytest.mark.parametrize(
    ("path", "texts"),
    [("StopsInConnect", []), ("StopsBehindAccept", []), ("SendsBeforeAccept", []), ("Base", ["a", "exit"])],
)
def test_ends_that_are_channelsds_own(servers, path, texts):
    """Daphne leaves such clients waiting, and ends with a SystemExit; what comes does not depend on acceleration."""
    seen = [session(servers[kind], path, texts, None) for kind in ("exact", "off")]
    assert seen[0] == seen[1]
    assert "silent" not in seen[0] if isinstance(seen[0], tuple) else seen[0] >= 400
