# SPDX-License-Identifier: BSD-3-Clause
"""Measures servers beside each other and prints the figures: `python3 -m bench --help`.

Every round starts each server afresh, one after the other, for each scenario, so that a machine that drifts does so for
all; the order changes from round to round. The figures are medians. A server that fails is named, the others go on, and
the exit status is 1."""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from bench import chart, tables
from bench.results import Results
from bench.scenarios import SCENARIOS, LoadError, Tools, run
from bench.servers import ROOT, SERVERS, ServerError

BUILD = ROOT / "build"
DOCUMENT = ROOT / "docs" / "performance.md"
PACKAGES = ("daphne", "uvicorn", "hypercorn", "granian", "uvloop", "Django", "channels", "channels_redis", "redis")
QUICK_SECONDS = 0.3
NEEDED_FILES = 6000  # descriptors: 5,000 WebSockets and what the server needs


def arguments():
    parser = argparse.ArgumentParser(prog="python3 -m bench", description=__doc__.split("\n\n")[0])
    names = ", ".join(server.name for server in SERVERS)
    parser.add_argument("--servers", default="", help=f"comma-separated, of: {names}; all by default")
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--scenarios", default="", help=f"comma-separated, of: {names}; all by default")
    parser.add_argument("--rounds", type=_positive(int), default=3)
    parser.add_argument("--seconds", type=_positive(float), default=3.0, help="measured time of each run")
    parser.add_argument("--quick", action="store_true", help="few clients, one short round: shows that all of it works")
    parser.add_argument("--write", action="store_true", help="write tables and charts into --document")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="has the markers for the tables")
    parser.add_argument("--results", type=Path, default=BUILD / "bench" / "results.json", help="raw figures, kept here")
    parser.add_argument("--print", action="store_true", dest="only_print", help="measure nothing: show --results")
    parser.add_argument("--channelsd", type=Path, default=BUILD / "release" / "channelsd")
    parser.add_argument("--load", type=Path, default=BUILD / "release" / "channelsd-load")
    parser.add_argument("--venv", type=Path, default=BUILD / "venv" / "bench", help="with bench/requirements.txt")
    return parser.parse_args()


def _positive(kind):
    def convert(text):
        value = kind(text)
        if value <= 0:
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


def chosen(text, known, what):
    """The members of `known` that `text` names, in their own order. Ends the program when it names others."""
    words = [word for word in text.replace(",", " ").split() if word]
    strangers = [word for word in words if word not in {one.name for one in known}]
    if strangers:
        sys.exit(f"bench: no such {what}: {', '.join(strangers)}; there are {', '.join(one.name for one in known)}")
    return [one for one in known if not words or one.name in words]


def check_tools(tools, scenarios):
    """Ends the program, with what to do, when something is missing that no server can run without."""
    for path, how in (
        (tools.load, "cmake --build --preset release --target channelsd-load"),
        (tools.venv / "bin" / "python", "scripts/venv.sh build/venv/bench bench/requirements.txt"),
    ):
        if not path.is_file():
            sys.exit(f"bench: {path} is not there: `make bench` makes it, or {how}")
    if any(scenario.redis for scenario in scenarios) and not shutil.which("redis-server"):
        sys.exit(
            "bench: redis-server is not there (Debian: apt-get install redis-server), or choose SCENARIOS without it"
        )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the servers inherit it
    if hard < NEEDED_FILES:
        print(f"bench: only {hard} file descriptors are allowed: idle WebSockets will be refused", file=sys.stderr)


def about(tools, options):
    """When, where and with what: the head of the document."""
    program = (
        "import importlib.metadata as m, json, platform, sys\n"
        "there = {d.metadata['Name'].lower().replace('-', '_'): d.version for d in m.distributions()}\n"
        "versions = {name: there[name.lower()] for name in sys.argv[1:] if name.lower() in there}\n"
        "print(json.dumps({'python': platform.python_version(), 'versions': versions}))"
    )
    said = subprocess.run([tools.venv / "bin" / "python", "-c", program, *PACKAGES], capture_output=True, check=True)
    found = json.loads(said.stdout)
    return {
        "date": datetime.date.today().isoformat(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cpus": os.cpu_count(),
        "cpu": processor(),
        "kernel": platform.release().split("-")[0],
        "python": found["python"],
        "versions": {"channelsd": version(), **found["versions"]},
    }


def version():
    """Of this tree: where the one binary that is measured comes from."""
    text = (ROOT / "python" / "channelsd" / "__init__.py").read_text()
    return re.search(r'__version__ = "(.+)"', text)[1]


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def measure(results, plan, options, tools):
    """Runs every (scenario, server) of the plan in every round, one line for each on stderr."""
    for number in range(options.rounds):
        for scenario, servers in plan:
            turn = number % len(servers) if servers else 0
            for server in servers[turn:] + servers[:turn]:
                try:
                    result = run(scenario, server, tools, options.seconds, options.quick)
                except (ServerError, LoadError) as error:
                    result = {"scenario": scenario.name, "server": server.name, "failed": str(error)}
                results.add(result)
                print(f"[{number + 1}/{options.rounds}] {describe(result)}", file=sys.stderr, flush=True)
                results.save(options.results)


def describe(result):
    head = f"{result['scenario']:18} {result['server']:15}"
    if "failed" in result:
        return f"{head} FAILED: {result['failed']}"
    figure = f"{result['kib']:9.2f} KiB" if result["kib"] is not None else f"{result['cpu_us'] or 0:9.2f} µs "
    flaw = f"  {result['error']}" if result["error"] else ""
    return f"{head} {figure} {result['per_second']:11,.0f}/s  p99 {result['p99_us'] / 1000:8.2f} ms{flaw}"


def write(results, document):
    """Tables between the markers of `document`, charts into the folder of its name beside it."""
    folder = document.with_suffix("")
    folder.mkdir(exist_ok=True)
    for app, (heading, name) in tables.APPS.items():
        if drawn := chart.draw(results, app, heading):
            (folder / f"{name}.svg").write_text(drawn)
    document.write_text(tables.put_into(document.read_text(), tables.markdown(results, folder.name)))


def main():
    options = arguments()
    if options.quick:
        options.rounds, options.seconds = 1, QUICK_SECONDS
    if options.only_print:
        results = Results.load(options.results)
    else:
        scenarios = chosen(options.scenarios, SCENARIOS, "scenario")
        servers = chosen(options.servers, SERVERS, "server")
        logs = options.results.parent / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        tools = Tools(*(path.absolute() for path in (options.channelsd, options.load, options.venv, logs)))
        check_tools(tools, scenarios)
        results = Results(about(tools, options))
        plan = [(one, [s for s in servers if s.scenarios is None or one.name in s.scenarios]) for one in scenarios]
        measure(results, plan, options, tools)
        results.save(options.results)
    print(tables.markdown(results), end="")
    if options.write:
        write(results, options.document)
    return 1 if any("failed" in run for run in results.runs) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what was started is ended by now
