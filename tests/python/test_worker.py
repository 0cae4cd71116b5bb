# SPDX-License-Identifier: BSD-3-Clause
"""The worker process: import of the application, lifespan, signals, links, and its end."""

import os
import signal
import subprocess
import sys

import msgpack
import pytest

from fake_edge import (
    APPS,
    BEAT,
    END,
    HELLO,
    PACKAGE,
    READY,
    SHUTDOWN,
    START_WORKER,
    TIMEOUT,
    W_BEAT,
    Edge,
)


def fails(application, *options, **more):
    """Starts a worker that cannot start: its stderr."""
    with Edge(application, *options, ready=False, **more) as edge:
        assert edge.get() is None
        assert edge.process.wait(TIMEOUT) == 3
        return edge.stderr.all()


@pytest.mark.parametrize(
    ("application", "message"),
    [
        ("shapes", "application 'shapes' must have the form module.path:object, for example config.asgi:application"),
        ("shapes:", "application 'shapes:' must have the form module.path:object"),
        (":x", "application ':x' must have the form module.path:object"),
        ("shapes:nothing", "application 'shapes:nothing': shapes has no attribute 'nothing'"),
        ("shapes:Holder.x", "application 'shapes:Holder.x': shapes.Holder has no attribute 'x'"),
        ("shapes:number", "application 'shapes:number' is not callable but int 5"),
        ("shapes:only_scope", "application 'shapes:only_scope' is no ASGI 3 application"),
        ("shapes:Consumer", "application 'shapes:Consumer' is a class"),
        ("shapes:wsgi", "application 'shapes:wsgi' looks like a WSGI application"),
    ],
)
def test_wrong_application_is_one_line(application, message):
    text = fails(application)
    assert text.startswith("channelsd: " + message)
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["single", "plain", "instance", "partial", "Holder.application", "marked", "lifespan_bad_event"]
)
def test_right_applications(name):
    with Edge(f"shapes:{name}") as edge:
        assert edge.shutdown() == 0
        assert edge.stderr.all() == ""


