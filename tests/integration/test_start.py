# SPDX-License-Identifier: BSD-3-Clause
"""What a user sees when the server cannot start, and where it listens when it can."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys

import pytest
from server import APPS, Channelsd, binary
from ws_client import RawWebSocket, get, handshake

ARGUMENTS = "-b", "127.0.0.1", "-p", "0"


def failing(app, *arguments, code=1, **keywords):
    """Runs a server that is to end by itself with `code`; its stderr."""
    with Channelsd(app, *arguments, start=False, expect_exit=code, **keywords) as server:
        assert server.wait_exit() == code, server.stderr.text()
    assert "Listening" not in server.stderr.text()
    return server.stderr.text()


def last_words(log, app):
    """The lines of the server that name the application path; there is one."""
    lines = [line for line in log.splitlines() if "channelsd:" in line and repr(app) in line]
    assert len(lines) == 1, log
    return lines[0]


# ---- the application ----


def test_working_folder_that_was_deleted_is_told(tmp_path):
    folder = tmp_path / "release"
    folder.mkdir()
    log = failing("app:application", cwd=folder, prefix=("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh"))
    assert "channelsd: the folder in which the server runs cannot be found any more" in log
    assert "start it again in the project's folder" in log
    assert "Traceback" not in log


def test_import_error_within_the_application_is_shown_whole():
    log = failing("broken.imports:application")
    assert "Traceback (most recent call last):" in log
    assert "import no_such_package_anywhere" in log
    assert "ModuleNotFoundError: No module named 'no_such_package_anywhere'" in log
    assert "cannot import" in last_words(log, "broken.imports:application")


def test_module_that_does_not_exist():
    log = failing("nowhere.asgi:application")
    assert "ModuleNotFoundError: No module named 'nowhere'" in log
    line = last_words(log, "nowhere.asgi:application")
    assert sys.executable in line
    assert str(APPS) in line


def test_exception_within_the_application_is_shown_whole():
    log = failing("broken.raises:application")
    assert "in deep" in log
    assert "RuntimeError: settings are wrong" in log
    assert "RuntimeError" in last_words(log, "broken.raises:application")


def test_application_that_ends_the_interpreter_is_named():
    log = failing("broken.exits:application")
    assert "configuration missing" in log
    assert "SystemExit" in last_words(log, "broken.exits:application")


def test_syntax_error_is_shown_with_its_line(tmp_path):
    (tmp_path / "crooked.py").write_text((APPS / "broken" / "syntax.txt").read_text())
    log = failing("crooked:application", cwd=tmp_path)
    assert "def application(scope, receive, send:" in log
    assert "SyntaxError" in last_words(log, "crooked:application")


def test_attribute_that_does_not_exist():
    line = last_words(failing("broken.kinds:app"), "broken.kinds:app")
    assert "broken.kinds has no attribute 'app'" in line


@pytest.mark.parametrize("app", ["echo", ":application", "echo:", "echo/application"])
def test_path_without_module_and_object(app):
    log = failing(app, code=2)
    assert f'channelsd: application "{app}" is not module:attribute, as config.asgi:application' in log
    assert "Traceback" not in log


def test_no_application_at_all_is_a_usage_error():
    with Channelsd(None, start=False, expect_exit=2) as server:
        assert server.wait_exit() == 2
    assert "usage" in server.stderr.text().lower()


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("broken.kinds:number", "is not callable but int 5"),
        ("broken.kinds:wsgi", "looks like a WSGI application"),
        ("broken.kinds:Asgi2", "is a class, as ASGI 2 had them"),
        ("broken.kinds:asgi2", "ASGI 2; wrap it with asgiref.compatibility.guarantee_single_callable"),
    ],
)
def test_object_that_is_no_application_is_refused_with_what_it_is(app, words):
    log = failing(app)
    assert words in last_words(log, app)
    assert "Traceback" not in log


def test_dotted_object_path_is_served(serve):
    server = serve("broken.kinds:Namespace.inner.application")
    assert get(server, "/") == b"dotted"


def test_working_folder_comes_first_on_the_path(serve, tmp_path):
    (tmp_path / "json.py").write_text("here = True\n")
    (tmp_path / "site_app.py").write_text(
        "import sys\n"
        "async def application(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        raise NotImplementedError\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': sys.path[0].encode()})\n"
    )
    server = serve("site_app:application", cwd=tmp_path)
    assert get(server, "/") == str(tmp_path).encode()


# ---- the interpreter ----


def wrapper(folder, *flags):
    """An interpreter that is ours with flags."""
    path = folder / "python-wrapped"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {" ".join(flags)} "$@"\n')
    path.chmod(0o755)
    return path


def test_interpreter_without_msgpack_is_told_what_to_install(tmp_path):
    log = failing("echo:application", "--python", wrapper(tmp_path, "-S", "-I"))
    lines = [line for line in log.splitlines() if "msgpack" in line]
    assert len(lines) == 1, log
    assert "pip install msgpack" in lines[0]
    assert "Traceback" not in log


def test_interpreter_without_our_package_is_told_what_to_install(tmp_path):
    """The program stands alone in a folder, so that it finds no package beside it."""
    alone = tmp_path / "channelsd"
    shutil.copy(binary(), alone)
    python = wrapper(tmp_path, "-S", "-I")
    command = [alone, *ARGUMENTS, "--python", python, "echo:application"]
    done = subprocess.run(command, cwd=APPS, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "'channelsd' cannot be imported" in line]
    assert len(lines) == 1, done.stderr
    assert "--python" in lines[0]
    assert "Traceback" not in done.stderr


def test_interpreter_that_does_not_exist(tmp_path):
    log = failing("echo:application", "--python", tmp_path / "nothing", code=1)
    assert f"--python {tmp_path / 'nothing'}" in log


def test_interpreter_that_is_none(tmp_path):
    path = tmp_path / "false"
    path.write_text("#!/bin/sh\nexit 7\n")
    path.chmod(0o755)
    log = failing("echo:application", "--python", path)
    assert "code=7" in log


# ---- listening ----


@pytest.mark.parametrize("workers", [1, 3])
def test_interpreter_that_cannot_be_executed(tmp_path, workers):
    python = tmp_path / "python"
    python.write_text("#!/no/such/interpreter\n")
    python.chmod(0o755)
    log = failing("echo:application", "--workers", workers, "--python", python)
    assert log.count("worker.spawn") == 1
    assert f'reason="{python}: no such file or directory"' in log


def test_address_in_use_is_exit_1_with_the_address(serve):
    server = serve("echo:application")
    log = failing("echo:application", "-b", "127.0.0.1", "-p", server.port, tcp=False)
    assert f"Couldn't listen on 127.0.0.1:{server.port}: Address already in use" in log


def test_address_of_another_host_is_exit_1():
    log = failing("echo:application", "-b", "192.0.2.1", "-p", 0, tcp=False)
    assert "Couldn't listen on 192.0.2.1:0" in log


def test_two_servers_on_port_0_get_two_ports(serve):
    first, second = serve("echo:application"), serve("echo:application")
    assert first.port != second.port
    assert get(first, "/a").startswith(b"GET /a")
    assert get(second, "/b").startswith(b"GET /b")


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(serve, host):
    server = serve("ws_probe:application", "-b", host, "-p", 0, tcp=False, start=False)
    port = int(server.log_has(rb"Listening on TCP address ::1:(\d+)", 30)[1])
    with RawWebSocket(("::1", port), "/scope") as client:
        message = client.message()
    assert '"client": ["::1", ' in message
    assert f'"server": ["::1", {port}]' in message


def test_unix_socket_serves_http_and_websockets(serve, tmp_path):
    path = str(tmp_path / "web.sock")
    server = serve("ws_probe:application", "-u", path, tcp=False)
    assert server.port is None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1000).endswith(b"pong")
    with RawWebSocket(path, "/scope") as client:
        message = client.message()
        assert '"client": null' in message
        assert '"server": null' in message  # as under Daphne
    with RawWebSocket(path, "/echo") as client:
        client.text("over unix")
        assert client.message() == "over unix"
    server.access_has(rb'None - - \[[^]]*\] "GET /ping" 200 4\n')
    server.stop()
    assert not os.path.exists(path)


def test_stale_unix_socket_is_taken_over_and_a_live_one_is_not(serve, tmp_path):
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)
    server = serve("echo:application", "-u", path, tcp=False)
    log = failing("echo:application", "-u", path, tcp=False)
    assert f"Couldn't listen on {path}: Address already in use" in log
    with socket.socket(socket.AF_UNIX) as sock:  # the first still has it
        sock.connect(path)
        sock.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"GET /a" in sock.recv(1000)
    server.stop()


def test_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    log = failing("echo:application", "-u", path, tcp=False)
    assert f"Couldn't listen on {path}" in log
    assert path.read_text() == "data"


def test_unix_socket_beside_tcp(serve, tmp_path):
    path = str(tmp_path / "web.sock")
    server = serve("echo:application", "-u", path, "-p", 0, tcp=False, start=False)
    port = int(server.log_has(rb"Listening on TCP address 127\.0\.0\.1:(\d+)", 30)[1])
    server.log_has(rb"Listening on unix socket")
    with RawWebSocket(("127.0.0.1", port)) as one, RawWebSocket(path) as other:
        one.text("tcp")
        other.text("unix")
        assert (one.message(), other.message()) == ("tcp", "unix")


# ---- workers and the end ----


def test_three_workers_share_the_clients(serve):
    server = serve("lifespans:application", "--workers", 3, "--edge-loops", 1)
    clients = [RawWebSocket(("127.0.0.1", server.port)) for _ in range(9)]
    try:
        pids = [client.message().rsplit("pid=", 1)[1] for client in clients]
    finally:
        for client in clients:
            client.sock.close()
    assert len(set(pids)) == 3
    assert all(pids.count(pid) == 3 for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_with_exit_code_0(number):
    with Channelsd("echo:application") as server, RawWebSocket(("127.0.0.1", server.port)) as client:
        server.signal(number)
        assert client.closing()[0] == 1001
        client.close(1001)
        assert client.ended()
        assert server.wait_exit() == 0


def test_readiness_line_stands_alone_in_daphnes_words(serve):
    server = serve("echo:application")
    assert f"Listening on TCP address 127.0.0.1:{server.port}\n" in server.stderr.text()


def test_version_and_help_go_to_stdout():
    for flag, words in (("--version", "channelsd "), ("--help", "--websocket_timeout"), ("-h", "usage")):
        done = subprocess.run([binary(), flag], capture_output=True, text=True, timeout=10, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert words in done.stdout


def test_refused_handshake_on_a_unix_socket_is_logged_without_an_address(serve, tmp_path):
    path = str(tmp_path / "web.sock")
    server = serve("ws_probe:application", "-u", path, tcp=False)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(handshake("/reject"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 403 ")
    server.access_has(rb'None - - \[[^]]*\] "WSREJECT /reject" - -\n')
