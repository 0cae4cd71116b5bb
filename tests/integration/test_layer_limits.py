# SPDX-License-Identifier: BSD-3-Clause
"""What processes that connect to the node of a server may take of it, and what becomes of its sockets' paths when
somebody removes or replaces them."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time

import layer_peer as lp
import pytest
from layer_peer import LayerServe, Peer
from rawws import RawWebSocket, wait_until
from server import read_response

FILES = 128
PEERS = (FILES - 32) // 4
FEW_FILES = ("prlimit", f"--nofile={FILES}:{FILES}")


def connect_silently(stack, path, count):
    """That many connections on which nothing is said."""
    sockets = []
    for _ in range(count):
        sock = stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(30)
        sock.connect(str(path))
        sockets.append(sock)
    return sockets


def is_cut(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def can_greet(path):
    with Peer(path, hello=False) as peer:
        try:
            peer.write(lp.HELLO, 1, os.getpid(), "client")
            return peer.read()[:2] == [lp.TOLD_HELLO, 1]
        except (EOFError, ConnectionError):
            return False


def get(server):
    with server.connect(10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return read_response(sock)[0]


def promised(server):
    return int(server.log_has(rb"app\.file_limit files=128 connections=(\d+)")[1])


def test_peers_leave_the_connections_that_http_was_promised(serve, tmp_path):
    path = tmp_path / "layer.sock"
    server = serve("faults:application", "--layer-socket", path, prefix=FEW_FILES)
    connections = promised(server)
    assert connections >= 8
    with contextlib.ExitStack() as stack:
        silent = connect_silently(stack, path, 2 * FILES)
        server.log_has(rf'layer\.refused reason="{PEERS} connections .*ulimit -n"')
        for sock in silent[PEERS:]:
            assert is_cut(sock)
        websockets = [stack.enter_context(contextlib.closing(RawWebSocket(server))) for _ in range(connections)]
        for websocket in websockets:
            websocket.echo(b"inside")
        assert not can_greet(path)
        for sock in silent:
            sock.close()
        wait_until(lambda: can_greet(path), 10, "a peer has a place that became free")
    wait_until(lambda: get(server) == 200, 10, "a connection is served")
    assert server.stderr.data.count(b"layer.refused") <= 3, "one line in ten seconds"


def test_a_process_that_is_refused_is_told_where_to_look(serve, tmp_path):
    path = tmp_path / "layer.sock"
    server = serve("faults:application", "--layer-socket", path, prefix=FEW_FILES)
    with contextlib.ExitStack() as stack:
        connect_silently(stack, path, PEERS)
        for call in ('layer.group_send("room", {"type": "x"})', "layer.new_channel()"):
            program = (
                "import asyncio\nfrom channelsd.layer import ChannelLayer, ChannelLayerUnavailable\n"
                f"layer = ChannelLayer(socket={str(path)!r}, timeout=0.5)\n"
                f"try:\n    asyncio.run(asyncio.wait_for({call}, 10))\n"
                "except ChannelLayerUnavailable as error:\n    print(error)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
            )
            assert "layer.refused" in done.stdout, done
    server.log_has(rb"layer\.refused")


def test_who_says_nothing_loses_the_place(serve, tmp_path):
    path = tmp_path / "layer.sock"
    server = serve("faults:application", "--layer-socket", path, prefix=FEW_FILES)
    with Peer(path) as peer, contextlib.ExitStack() as stack:
        begun = time.monotonic()
        for sock in connect_silently(stack, path, PEERS - 1):
            assert is_cut(sock)
        assert time.monotonic() - begun > 5, "they had time to say something"
        peer.done(lp.PING)  # it has said HELLO, and nothing since
    server.log_has(rb"layer\.silent .*HELLO")
    assert server.stderr.data.count(b"layer.silent") <= 2


def test_layer_serve_takes_all_the_descriptors_that_it_may(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))  # the node inherits it
    try:
        server = LayerServe(tmp_path / "layer.sock")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server:
        assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


# ---- paths ----


def test_a_server_leaves_a_socket_that_replaced_its_own(serve, tmp_path):
    path = tmp_path / "layer.sock"
    server = serve("scripted:application", "--layer-socket", path)
    with socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))
        server.stop()
    assert path.is_socket()


PROJECT = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "limits_settings"
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""
SETTINGS = """
SECRET_KEY = "test"
INSTALLED_APPS = ["channels"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channelsd.layer.ChannelLayer"}}
"""


def test_a_default_path_that_is_removed_is_made_again(serve, tmp_path, monkeypatch):
    pytest.importorskip("channels")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("CHANNELSD_LAYER_SOCKET", raising=False)
    (tmp_path / "limits_settings.py").write_text(SETTINGS)
    (tmp_path / "limits_asgi.py").write_text(PROJECT)
    server = serve("limits_asgi:application", env={"PYTHONPATH": str(tmp_path)})
    (path,) = server.log_has(rb"layer\.listen path=(\S+)\n").groups()
    path = tmp_path / "channelsd" / path.decode().rsplit("/", 1)[1]
    with Peer(path) as before:
        start = len(server.stderr.data)
        path.unlink()
        path.parent.rmdir()
        server.log_has(rb'layer\.listen path=\S+ reason="somebody has taken the socket away"', seconds=20, start=start)
        server.log_has(rb"layer\.listen path=\S+\n", seconds=20, start=start)
        assert can_greet(path)
        before.done(lp.PING)
    server.stop()
    assert list(path.parent.iterdir()) == []
