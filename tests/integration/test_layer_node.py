# SPDX-License-Identifier: BSD-3-Clause
"""The node of the channel layer over its socket, spoken to by hand (docs/layer-protocol.md): what peers may do, what
becomes of those that do otherwise, and how the socket comes and goes."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import layer_peer as lp
import msgpack
import pytest
from layer_peer import REST, LayerServe, Peer, body
from server import ROOT, binary


@pytest.fixture
def node(tmp_path):
    with LayerServe(tmp_path / "layer.sock") as server:
        yield server


# ---- the socket ----


def test_socket_is_ours_alone_and_goes_at_the_end(tmp_path):
    path = tmp_path / "layer.sock"
    with LayerServe(path) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server.peer()
    assert not path.exists()


def test_socket_of_a_dead_node_is_replaced(tmp_path):
    path = tmp_path / "layer.sock"
    with LayerServe(path, expect_exit=-signal.SIGKILL) as first:
        first.signal(signal.SIGKILL)
        first.wait_exit()
    assert path.exists()
    with LayerServe(path) as second:
        second.peer().done(lp.PING)


@pytest.mark.parametrize("arguments", [["layer", "serve"], ["-p", "0", "scripted:application"]])
def test_socket_of_a_live_node_is_refused(node, arguments):
    command = [binary(), *arguments, "--layer-socket", node.path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert f"another process listens on {node.path}" in ended.stderr
    node.peer().done(lp.PING)


def test_a_file_in_the_way_is_left_alone(tmp_path):
    path = tmp_path / "layer.sock"
    path.write_text("precious")
    ended = subprocess.run(
        [binary(), "layer", "serve", "--layer-socket", path], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1 and "is no socket" in ended.stderr
    assert path.read_text() == "precious"


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Where nodes have their folder by default."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("CHANNELSD_LAYER_SOCKET", raising=False)
    return tmp_path


def test_layer_serve_is_found_at_the_general_path_by_default(runtime):
    with LayerServe(None) as server:
        path = runtime / "channelsd" / "layer.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert str(path) in server.stderr.text()
        with Peer(path) as peer:
            peer.done(lp.PING)
        second = subprocess.run([binary(), "layer", "serve"], capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 1
        assert f"another process listens on {path} (pid {server.process.pid})" in second.stderr
    assert list(path.parent.iterdir()) == []


def test_layer_serve_does_not_use_a_folder_that_others_can_write_to(runtime):
    folder = runtime / "channelsd"
    folder.mkdir()
    folder.chmod(0o770)
    ended = subprocess.run([binary(), "layer", "serve"], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert f"the folder {folder} belongs to, or can be written by, another user" in ended.stderr
    assert list(folder.iterdir()) == []


def test_layer_serve_leaves_a_socket_that_replaced_its_own(tmp_path):
    path = tmp_path / "layer.sock"
    with LayerServe(path), socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))
    assert path.is_socket()


SERVE = ["layer", "serve", "--layer-socket", "/nonexistent/sock"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([*SERVE, "--layer-config", '{"capcity": 5}'], "--layer-config: .*capcity"),
        ([*SERVE, "--layer-config", "{"], "--layer-config: "),
        ([*SERVE, "--layer-config", "/nonexistent/layer.json"], "No such file"),
        ([*SERVE, "--layer-config"], "value is missing"),
        ([*SERVE, "--bogus"], 'unknown option "--bogus"'),
        ([*SERVE, "extra"], 'extra argument "extra"'),
        ([*SERVE, "-v", "7"], "--verbosity"),
        (["layer", "serve", "--layer-socket", ""], "--layer-socket: expected a path"),
        (["layer", "bogus"], 'unknown command "bogus"'),
        (["layer"], "command is missing"),
        (["m:a", "--layer-config", '{"capcity": 5}'], "--layer-config: .*capcity"),
        (["m:a", "--layer-config", "/nonexistent/layer.json"], "No such file"),
    ],
)
def test_wrong_arguments_are_named_and_end_with_2(command, said):
    ended = subprocess.run([binary(), *command], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert re.search(said, ended.stderr), ended.stderr


def test_settings_come_from_a_file_or_the_environment(tmp_path):
    settings = tmp_path / "layer.json"
    settings.write_text('{"capacity": 7, "prefix": "mine"}')
    with LayerServe(tmp_path / "a.sock", "--layer-config", settings) as server:
        assert server.peer().settings[2:6] == ["mine", 60, 86400, 7]
    environment = {"CHANNELSD_LAYER_SOCKET": str(tmp_path / "b.sock"), "CHANNELSD_LAYER_CONFIG": '{"capacity": 8}'}
    with LayerServe(None, env=environment):
        with Peer(tmp_path / "b.sock") as peer:
            assert peer.settings[5] == 8


# ---- layers ----


def test_equal_settings_are_one_layer_and_others_another(node):
    a, b, c = node.peer(), node.peer(config="{}"), node.peer(config='{"prefix": "other"}')
    for peer in (a, b, c):
        peer.done(lp.JOIN, "room")
    a.done(lp.GROUP_SEND, "room", body(type="x"))
    for peer in (a, b):
        assert peer.take(lambda r: r[0] == lp.DELIVER) == [lp.DELIVER, 0, None, ["room"], [], body(type="x")]
    assert c.nothing_waits()


def test_wrong_settings_are_refused_and_the_connection_stays(node):
    peer = node.peer(open_layer=False)
    code, why = peer.open(0, '{"capacity": "many"}')
    assert code == lp.INVALID and "capacity" in why
    assert peer.open(0) is None
    peer.done(lp.JOIN, "room")


def test_64_layers_at_most_are_in_use_at_a_time(node):
    many, other = node.peer(open_layer=False), node.peer(open_layer=False)
    for i in range(64):
        assert many.open(i, f'{{"capacity": {i + 1}}}') is None
    code, why = other.open(0, '{"capacity": 65}')
    assert code == lp.UNSUPPORTED and "64" in why
    assert other.open(0, '{"capacity": 64}') is None
    many.done(lp.JOIN, "room", layer=63)
    many.close()
    deadline = time.monotonic() + 10
    while other.groups():  # until the node knows that the peer has gone
        assert time.monotonic() < deadline
    for i in range(1, 64):
        assert other.open(i, f'{{"capacity": {100 + i}}}') is None


def test_a_layer_in_which_something_waits_keeps_its_place(node):
    for i in range(64):
        with Peer(node.path, config=f'{{"capacity": {i + 1}}}') as peer:
            if i < 32:
                peer.done(lp.SEND, "jobs", body(n=i))
            elif i < 63:
                peer.done(lp.GROUP_ADD, "room", "somebody")
    assert node.peer(open_layer=False).open(0, '{"capacity": 64}') is None  # in which nothing waits, and now is in use
    assert node.peer(open_layer=False).open(0, '{"capacity": 100}')[0] == lp.UNSUPPORTED
    for i in range(32):
        with Peer(node.path, config=f'{{"capacity": {i + 1}}}') as peer:
            req = peer.ask(lp.RECEIVE, 0, "jobs")
            assert peer.read() == [lp.MESSAGE, 0, req, body(n=i)]
            peer.write(lp.TAKEN, 0, req)
            peer.done(lp.PING)
    with Peer(node.path, config='{"capacity": 40}') as peer:
        assert peer.groups() == {"room": 1}


# ---- messages ----


def test_the_delivery_of_a_senders_own_group_comes_before_its_answer(node):
    peer = node.peer()
    peer.done(lp.JOIN, "room")
    req = peer.ask(lp.GROUP_SEND, 0, "room", body(type="x"))
    assert peer.read()[0] == lp.DELIVER
    assert peer.read() == [lp.REPLY, req, lp.DONE, None]


def test_a_send_waits_for_the_receivers_word(node):
    sender, receiver = node.peer(), node.peer()
    for full, code in ((False, lp.DONE), (True, lp.FULL)):
        req = sender.ask(lp.SEND, 0, receiver.channel(), body(type="x"))
        ticket = receiver.take(lambda r: r[0] == lp.DELIVER)[2]
        receiver.write(lp.ACCEPTED, 0, ticket, full)
        assert sender.take(lambda r, req=req: r[:2] == [lp.REPLY, req])[2] == code


def test_messages_survive_a_peer_that_connects_again(node):
    with Peer(node.path) as first:
        first.done(lp.SEND, "jobs", body(n=1))
        base = first.base
    second = node.peer(bases=[base])
    assert second.base == base
    req = second.ask(lp.RECEIVE, 0, "jobs")
    assert second.read() == [lp.MESSAGE, 0, req, body(n=1)]


def test_an_untaken_message_of_a_killed_peer_goes_to_the_next(node):
    with Peer(node.path) as first:
        req = first.ask(lp.RECEIVE, 0, "jobs")
        first.done(lp.SEND, "jobs", body(n=1))
        assert first.read() == [lp.MESSAGE, 0, req, body(n=1)]
    second = node.peer()
    req = second.ask(lp.RECEIVE, 0, "jobs")
    assert second.read() == [lp.MESSAGE, 0, req, body(n=1)]
    second.write(lp.TAKEN, 0, req)
    assert second.nothing_waits()


def test_a_channel_of_another_peer_is_added_and_taken_out(node):
    a, b = node.peer(), node.peer()
    a.done(lp.GROUP_ADD, "room", b.channel())
    assert b.read() == [lp.ADD, 0, "room", b.channel()]
    assert a.groups() == {"room": 1}
    a.done(lp.GROUP_DISCARD, "room", b.channel())
    assert b.read() == [lp.DISCARD, 0, "room", b.channel()]
    b.done(lp.LEAVE, "room")
    assert a.groups() == {}


def test_another_prefix_has_its_own_base(node):
    a, b = node.peer(), node.peer()
    base = a.done(lp.MAILBOX, "jobs")
    assert base.startswith("jobs.") and base.split("!")[1] == a.base.split("!")[1]
    b.ask(lp.SEND, 0, base + REST, body(type="x"))
    assert a.take(lambda r: r[0] == lp.DELIVER)[4] == [base + REST]
    assert a.call(lp.MAILBOX, "no good")[0] == lp.INVALID


def test_a_flush_is_told_to_everybody(node):
    a, b = node.peer(), node.peer()
    b.done(lp.JOIN, "room")
    a.done(lp.FLUSH)
    assert b.read() == [lp.FLUSHED, 0]
    assert a.groups() == {}


def test_the_largest_message_passes_and_one_byte_more_does_not(node):
    peer = node.peer()
    peer.done(lp.JOIN, "room")
    most = 16 * 1024 * 1024
    large = msgpack.packb({"b": b"x" * (most - 8)})
    assert len(large) == most
    peer.done(lp.GROUP_SEND, "room", large)
    assert peer.read()[5] == large
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it closes as soon as it has read the length
        peer.write(lp.GROUP_SEND, 0, 99, "room", large + b"x")
    assert peer.is_closed()
    node.log_has(rb"layer\.broken .*body")


# ---- peers that do what they should not ----


def raw(node, data, hello=True):
    """What the node says about a peer that sends these bytes."""
    start = len(node.stderr.data)
    peer = node.peer(open_layer=hello, hello=hello)
    peer.sock.sendall(data)
    assert peer.is_closed()
    return node.log_has(rb"layer\.broken [^\n]*", start=start)[0]


def pack(*record):
    return msgpack.packb(list(record))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"array"),
        (pack(99), b"operation"),
        (pack(lp.PING), b"items"),
        (pack(lp.PING, -1), b"req"),
        (pack(lp.JOIN, 0, 1, b"room"), b"text"),
        (pack(lp.JOIN, 5, 1, "room"), b"a layer that is not open"),
        (pack(lp.JOIN, 64, 1, "room"), b"layer"),
        (pack(lp.OPEN, 0, 1, "", []), b"open already"),
        (pack(lp.HELLO, 1, 1, "client"), b"a second HELLO"),
        (pack(lp.LISTEN, "/tmp/elsewhere.sock"), b"no worker"),
        (pack(lp.TAKEN, 0, 7), b"without a message"),
        (pack(lp.RECEIVE, 0, 7, "a") + pack(lp.RETURN, 0, 7), b"without a message"),
        (pack(lp.RECEIVE, 0, 7, "a") * 2, b"number in use"),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_closed_with_one_line(node, data, said):
    bystander = node.peer()
    assert said in raw(node, data)
    bystander.done(lp.PING)
    assert node.stderr.data.count(b"layer.broken") == 1


@pytest.mark.parametrize(
    ("data", "said"), [(pack(lp.PING, 1), b"HELLO"), (pack(lp.HELLO, 2, 1, "client"), b"another version")]
)
def test_a_peer_must_greet_first(node, data, said):
    assert said in raw(node, data, hello=False)


def test_what_is_wrong_but_no_breach_is_answered(node):
    peer = node.peer()
    for op, items in [
        (lp.SEND, ("a b", body(type="x"))),
        (lp.SEND, ("jobs", b"\xc0")),
        (lp.SEND, (peer.base.split("!")[0] + "!ctl", body(type="x"))),
        (lp.SEND, (peer.base.split("!")[0] + "!g.room", body(type="x"))),
        (lp.GROUP_SEND, ("a!b", body(type="x"))),
        (lp.JOIN, ("x" * 100,)),
        (lp.JOIN, ("x" * 40000,)),
        (lp.GROUP_ADD, ("room", "\u00e9")),
        (lp.RECEIVE, ("specific.x!y",)),
    ]:
        code, why = peer.call(op, *items)
        assert code == lp.INVALID and why
    assert peer.groups() == {}


def test_a_peer_that_does_not_read_holds_nobody_up_and_is_served_again(node):
    slow, fast = node.peer(), node.peer()
    large = msgpack.packb({"b": b"x" * (1 << 20)})
    for peer in (slow, fast):
        peer.done(lp.JOIN, "room")
    for _ in range(48):
        fast.done(lp.GROUP_SEND, "room", large)
        assert fast.read()[0] == lp.DELIVER
    stats = fast.stats()
    assert 8 <= stats["dropped_full"] <= 16  # of 48 MiB about 33 were taken
    assert fast.call(lp.SEND, slow.channel(), body(type="x"))[0] == lp.FULL
    for _ in range(48 - stats["dropped_full"]):
        assert slow.take(lambda r: r[0] == lp.DELIVER)[5] == large
    slow.done(lp.PING)
    fast.done(lp.GROUP_SEND, "room", body(type="x"))
    assert slow.read()[5] == body(type="x")
    node.log_has(rb"layer\.full ")


def test_a_peer_that_sends_all_the_time_does_not_starve_another(node):
    flood, other = node.peer(), node.peer()
    stop = threading.Event()
    burst = pack(lp.SEND, 0, 1, "specific.nobody!x", body(b=b"x" * 50000)) * 40

    def send():
        with contextlib.suppress(OSError):  # the end of the test
            while not stop.is_set():
                flood.sock.sendall(burst)

    def read():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                flood.sock.recv(1 << 20)

    threads = [threading.Thread(target=f, daemon=True) for f in (send, read)]
    for thread in threads:
        thread.start()
    try:
        waits = []
        for _ in range(50):
            start = time.monotonic()
            other.done(lp.PING)
            waits.append(time.monotonic() - start)
    finally:
        stop.set()
        flood.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
    assert sorted(waits)[25] < 0.5


def test_a_node_that_ends_closes_its_peers(tmp_path):
    with LayerServe(tmp_path / "layer.sock") as server:
        peer = server.peer()
        peer.done(lp.JOIN, "room")
        peer.ask(lp.RECEIVE, 0, "jobs")
        server.stop()
        assert peer.is_closed()


# ---- the server's own ----


def test_a_server_has_the_layer_on_its_socket(tmp_path, serve):
    path = tmp_path / "layer.sock"
    server = serve("scripted:application", "--layer-socket", path, "--layer-config", '{"capacity": 3}')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Peer(path) as peer:
        assert peer.settings[5] == 3
        peer.done(lp.JOIN, "room")
    server.stop()
    assert not path.exists()


def test_a_worker_inherits_a_socket_to_the_node(serve):
    server = serve("scripted:application")
    (pid,) = server.worker_pids()
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    number = int(arguments[arguments.index("--layer") + 1])
    links = [int(n) for n in arguments[arguments.index("--links") + 1].split(",")]
    assert number == max(links) + 1
    assert os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")


# ---- where a worker says that its project looks ----

PROJECT = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "layer_settings"
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""
SETTINGS = """
SECRET_KEY = "test"
INSTALLED_APPS = ["channels"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channelsd.layer.ChannelLayer"}}
"""
COMMAND = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "layer_settings"
import django
django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
async_to_sync(get_channel_layer().send)("jobs", {"type": "x"})
from channelsd.layer import paths
print(paths.project_path())
"""


@pytest.fixture
def project(runtime):
    """The environment of a project that has our layer."""
    pytest.importorskip("channels")
    (runtime / "layer_settings.py").write_text(SETTINGS)
    (runtime / "layer_asgi.py").write_text(PROJECT)
    return {"PYTHONPATH": str(runtime)}


def run_command(project):
    """The project's path, by a process of it that has sent a message to "jobs"."""
    python = os.environ.get("CHANNELSD_PYTHON", sys.executable)
    environment = {**os.environ, "PYTHONPATH": f"{project['PYTHONPATH']}:{ROOT / 'python'}"}
    command = [python, "-c", COMMAND]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    return Path(done.stdout.strip())


def take_job(path):
    with Peer(path) as peer:
        req = peer.ask(lp.RECEIVE, 0, "jobs")
        assert peer.read() == [lp.MESSAGE, 0, req, body(type="x")]
        peer.write(lp.TAKEN, 0, req)
        peer.done(lp.PING)


def test_other_processes_of_a_project_find_its_server(serve, project):
    server = serve("layer_asgi:application", "--workers", "2", env=project)
    path = Path(server.log_has(rb"layer\.listen path=(\S+)")[1].decode())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert run_command(project) == path
    take_job(path)
    (first, second) = server.worker_pids()
    start = len(server.stderr.data)
    os.kill(first, signal.SIGKILL)
    server.log_has(rb"worker\.ready", start=start)
    run_command(project)
    take_job(path)
    server.stop()
    assert server.stderr.data.count(b"layer.listen") == 1, "the same path again is nothing new"
    assert list(path.parent.iterdir()) == []


def test_the_second_server_of_a_project_takes_over_when_the_first_has_ended(serve, project):
    first = serve("layer_asgi:application", env=project)
    first.log_has(rb"layer\.listen path=")
    second = serve("layer_asgi:application", env=project)
    said = second.log_has(rb"layer\.listen path=\S+ reason=[^\n]*")[0].decode()
    assert f"(pid {first.process.pid})" in said
    path = run_command(project)
    take_job(path)
    first.stop()
    second.log_has(rb"layer\.listen path=\S+\n", seconds=20)
    run_command(project)
    take_job(path)
    second.stop()
    assert not path.exists()


def test_a_socket_that_replaced_the_servers_own_stays(serve, project):
    server = serve("layer_asgi:application", env=project)
    path = Path(server.log_has(rb"layer\.listen path=(\S+)")[1].decode())
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        server.stop()
    assert path.is_socket()


def test_a_project_whose_folder_is_not_safe_is_served_all_the_same(serve, project, runtime):
    (runtime / "channelsd").mkdir()
    (runtime / "channelsd").chmod(0o777)
    server = serve("layer_asgi:application", env=project)
    assert b"can be written by, another user" in server.log_has(rb"WARNING +layer\.listen [^\n]*")[0]
    assert list((runtime / "channelsd").iterdir()) == []
