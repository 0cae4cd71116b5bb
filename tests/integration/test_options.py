# SPDX-License-Identifier: BSD-3-Clause
"""Every option of Daphne has its effect, under Daphne's name. Those about WebSocket clocks and sizes are in
test_ws_timeouts.py and test_ws_messages.py, those about sockets in test_start.py."""

import contextlib
import json
import os
import re
import time

import pytest
from server import Channelsd, read_response
from ws_client import RawWebSocket, get, handshake


def usage_error(*arguments):
    """What a server says that does not like its arguments."""
    with Channelsd("echo:application", *arguments, start=False, expect_exit=2) as server:
        assert server.wait_exit() == 2, server.stderr.text()
    return server.stderr.text()


def answer_to(server, request_bytes):
    with server.connect() as sock:
        sock.sendall(request_bytes)
        return read_response(sock)


def scope_of(server, *lines):
    head = "\r\n".join(["GET /p HTTP/1.1", "Host: x", *lines, "", ""]).encode()
    return json.loads(answer_to(server, head)[2])


# ---- names ----


def test_options_may_be_shortened_as_far_as_they_are_unique(serve):
    server = serve("ws_probe:application", "--ping-i", 0.1, "--websocket-max-m", 10)
    with RawWebSocket(("127.0.0.1", server.port), "/echo") as client:
        assert client.frame()[1] == 9
        client.text("x" * 11)
        assert client.closing()[0] == 1009


def test_shortened_option_that_means_several_is_a_usage_error():
    assert "ambiguous" in usage_error("--websocket-max", "10")


@pytest.mark.parametrize(
    "arguments", [("--no-such-option",), ("--port", "x"), ("-p", "65536"), ("-v", "4"), ("-t", "x")]
)
def test_wrong_option_is_a_usage_error_that_names_it(arguments):
    assert arguments[0].lstrip("-") in usage_error(*arguments)


@pytest.mark.parametrize("arguments", [("--fd", "3"), ("-e", "tcp:8000"), ("--endpoint", "unix:/tmp/x")])
def test_option_of_daphne_that_is_not_offered_says_what_to_use(arguments):
    assert "--unix-socket" in usage_error(*arguments)


