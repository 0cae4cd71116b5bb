# SPDX-License-Identifier: BSD-3-Clause
"""The worker process: arguments, start, service, end. The supervisor starts it with one inherited socket for each edge
loop.

Exit codes: 0 after SHUTDOWN; 1 a link, or a channel to consume, was lost; 2 bad arguments; 3 the application cannot be
imported or started.

Who ends it: the edge, by SHUTDOWN or by closing a link. SIGTERM and SIGINT do nothing here: they reach the whole group
of processes, and the edge has to drain first. If the parent dies, the kernel kills the worker, however busy it is.
"""

import argparse
import asyncio
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .accelerate import MODES, THREADS, install
from .lifespan import LifespanFailed
from .loader import LoadError, load_application, working_folder
from .project_logging import take_over_daphnes
from .runworker import ChannelRunner, check_layer, unshared

try:
    from .service import Worker
except ModuleNotFoundError as error:
    if error.name != "msgpack":
        raise
    Worker = None

EXIT_LOST = 1
EXIT_USAGE = 2
EXIT_APPLICATION = 3

# Seconds that the shutdown of the interpreter may take; it joins the threads of the application.
EXIT_GRACE = 5.0

PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """The worker cannot start; the text says why and what to do. `code`: the exit code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def parse_arguments(argv):
    """Returns the namespace, `links` as a list of descriptors and `log_level` as a number. Exits with 2 on an error."""
    parser = argparse.ArgumentParser(prog="channelsd-worker", description="Started by channelsd; not for use by hand.")
    parser.add_argument("--links", required=True, metavar="FD,FD", help="sockets to the edge loops")
    parser.add_argument("--layer", type=int, default=None, metavar="FD", help="socket to the node of the channel layer")
    parser.add_argument(
        "--adopt-layer", action="store_true", help="serve layers of channels_redis in the settings by channelsd.layer"
    )
    parser.add_argument("--accelerate", choices=MODES, default="exact", help="what of Channels and Django to replace")
    parser.add_argument(
        "--application", required=True, help="module.path:object; empty: ASGI_APPLICATION of the settings"
    )
    parser.add_argument("--application-close-timeout", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--log-fmt", default="%(asctime)-15s %(levelname)-8s %(message)s", metavar="FORMAT")
    parser.add_argument("--log-level", default="INFO", metavar="LEVEL", help="name or number")
    parser.add_argument("--loop", choices=("auto", "asyncio", "uvloop"), default="auto")
    parser.add_argument("--index", type=int, default=0, help="number of this worker")
    parser.add_argument("--debug", action="store_true", help="asyncio's debug mode")
    parser.add_argument("--parent", type=int, default=None, metavar="PID")
    parser.add_argument(
        "--threads", type=int, default=THREADS, metavar="COUNT", help="most request threads: --accelerate full"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="COUNT", help="how many there are of this worker")
    parser.add_argument(
        "--channels", default=None, metavar="NAME,NAME", help="consume these channels, serve no clients"
    )
    parser.add_argument("--layer-alias", default="default", metavar="NAME", help="their layer in CHANNEL_LAYERS")
    arguments = parser.parse_args(argv)
    try:
        arguments.links = [int(fd) for fd in arguments.links.split(",")]
    except ValueError:
        parser.error(f"--links: descriptors separated by commas, not {arguments.links!r}")
    level = arguments.log_level
    arguments.log_level = int(level) if level.isdigit() else logging.getLevelName(level.upper())
    if not isinstance(arguments.log_level, int):
        parser.error(f"--log-level: unknown level {level!r}")
    return arguments


def die_with_parent(parent):
    """Asks the kernel (Linux) to kill this process when the thread that started it ends. Elsewhere the end of the links
    is what ends it. Returns False if `parent`, a pid or None, has ended already."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return parent is None or os.getppid() == parent


def look_like_a_script(application):
    """Gives `__main__` a file and sys.argv the application, as a server has that is a script. Libraries look at them: to
    python-dotenv a `__main__` without a file is an interactive session, in which it looks for .env in the working folder and
    not beside the settings. multiprocessing's new processes run the file again, so it is one that only defines."""
    script = str(Path(__file__).with_name("__main__.py"))
    sys.modules["__main__"].__file__ = script
    sys.argv[:] = [script, application]


def leave_signals_to_edge():
    """Handlers, not SIG_IGN, which the programs that the application starts would inherit."""

    def ignore(signum, frame):
        pass

    signal.signal(signal.SIGHUP, ignore)
    signal.signal(signal.SIGINT, ignore)
    signal.signal(signal.SIGTERM, ignore)


def make_loop(kind):
    """A new event loop, set as the current one so that the import of the application finds it. Raises StartError."""
    make = asyncio.new_event_loop
    if kind != "asyncio":
        try:
            make = importlib.import_module("uvloop").new_event_loop
        except ImportError:
            if kind == "uvloop":
                raise StartError(
                    EXIT_APPLICATION,
                    f"--loop uvloop: uvloop is not installed for {sys.executable}: pip install uvloop",
                ) from None
    loop = make()
    asyncio.set_event_loop(loop)
    return loop


def set_executor(loop):
    """ASGI_THREADS sizes the default executor, as under Daphne. Raises StartError."""
    threads = os.environ.get("ASGI_THREADS")
    if threads:
        try:
            loop.set_default_executor(ThreadPoolExecutor(max_workers=int(threads)))
        except ValueError as error:
            raise StartError(EXIT_APPLICATION, f"ASGI_THREADS={threads}: {error}") from None


