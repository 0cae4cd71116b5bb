# SPDX-License-Identifier: BSD-3-Clause
"""install(): what is not as it was published is left alone, with one line in the log; what the worker says of itself."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fake_edge import DISCONNECT, NOT_INHERITED, PACKAGE, Edge

pytest.importorskip("channels")

import channels

HAS_HOP = tuple(map(int, channels.__version__.split(".")[:2])) >= (4, 2)

# Where Channels is, as a copy that may be edited, and what the scripts print.
PRELUDE = """
import logging, sys
sys.path[:0] = [{package!r}, *{path!r}]
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
from django.conf import settings
settings.configure(DATABASES={{}}, CHANNEL_LAYERS={{}})
import channels.consumer, channels.db, channels.generic.http, channels.generic.websocket, channels.layers, channels.utils
"""


def python(script, path=(), prelude=PRELUDE):
    """The lines that a script prints in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    code = prelude.format(package=str(PACKAGE), path=[str(each) for each in path]) + textwrap.dedent(script)
    result = subprocess.run([sys.executable, "-c", code], check=False, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


INSTALL = "import channelsd.accelerate; report = channelsd.accelerate.install('exact')\n"


@pytest.fixture
def copy(tmp_path):
    """A copy of Channels that stands before the installed one."""
    source = Path(channels.__file__).parent
    for file in source.rglob("*.py"):
        target = tmp_path / "channels" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return tmp_path


def warnings(lines):
    return [line for line in lines if line.startswith("WARNING")]


def test_one_line_says_what_was_replaced():
    lines = python(INSTALL + "channelsd.accelerate.install('exact'); channelsd.accelerate.install('off')")
    assert len(lines) == 1
    assert lines[0].startswith("INFO Accelerated: asgiref.sync.ThreadSensitiveContext.__aexit__, channels.consumer.")


def test_off_replaces_nothing():
    script = """
    before = [dict(vars(module)) for name, module in sorted(sys.modules.items()) if name.startswith("channels.")]
    import channelsd.accelerate
    report = channelsd.accelerate.install("off")
    after = [dict(vars(module)) for name, module in sorted(sys.modules.items()) if name.startswith("channels.")]
    print(before == after, report.replacements, report.skipped)
    """
    assert python(script) == ["True [] []"]


def test_unknown_mode():
    script = """
    import channelsd.accelerate
    try:
        channelsd.accelerate.install("fast")
    except ValueError as error:
        print(error)
    """
    assert python(script) == ["mode 'fast' is none of off, exact, full"]


@pytest.mark.parametrize(
    ("module", "left"),
    [
        ("utils.py", "channels.consumer.await_many_dispatch is channels.utils.await_many_dispatch"),
        ("consumer.py", "channels.consumer.await_many_dispatch is channels.utils.await_many_dispatch"),
        ("layers.py", "'accelerate' not in channels.layers.InMemoryChannelLayer.send.__code__.co_filename"),
        ("db.py", "'accelerate' not in channels.consumer.AsyncConsumer.dispatch.__code__.co_filename"),
    ],
)
def test_module_that_is_not_as_published(copy, module, left):
    """A release that nobody has read, a distribution's patch, an edit: only what stands in that file is left alone."""
    if module == "db.py" and not HAS_HOP:
        pytest.skip("nothing of this version's db.py is replaced")
    path = copy / "channels" / module
    path.write_bytes(path.read_bytes() + b"\n# edited\n")
    lines = python(INSTALL + f"print({left})\nprint(len(report.replacements) > 0)", [copy])
    assert lines[-2:] == ["True", "True"]
    name = f"channels.{path.stem}"
    assert [line for line in warnings(lines) if f"Not accelerated: {name} (" in line] == [
        f"WARNING Not accelerated: {name} (Channels {channels.__version__}: {path} is none of the versions known here)"
    ]


PATCHES = {
    "await_many_dispatch": (
        "async def mine(sources, dispatch): pass\nchannels.consumer.await_many_dispatch = mine",
        "channels.consumer.await_many_dispatch is mine",
    ),
    "await_many_dispatch_everywhere": (
        "async def mine(sources, dispatch): pass\n"
        "channels.consumer.await_many_dispatch = channels.utils.await_many_dispatch = mine",
        "channels.consumer.await_many_dispatch is mine",
    ),
    "dispatch": (
        "async def mine(self, message): pass\nchannels.consumer.AsyncConsumer.dispatch = mine",
        "channels.consumer.AsyncConsumer.dispatch is mine",
    ),
    "wrapped_dispatch": (
        "import functools\nstock = channels.consumer.AsyncConsumer.dispatch\n"
        "@functools.wraps(stock)\nasync def mine(self, message): return await stock(self, message)\n"
        "channels.consumer.AsyncConsumer.dispatch = mine",
        "channels.consumer.AsyncConsumer.dispatch is mine",
    ),
    "layer_send": (
        "async def mine(self, channel, message): pass\nchannels.layers.InMemoryChannelLayer.send = mine",
        "channels.layers.InMemoryChannelLayer.send is mine",
    ),
    "layer_receive": (
        "async def mine(self, channel): pass\n"
        "stock = channels.layers.InMemoryChannelLayer.send\nchannels.layers.InMemoryChannelLayer.receive = mine",
        "channels.layers.InMemoryChannelLayer.receive is mine and channels.layers.InMemoryChannelLayer.send is stock",
    ),
    "encode_json": (
        "cls = channels.generic.websocket.AsyncJsonWebsocketConsumer\n"
        "async def mine(cls, content): pass\nmine = cls.encode_json = classmethod(mine)",
        "vars(cls)['encode_json'] is mine",
    ),
    "async_to_sync": (
        "def mine(awaitable): pass\nchannels.consumer.async_to_sync = mine",
        "channels.consumer.async_to_sync is mine",
    ),
}
HOP_PATCHES = {
    "aclose_old_connections": (
        "async def mine(): pass\nchannels.db.aclose_old_connections = channels.consumer.aclose_old_connections = mine",
        "channels.consumer.aclose_old_connections is mine is channels.db.aclose_old_connections",
    ),
    "close_old_connections": (
        "import django.db\ndef mine(**kwargs): pass\n"
        "django.db.close_old_connections = channels.db.close_old_connections = mine\n"
        "stock = channels.consumer.aclose_old_connections",
        "channels.consumer.aclose_old_connections is stock",
    ),
}


@pytest.mark.parametrize("name", [*PATCHES, *HOP_PATCHES])
def test_function_that_somebody_has_patched(name):
    """It stays, and so does what would have gone round it; one line names it."""
    if name in HOP_PATCHES and not HAS_HOP:
        pytest.skip("this version has no aclose_old_connections")
    patch, left = (PATCHES | HOP_PATCHES)[name]
    lines = python(f"{patch}\n{INSTALL}print({left})\nprint(len(report.replacements) > 0)")
    assert lines[-2:] == ["True", "True"]
    said = warnings(lines)
    assert said and len(said) == len(set(said))
    assert all("patched" in line for line in said)


def test_only_one_name_is_patched():
    """A tool that put its own aclose_old_connections into channels.consumer alone still has it there."""
    if not HAS_HOP:
        pytest.skip("this version has no aclose_old_connections")
    script = "async def mine(): pass\nchannels.consumer.aclose_old_connections = mine\n" + INSTALL
    assert python(script + "print(channels.consumer.aclose_old_connections is mine)")[-1] == "True"


@pytest.mark.parametrize("content", ["", "__version__ = '9'\n"])
@pytest.mark.parametrize("kind", ["package", "module"])
def test_something_else_that_is_called_channels(tmp_path, content, kind):
    """A project's own application of that name, say."""
    if kind == "package":
        (tmp_path / "channels").mkdir()
        (tmp_path / "channels" / "__init__.py").write_text(content)
    else:
        (tmp_path / "channels.py").write_text(content)
    prelude = "import sys\nsys.path[:0] = [{package!r}, *{path!r}]\nimport channels\n"
    script = INSTALL + "print(channels.__file__, [name for name in report.replacements if 'channels' in name])"
    lines = python(script, [tmp_path], prelude)
    assert len(lines) == 1 and lines[0].startswith(str(tmp_path)) and lines[0].endswith(" []")


PROJECT = """
import os, django
from django.conf import settings
settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}, INSTALLED_APPS=["channels"])
django.setup()
from channels.generic.websocket import AsyncWebsocketConsumer
application = AsyncWebsocketConsumer.as_asgi()
"""


@pytest.mark.parametrize(("options", "says"), [(["--accelerate", "exact"], 1), (["--accelerate", "off"], 0), ([], 1)])
def test_worker_says_once_what_it_replaced(tmp_path, options, says):
    (tmp_path / "project.py").write_text(PROJECT)
    with Edge("project:application", *options, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}) as edge:
        id = edge.accepted("/")
        edge.put([DISCONNECT, id, 1000, ""])
        assert edge.shutdown() == 0
    assert edge.stderr.all().count("INFO     Accelerated: ") == says
    assert edge.stderr.all().count("Not accelerated") == 0


def test_worker_of_a_project_that_patches(tmp_path):
    patch = "import channels.consumer\nasync def mine(sources, dispatch): pass\n"
    patch += "channels.consumer.await_many_dispatch = mine\n"
    (tmp_path / "project.py").write_text(PROJECT + patch)
    with Edge("project:application", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}) as edge:
        assert edge.shutdown() == 0
    line = "Not accelerated: channels.consumer.await_many_dispatch (somebody has patched it)"
    assert edge.stderr.all().count(line) == 1


def test_what_stands_in_the_place_of_json_later_is_used():
    lines = python(
        """
        import asyncio, types
        from unittest import mock
        """
        + INSTALL
        + """
        websocket = channels.generic.websocket

        def encoded():
            return asyncio.run(websocket.AsyncJsonWebsocketConsumer.encode_json({"a": 1}))

        other = types.SimpleNamespace(dumps=lambda value: f"other {value}")
        with mock.patch("channels.generic.websocket.json", other):
            print(encoded())
        with mock.patch("json.dumps", lambda value: f"patched {value}"):
            print(encoded())
        print(encoded())
        """
    )
    assert lines[-3:] == ["other {'a': 1}", "patched {'a': 1}", '{"a": 1}']