def test_value_may_stand_behind_an_equals_sign_or_at_the_letter(serve):
    server = serve("logs:application", "--server-name=zero", "-s=one", "-v2")
    assert answer_to(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[1]["server"] == "one"


def test_options_come_from_the_environment_and_the_command_line_wins(serve):
    env = {"CHANNELSD_SERVER_NAME": "from-env", "CHANNELSD_ROOT_PATH": "/env"}
    server = serve("logs:application", "-s", "from-line", env=env)
    _, headers, body, _ = answer_to(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert headers["server"] == "from-line"
    assert json.loads(body)["root_path"] == "/env"


# ---- logs ----


@pytest.mark.parametrize(("level", "shown"), [(0, 2), (1, 3), (2, 4), (3, 4)])
def test_verbosity(serve, level, shown):
    server = serve("logs:application", "-v", level, start=level > 0)
    if level == 0:  # quiet, its readiness too
        server.port = quiet_port(server)
    get(server, "/log")
    assert get(server, "/asyncio-debug") == str(level == 3).encode()
    server.stop()
    log = server.stderr.text()
    seen = [word for word in ("debug", "info", "warning", "error") if f"this is {word}" in log]
    assert seen == ["debug", "info", "warning", "error"][4 - shown :]
    assert ('"GET /log" 200' in server.stdout.text()) == (level > 0)


def quiet_port(server):
    """The port of a server that does not tell: what its process listens on."""
    inodes = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with open(f"/proc/{server.pid}/net/tcp") as table:
            rows = [line.split() for line in table][1:]
        inodes = own_sockets(server.pid)
        ports = {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
        if ports:
            return ports.pop()
        time.sleep(0.02)
    raise AssertionError("it listens nowhere")


def own_sockets(pid):
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def test_log_format_is_that_of_our_lines_and_of_the_loggers_of_the_application(serve):
    server = serve("logs:application", "--log-fmt", "<%(levelname)s|%(name)s> %(message)s")
    get(server, "/log")
    server.log_has(rb"(?m)^<WARNING\|project\.views> this is warning$")
    server.log_has(rb"(?m)^<INFO\|[\w.]+> Listening on TCP address 127\.0\.0\.1:\d+$")


def test_access_log_goes_to_a_file_and_is_appended(serve, tmp_path):
    path = tmp_path / "access.log"
    path.write_text("before\n")
    server = serve("logs:application", "--access-log", path)
    get(server, "/a?b=1")
    server.stop()
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert re.search(r'"GET /a\?b=1" 200 \d+$', lines[1])
    assert len(lines) == 2
    assert server.stdout.text() == ""


def test_access_log_to_stdout_though_quiet(serve):
    server = serve("logs:application", "-v", 0, "--access-log", "-", start=False)
    server.port = quiet_port(server)
    get(server, "/a")
    server.access_has(rb'"GET /a" 200 \d+\n')


def test_access_log_that_cannot_be_opened_ends_the_server(tmp_path):
    path = tmp_path / "missing" / "access.log"
    with Channelsd("logs:application", "--access-log", path, start=False, expect_exit=1) as server:
        assert server.wait_exit() == 1
    assert str(path) in server.stderr.text()


# ---- http ----


def test_http_timeout_answers_503(serve):
    server = serve("logs:application", "-t", 0.3, "--application-close-timeout", 0.2)
    start = time.monotonic()
    status, _, body, _ = answer_to(server, b"GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 503
    assert b"Application failed to respond within time limit." in body
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((), "channelsd"), (("-s", "daphne"), "daphne"), (("--server-name", ""), None), (("--no-server-name",), None)],
)
def test_server_name(serve, arguments, name):
    server = serve("echo:application", *arguments)
    assert answer_to(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[1].get("server") == name
    with RawWebSocket(("127.0.0.1", server.port)) as client:
        assert client.headers.get("server") == name


def test_no_date_header(serve):
    server = serve("logs:application", "--no-date-header")
    assert "date" not in answer_to(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[1]


def test_root_path(serve):
    server = serve("ws_probe:application", "--root-path", "/prefix")
    with RawWebSocket(("127.0.0.1", server.port), "/scope") as client:
        scope = json.loads(client.message())
    assert (scope["root_path"], scope["path"]) == ("/prefix", "/scope")


# ---- the application's time ----


def test_application_that_outlives_its_client_is_cancelled(serve):
    server = serve("logs:application", "--application-close-timeout", 0.3)
    with RawWebSocket(("127.0.0.1", server.port)) as client:
        client.close()
        assert client.closing()[0] == 1000
    server.log_has(rb"WARNING .*took too long to shut down and was killed\.")
    server.log_has(rb"cancelled")


# ---- behind a proxy ----


FORWARDED = ["X-Forwarded-For: 203.0.113.7, 10.0.0.1", "X-Forwarded-Port: 4433", "X-Forwarded-Proto: https"]


def test_proxy_headers_are_ignored_without_the_flag(serve):
    scope = scope_of(serve("logs:application"), *FORWARDED)
    assert scope["client"][0] == "127.0.0.1"
    assert scope["scheme"] == "http"


def test_proxy_headers(serve):
    server = serve("logs:application", "--proxy-headers")
    scope = scope_of(server, *FORWARDED)
    assert scope["client"][1] == 4433
    assert scope["client"][0] in ("203.0.113.7", "10.0.0.1")
    assert scope["scheme"] == "https"
    server.access_has(rb':4433 - - \[[^]]*\] "GET /p" 200')


def test_proxy_headers_of_a_websocket(serve):
    server = serve("ws_probe:application", "--proxy-headers")
    with RawWebSocket(("127.0.0.1", server.port), "/scope", extra=FORWARDED) as client:
        scope = json.loads(client.message())
    assert scope["client"][1] == 4433
    assert scope["scheme"] == "wss"


def test_names_of_the_proxy_headers(serve):
    server = serve(
        "logs:application",
        *("--proxy-headers", "--proxy-headers-host", "X-Real-IP", "--proxy-headers-port", "X-Real-Port"),
    )
    scope = scope_of(server, "X-Real-IP: 203.0.113.9", "X-Real-Port: 77", *FORWARDED)
    assert scope["client"] == ["203.0.113.9", 77]


def test_names_of_the_proxy_headers_need_the_flag():
    assert "--proxy-headers" in usage_error("--proxy-headers-host", "X-Real-IP")


def test_proxy_headers_of_somebody_else_are_ignored(serve):
    server = serve("logs:application", "--proxy-headers", "--forwarded-allow-ips", "192.0.2.0/24")
    assert scope_of(server, *FORWARDED)["client"][0] == "127.0.0.1"


def test_root_path_of_the_proxy(serve):
    line = "Daphne-Root-Path: /from%20proxy"
    scope = scope_of(serve("logs:application"), line)
    assert scope["root_path"] == "/from proxy"
    assert "daphne-root-path" not in dict(scope["headers"])
    scope = scope_of(serve("logs:application", "--forwarded-allow-ips", "192.0.2.0/24"), line)
    assert scope["root_path"] == ""
    assert "daphne-root-path" not in dict(scope["headers"])


def test_connect_timeout_with_a_prefix_of_its_name(serve):
    server = serve("ws_probe:application", "--websocket_c", "0.2")
    assert answer_to(server, handshake("/silent"))[0] == 503