@pytest.mark.parametrize(
    ("application", "first", "error"),
    [
        ("broken_import:application", "broken_import.py", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("broken_raise:application", "broken_raise.py", "ValueError: SECRET_KEY is empty"),
    ],
)
def test_failed_import_shows_the_traceback_from_the_application_on(application, first, error):
    text = fails(application)
    lines = text.splitlines()
    assert f'File "{APPS}/{first}"' in (lines[1] if lines[0].startswith("Traceback") else lines[0])
    assert lines[-2].startswith(error)
    assert lines[-1].startswith(f"channelsd: cannot import application '{application}': ")
    assert "loader.py" not in text
    assert "importlib" not in text


def test_syntax_error(tmp_path):
    (tmp_path / "wrong.py").write_text("application(:\n")
    lines = fails("wrong:application", cwd=tmp_path).splitlines()
    assert lines[0] == f'  File "{tmp_path}/wrong.py", line 1'
    assert lines[-2].startswith("SyntaxError: ")
    assert lines[-1].startswith("channelsd: cannot import application 'wrong:application': ")


def test_missing_module_says_where_it_was_looked_for():
    lines = fails("nowhere.asgi:application").splitlines()
    assert lines[0] == "ModuleNotFoundError: No module named 'nowhere'"
    assert lines[1].startswith("channelsd: cannot import application 'nowhere.asgi:application': check the name")
    assert str(APPS) in lines[1]


def test_missing_msgpack(tmp_path):
    (tmp_path / "msgpack.py").write_text("raise ModuleNotFoundError('No module', name='msgpack')\n")
    text = fails("shapes:single", env={"PYTHONPATH": str(tmp_path)})
    assert "pip install msgpack" in text
    assert text.count("\n") == 1


def test_uvloop_that_is_missing(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('no uvloop')\n")
    assert "pip install uvloop" in fails("shapes:single", "--loop", "uvloop", env={"PYTHONPATH": str(tmp_path)})
    with Edge("shapes:single", env={"PYTHONPATH": str(tmp_path)}) as edge:
        assert edge.shutdown() == 0


def test_bad_options():
    for options in (["--links", "x"], ["--log-level", "loud"], ["--loop", "none"]):
        run = subprocess.run(
            [sys.executable, "-c", START_WORKER, "--links", "0", "--application", "a:b", *options],
            stderr=subprocess.PIPE,
            check=False,
            text=True,
            timeout=TIMEOUT,
        )
        assert run.returncode == 2
        assert "usage:" in run.stderr


def test_asgi_threads():
    assert "ASGI_THREADS=many" in fails("shapes:single", env={"ASGI_THREADS": "many"})
    with Edge("probe:application", "--loop", "asyncio", env={"ASGI_THREADS": "3"}) as edge:
        assert eval(edge.text("/environment"))["threads"] == 3


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_environment_of_the_application(loop):
    with Edge("probe:application", "--loop", loop) as edge:
        seen = eval(edge.text("/environment"))
    assert seen["path0"] == seen["cwd"] == str(APPS)
    # A program that the application starts can be terminated.
    assert seen["signals"] == "True\n"
    if loop == "asyncio":
        assert seen["loop"].startswith("asyncio.")


PROJECT = """
import logging.config

logging.config.dictConfig({
    "version": 1,
    "formatters": {"f": {"format": "%(name)s: %(message)s"}},
    "handlers": {"f": {"class": "logging.FileHandler", "filename": FILE, "formatter": "f"}},
    **SETTINGS,
})

async def application(scope, receive, send):
    raise RuntimeError("told by " + scope["type"])
"""
TO_FILE = {"handlers": ["f"], "propagate": False}


@pytest.mark.parametrize(
    ("settings", "in_file", "on_stderr"),
    [
        # As Daphne does: what LOGGING does not name is disabled, unless it says otherwise.
        ({}, False, False),
        ({"disable_existing_loggers": False}, False, True),
        ({"loggers": {"daphne": TO_FILE}}, True, False),
        ({"loggers": {"daphne": {"handlers": ["f"]}}}, True, True),
        ({"loggers": {"daphne.server": TO_FILE}}, True, False),
        ({"loggers": {"daphne": {"level": "CRITICAL"}}, "disable_existing_loggers": False}, False, False),
        ({"loggers": {"daphne": TO_FILE}, "disable_existing_loggers": False}, True, False),
        ({"loggers": {"daphne": {"propagate": False}, "channelsd": TO_FILE}}, True, False),
        ({"loggers": {"daphne": {"propagate": False}, "channelsd.server": TO_FILE}}, True, False),
    ],
)
def test_logging_that_names_daphne_holds_for_the_exceptions_of_the_application(tmp_path, settings, in_file, on_stderr):
    log = tmp_path / "log"
    text = PROJECT.replace("FILE", repr(str(log))).replace("SETTINGS", repr(settings))
    (tmp_path / "named.py").write_text(text)
    with Edge("named:application", cwd=tmp_path) as edge:
        edge.http("/")
        assert edge.get()[0] == END
        assert edge.shutdown() == 0
        line = "Exception inside application: told by http"
        assert (f"channelsd.server: {line}\n" in log.read_text()) is in_file
        assert (line in edge.stderr.all()) is on_stderr


AGAIN = """
import logging.config

LOGGING = {
    "version": 1,
    "formatters": {"f": {"format": "%(name)s: %(message)s"}},
    "handlers": {"f": {"class": "logging.FileHandler", "filename": FILE, "formatter": "f"}},
    "loggers": {"daphne.server": {"handlers": ["f"], "propagate": False}},
}
logging.config.dictConfig(LOGGING)

async def application(scope, receive, send):
    if scope["type"] == "http":
        DO
        raise RuntimeError("told by http")
    await receive()
    logging.config.dictConfig(LOGGING)
    await send({"type": "lifespan.startup.complete"})
    await receive()
"""


@pytest.mark.parametrize("do", ["pass", 'logging.getLogger("channelsd")'], ids=["applied again", "a logger made later"])
def test_logging_of_daphne_still_holds(tmp_path, do):
    log = tmp_path / "log"
    (tmp_path / "named.py").write_text(AGAIN.replace("FILE", repr(str(log))).replace("DO", do))
    with Edge("named:application", cwd=tmp_path) as edge:
        edge.http("/")
        assert edge.get()[0] == END
        assert edge.shutdown() == 0
        assert "channelsd.server: Exception inside application: told by http\n" in log.read_text()


def test_lifespan_and_state():
    with Edge("shapes:lifespan_complete") as edge:
        first = eval(edge.text("/"))
        second = eval(edge.text("/"))
        # A shallow copy for each request.
        assert first == second == {"answer": [42], "mine": 1}
        assert edge.shutdown() == 0
        assert edge.stdout.all().splitlines() == [
            "lifespan {'type': 'lifespan.startup'}",
            "lifespan {'type': 'lifespan.shutdown'}",
        ]
        assert edge.stderr.all() == ""


def test_lifespan_failed():
    text = fails("shapes:lifespan_failed")
    assert text == "channelsd: application 'shapes:lifespan_failed' failed to start: the database is away\n"


def test_lifespan_that_exits():
    assert "failed to start: the application raised SystemExit" in fails("shapes:lifespan_exit")


def test_lifespan_that_returns_is_unsupported():
    with Edge("shapes:lifespan_returns") as edge:
        assert edge.text("/") == "False"
        assert edge.shutdown() == 0
        assert edge.stderr.all() == ""


def test_lifespan_shutdown_failed():
    with Edge("shapes:lifespan_shutdown_failed") as edge:
        assert edge.shutdown() == 0
        assert "Application lifespan shutdown failed: could not flush" in edge.stderr.all()


def test_lifespan_that_hangs_at_shutdown():
    with Edge("shapes:lifespan_hangs", "--application-close-timeout", "0.1") as edge:
        assert edge.shutdown() == 0
        assert "did not end its lifespan" in edge.stderr.all()


def test_lifespan_that_raises_later_is_logged():
    with Edge("shapes:lifespan_raises_later") as edge:
        edge.stderr.wait_for("RuntimeError: in the background")
        assert edge.shutdown() == 0


def test_every_link_gets_ready_and_shutdown_needs_all():
    with Edge("probe:application", links=3) as edge:
        edge.links[1].put([SHUTDOWN, 60_000])
        edge.links[0].put([SHUTDOWN, 60_000])
        edge.links[1].put([BEAT, 7])
        assert edge.links[1].get() == [W_BEAT, 7]
        edge.http("/scope", link=edge.links[2])
        assert edge.links[2].get()[0] == 1
        edge.links[2].put([SHUTDOWN, 60_000])
        assert edge.process.wait(TIMEOUT) == 0


def test_shutdown_waits_for_applications():
    with Edge("probe:application") as edge:
        id = edge.http("/read-when-told")
        edge.put([SHUTDOWN, 60_000])
        edge.barrier()
        # Ids that were sent before are still served.
        go = edge.http("/go")
        assert edge.response(go)[2] == b"gone"
        assert edge.response(id)[2] == b"0"
        assert edge.process.wait(TIMEOUT) == 0
        assert edge.stderr.all() == ""


def test_shutdown_cancels_what_outlives_the_timeout():
    with Edge("probe:application", "--application-close-timeout", "0.2") as edge:
        id = edge.http("/hang")
        edge.put([SHUTDOWN, 60_000])
        assert edge.get() == [END, id, True]
        assert edge.process.wait(TIMEOUT) == 0
        text = edge.stderr.all()
        assert "Killed 1 pending application instances" in text
        assert "Traceback" not in text


@pytest.mark.parametrize("links", [1, 2])
def test_end_of_a_link_ends_the_worker(links):
    with Edge("probe:application", links=links) as edge:
        edge.http("/hang")
        edge.barrier()
        edge.link.socket.close()
        assert edge.process.wait(TIMEOUT) == 1
        text = edge.stderr.all()
        assert "The link to the server was lost (the server has closed it)" in text
        assert "Traceback" not in text


def test_end_of_file_after_shutdown_is_no_loss():
    with Edge("probe:application") as edge:
        edge.http("/hang")
        edge.put([SHUTDOWN, 60_000])
        edge.link.socket.close()
        assert edge.process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    ("data", "logged"),
    [
        (msgpack.packb([55]), "IndexError"),
        (msgpack.packb({1: 2}), "max_map_len"),
        (msgpack.packb([HELLO, 9, 0]), "the server speaks version 9 of the link protocol"),
        (b"\xc1", "FormatError"),
        (msgpack.packb(5), "TypeError"),
    ],
)
def test_protocol_error_ends_the_link(data, logged):
    with Edge("probe:application") as edge:
        edge.link.socket.sendall(data)
        assert edge.process.wait(TIMEOUT) == 1
        assert logged in edge.stderr.all()


def test_signals_are_the_edges_business():
    with Edge("probe:application") as edge:
        os.kill(edge.process.pid, signal.SIGTERM)
        os.kill(edge.process.pid, signal.SIGINT)
        assert edge.text("/signal-self") == "still here"
        assert edge.shutdown() == 0
        assert edge.stderr.all() == ""


def test_hung_thread_does_not_keep_the_process():
    with Edge("probe:application") as edge:
        assert edge.text("/hung-thread") == "started"
        assert edge.shutdown() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_worker_dies_with_its_parent():
    """The parent is killed; a worker that is blocked, and whose links stay open here, dies all the same."""
    program = (
        "import subprocess, sys, socket\n"
        "a, b = socket.socketpair()\n"
        "w = subprocess.Popen([sys.executable, '-c', sys.argv[1], '--links', str(b.fileno()), '--application',"
        " 'blocked:application'], pass_fds=[b.fileno()], stdout=sys.stdout)\n"
        "w.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, START_WORKER], cwd=str(APPS), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "blocked\n"
    parent.kill()
    parent.wait()
    # The end of file: nobody holds the pipe any more, so the worker is gone.
    assert parent.stdout.read() == ""
    parent.stdout.close()


def test_parent_that_is_gone_already():
    with Edge("probe:application", "--parent", "1", ready=False) as edge:
        assert edge.get() is None
        assert edge.process.wait(TIMEOUT) == 1


def test_module_without_the_program_says_so():
    run = subprocess.run(
        [sys.executable, "-m", "channelsd", "--version"],
        stderr=subprocess.PIPE,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        timeout=TIMEOUT,
    )
    installed = os.access(os.path.join(os.path.dirname(sys.executable), "channelsd"), os.X_OK)
    assert installed or (run.returncode == 1 and "is not installed beside" in run.stderr)


def test_ready_is_the_first_record_with_version_and_pid():
    with Edge("probe:application", ready=False) as edge:
        assert edge.get() == [READY, 1, edge.process.pid]
