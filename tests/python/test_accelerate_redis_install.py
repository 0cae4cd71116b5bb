# SPDX-License-Identifier: BSD-3-Clause
"""When RedisChannelLayer is replaced, and when it is left alone. Each case has a process of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("channels_redis") is None:
    pytest.skip("channels_redis is not installed", allow_module_level=True)

PACKAGE = Path(__file__).resolve().parents[2] / "python"

START = f"""
import logging, sys
sys.path.append({str(PACKAGE)!r})
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s", stream=sys.stdout)
from django.conf import settings
def configure(backend):
    settings.configure(CHANNEL_LAYERS={{"default": {{"BACKEND": backend}}}})
"""

INSTALL = """
from channelsd.accelerate import install
report = install("exact")
print("replaced", "channels_redis.core.RedisChannelLayer" in report.replacements)
print("imported", "channels_redis.core" in sys.modules)
"""


def run(before, after=""):
    """What a process prints that installs acceleration between the two pieces of code."""
    code = START + before + INSTALL + after
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "before",
    [
        "configure('channels_redis.core.RedisChannelLayer')",
        "configure('project.layers.OwnLayer')",
        "configure('channels.layers.InMemoryChannelLayer'); import channels_redis.core",
        "",
    ],
)
def test_replaced_where_it_may_be_used(before):
    output = run(before)
    assert "replaced True\nimported True" in output
    assert "Not accelerated" not in output


@pytest.mark.parametrize("backend", ["channels.layers.InMemoryChannelLayer", "channelsd.layer.ChannelLayer"])
def test_not_even_imported_where_it_is_not_used(backend):
    output = run(f"configure({backend!r})")
    assert "replaced False\nimported False" in output
    assert "channels_redis" not in output


def test_an_unknown_version_is_left_alone():
    output = run(
        "import channelsd.accelerate.redis as ours, channels_redis.core as core\n"
        "ours._KNOWN = set()\n"
        "before = dict(vars(core.RedisChannelLayer))\n",
        "print('same', before == dict(vars(core.RedisChannelLayer)))",
    )
    assert "replaced False" in output
    assert "same True" in output
    assert output.count("Not accelerated: channels_redis.core (channels_redis ") == 1
    warned = "WARNING RedisChannelLayer: redis-py's default socket_timeout of 5 s" in output
    assert warned == (int(importlib.import_module("redis").__version__.partition(".")[0]) >= 8)


@pytest.mark.parametrize("name", ["receive", "group_send"])
def test_a_patched_method_is_left_alone(name):
    output = run(
        f"import channels_redis.core as core\npatch = lambda *args: None\ncore.RedisChannelLayer.{name} = patch\n",
        f"print('same', core.RedisChannelLayer.{name} is patch)\n"
        "print('own', core.RedisChannelLayer.group_send.__code__.co_filename == core.__file__)",
    )
    assert "replaced False" in output
    assert "same True" in output
    assert f"Not accelerated: RedisChannelLayer.{name} (somebody has patched it)" in output
    assert f"own {name == 'receive'}" in output


def test_pools_are_cured_although_a_method_is_patched():
    output = run(
        "import channels_redis.core as core\ncore.RedisChannelLayer.receive = lambda *args: None\n",
        "print('wrapped', hasattr(core.RedisChannelLayer.create_pool, '__wrapped__'))",
    )
    assert "wrapped True" in output


def test_what_stands_in_for_group_send_has_its_name():
    output = run("import channels_redis.core as core\n", "print(core.RedisChannelLayer.group_send.__qualname__)")
    assert "RedisChannelLayer.group_send" in output
