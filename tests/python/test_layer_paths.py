# SPDX-License-Identifier: BSD-3-Clause
"""Where channelsd.layer finds the node's socket, and when it looks elsewhere."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync

import channelsd.layer as package
import fake_node
from channelsd.layer import ChannelLayer, ChannelLayerUnavailable, paths
from fake_node import Node

MESSAGE = {"type": "a.b"}
PACKAGE = Path(package.__file__).resolve().parents[2]


def test_socket_is_found_by_variable_and_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "channelsd"
    folder.mkdir(mode=0o700)
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    layer = ChannelLayer(timeout=0.1)
    with Node(folder / "layer.sock") as general:
        async_to_sync(layer.send)("jobs", MESSAGE)
        assert general.ops(fake_node.SEND)
        monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "named.sock"))
        with pytest.raises(ChannelLayerUnavailable, match=r"named\.sock.*CHANNELSD_LAYER_SOCKET"):
            async_to_sync(layer.send)("jobs", MESSAGE)
        with Node(tmp_path / "named.sock") as named:
            async_to_sync(layer.send)("jobs", MESSAGE)
            assert named.ops(fake_node.SEND)
            async_to_sync(layer.close)()


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """That of a project and the general one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    monkeypatch.setattr(paths, "settings_file", lambda: "/srv/project/settings.py")
    folder = tmp_path / "channelsd"
    folder.mkdir(mode=0o700)
    with Node(paths.project_path()) as own, Node(folder / "layer.sock") as general:
        yield own, general


async def test_node_that_restarts_is_not_given_up_for_the_general_one(two_nodes, caplog):
    own, general = two_nodes
    layer = ChannelLayer(timeout=30)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    own.stop()
    while "is away" not in caplog.text and not general.all_peers:
        await asyncio.sleep(0.01)
    own.start()
    await own.seen(fake_node.JOIN, 2)
    assert not general.all_peers
    await layer.close()


def test_node_that_stays_away_is_given_up_for_the_general_one(two_nodes, monkeypatch, caplog):
    own, general = two_nodes
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(paths, "time", SimpleNamespace(monotonic=lambda: clock.now))
    endpoint = paths.Endpoint(None, timeout=2)

    def reached():
        with endpoint.connect() as sock:
            return sock.getpeername()

    for _ in range(2):  # each absence counts by itself
        assert reached() == own.path
        own.stop()
        for later in (0, 1.5):
            clock.now += later
            with pytest.raises(ChannelLayerUnavailable, match="no channel layer answers"):
                endpoint.connect()
        own.start()
    assert reached() == own.path and not caplog.records
    own.stop()
    with pytest.raises(ChannelLayerUnavailable):
        endpoint.connect()
    clock.now += 2
    assert [reached(), reached()] == [general.path] * 2
    assert [record.args for record in caplog.records] == [(general.path, own.path)]
    # What comes first in the order is used whenever it is there.
    own.start()
    assert reached() == own.path
    assert caplog.records[-1].args == (own.path, general.path) and len(caplog.records) == 2


def test_socket_in_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    folder = tmp_path / "channelsd"
    folder.mkdir()
    folder.chmod(0o777)
    with Node(folder / "layer.sock") as node:
        with pytest.raises(ChannelLayerUnavailable, match=r"layer\.sock"):
            async_to_sync(ChannelLayer(timeout=0.1).send)("jobs", MESSAGE)
        assert not node.all_peers


PROJECT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "its_settings"
import django
django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channelsd.layer import paths
print(paths.project_path(), flush=True)
sys.stdin.readline()
async_to_sync(get_channel_layer().group_send)("room", {"type": "x"})
"""


def test_project_has_a_path_of_its_own(tmp_path):
    (tmp_path / "its_settings.py").write_text(
        'SECRET_KEY = "x"\nCHANNEL_LAYERS = {"default": {"BACKEND": "channelsd.layer.ChannelLayer"}}\n'
    )
    folder = tmp_path / "channelsd"
    folder.mkdir(mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": f"{PACKAGE}:{tmp_path}"}
    environment.pop(paths.VARIABLE, None)
    with subprocess.Popen(
        [sys.executable, "-c", PROJECT],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        path = child.stdout.readline().strip()
        assert Path(path).parent == folder and len(Path(path).name) == 12 + len(".sock")
        with Node(folder / "layer.sock") as general, Node(path) as own:
            child.communicate("\n", timeout=20)
            assert child.returncode == 0
            assert own.ops(fake_node.GROUP_SEND) and not general.all_peers