def warn_of_layers():
    """Says which channel layers of the Django settings do not reach other workers than this one."""
    conf = importlib.import_module("django.conf")
    layers = getattr(conf.settings, "CHANNEL_LAYERS", None) if conf.settings.configured else None
    if not isinstance(layers, dict):
        return
    for alias, layer in layers.items():
        if isinstance(layer, dict) and layer.get("BACKEND") == "channels.layers.InMemoryChannelLayer":
            # Not through logging, which the project's settings may have silenced.
            print(
                f"channelsd: CHANNEL_LAYERS[{alias!r}] is Channels' in-memory layer, which lives in one process, and there "
                "are several workers: a message to a group reaches only the clients of the worker that sends it. Use "
                "channelsd.layer.ChannelLayer or channels_redis, or --workers 1",
                file=sys.stderr,
            )


def attach_layer(arguments, worker):
    """Connects the channel layer to its node. Before the import of the application, which may use it at once. Raises
    StartError."""
    if arguments.layer is not None:
        try:
            importlib.import_module("channelsd.layer").attach_worker(arguments.layer, worker.loop, worker.layer_lost)
        except OSError as error:
            raise StartError(EXIT_USAGE, f"--layer {arguments.layer}: {error}") from None
    if arguments.adopt_layer:
        importlib.import_module("channelsd.adopt").install()


def project_application():
    """The path of the application of the Django project. Raises StartError."""
    sys.path.insert(0, working_folder())  # as for the application itself
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise StartError(
            EXIT_APPLICATION,
            "name the application (channelsd runworker config.asgi:application CHANNEL...), or the settings whose "
            "ASGI_APPLICATION is meant by DJANGO_SETTINGS_MODULE",
        )
    settings = importlib.import_module("django.conf").settings
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path or "." not in path:
        raise StartError(EXIT_APPLICATION, f"ASGI_APPLICATION of {os.environ['DJANGO_SETTINGS_MODULE']} is {path!r}")
    module, _, name = path.rpartition(".")
    return f"{module}:{name}"


def channel_runners(worker, application, arguments):
    """What feeds each channel's messages to the application. Raises StartError."""
    if arguments.channels is None:
        return []
    alias = arguments.layer_alias
    try:
        layer = importlib.import_module("channels.layers").get_channel_layer(alias)
        worker.loop.run_until_complete(check_layer(layer))
    except ImportError as error:
        raise StartError(EXIT_APPLICATION, f"runworker needs Django Channels: {error}") from None
    except (TypeError, ValueError) as error:
        raise StartError(EXIT_APPLICATION, f"CHANNEL_LAYERS[{alias!r}]: {error}") from None
    if layer is None:
        raise StartError(EXIT_APPLICATION, f"CHANNEL_LAYERS has no {alias!r}: runworker has nothing to receive from")
    why = unshared(layer) if arguments.index == 0 else None
    if why is not None:
        # As in warn_of_layers().
        print(f"channelsd: CHANNEL_LAYERS[{alias!r}] {why}", file=sys.stderr)
    return [ChannelRunner(worker, application, layer, channel) for channel in arguments.channels.split(",")]


def start(arguments):
    """Imports and starts the application. Returns the Worker, ready to serve. Raises StartError."""
    if Worker is None:
        raise StartError(
            EXIT_APPLICATION, f"the Python package msgpack is missing for {sys.executable}: pip install msgpack"
        )
    loop = make_loop(arguments.loop)
    loop.set_debug(arguments.debug or loop.get_debug())
    set_executor(loop)
    try:
        worker = Worker(loop, arguments.links, arguments.application_close_timeout)
    except OSError as error:
        raise StartError(EXIT_USAGE, f"--links {','.join(map(str, arguments.links))}: {error}") from None
    attach_layer(arguments, worker)
    try:
        application = load_application(arguments.application or project_application())
        take_over_daphnes()
        # After the import, so that what the application itself has patched is seen and left alone. An application that
        # is no Django project has nothing to replace.
        if "django" in sys.modules:
            install(arguments.accelerate, threads=arguments.threads)
            if arguments.workers > 1 and arguments.index == 0 and arguments.channels is None:
                warn_of_layers()
        runners = channel_runners(worker, application, arguments)
        worker.startup(application)
        take_over_daphnes()  # a lifespan may have configured logging, too
        for runner in runners:
            worker.run_channel(runner)
    except LoadError as error:
        raise StartError(EXIT_APPLICATION, str(error)) from None
    except LifespanFailed as error:
        raise StartError(EXIT_APPLICATION, f"application {arguments.application!r} failed to start: {error}") from None
    return worker


def main(argv=None):
    """Runs a worker; returns the exit code."""
    arguments = parse_arguments(argv)
    if not die_with_parent(arguments.parent):
        return EXIT_LOST
    leave_signals_to_edge()
    look_like_a_script(arguments.application)
    # Before the import of the application, whose settings may configure logging too (as under Daphne).
    logging.basicConfig(level=arguments.log_level, format=arguments.log_fmt)
    try:
        worker = start(arguments)
    except StartError as error:
        print(f"channelsd: {error}", file=sys.stderr)
        code = error.code
    else:
        code = worker.serve()
    # Interpreter shutdown joins threads; one that hangs must not keep the process.
    timer = threading.Timer(EXIT_GRACE, os._exit, [code])
    timer.daemon = True
    timer.start()
    return code
