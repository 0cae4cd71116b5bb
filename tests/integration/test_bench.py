# SPDX-License-Identifier: BSD-3-Clause
"""The measurements of bench/: what they report is what happened, and a server that cheats or fails is told."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from server import APPS, ROOT, binary

sys.path.insert(0, str(ROOT))

from bench import chart, processes, tables
from bench.results import Results

LIAR = APPS / "lying_server.py"
SECONDS = 100  # for one measurement; a few on a quiet machine
pytestmark = pytest.mark.timeout(SECONDS + 20)
MARKED = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"


def load_generator():
    """Its binary: beside the server's that is tested. Raises AssertionError saying how to make it."""
    path = binary().parent / "channelsd-load"
    assert path.is_file(), f"no {path}: cmake --build {path.parent} --target channelsd-load"
    return path


@pytest.fixture
def liar():
    """liar("drop") -> port of a server that lies like that."""
    started = []

    def start(lie):
        command = [sys.executable, LIAR, lie, "-p", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return int(re.match(r"Listening on (\d+)", process.stdout.readline())[1])

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def load(port, scenario, *options):
    """The result of one short run of the load generator."""
    command = [load_generator(), scenario, "--port", str(port), "--path", "/json/", "--connections", "2"]
    command += ["--measure-ms", "200", "--warmup-ms", "0", "--quiet-ms", "300", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["mark begin", "mark end"]
    return json.loads(lines[2].removeprefix("result "))


FLAWS = ("lost", "reordered", "repeated", "mismatched", "refused", "closed")


@pytest.mark.parametrize(
    ("lie", "seen"),
    [
        ("none", set()),
        ("drop", {"lost"}),
        ("alter", {"lost", "mismatched"}),
        ("repeat", {"repeated"}),
        ("old", {"lost", "repeated"}),
        ("swap", {"reordered"}),
        ("leave", {"lost", "closed"}),
        ("accept", {"refused"}),
    ],
)
def test_each_lie_about_messages_is_counted(liar, lie, seen):
    result = load(liar(lie), "echo", "--window", "2")
    assert {flaw for flaw in FLAWS if result[flaw]} == seen
    assert result["expected"] == result["units"] + result["lost"]
    assert bool(result["units"]) == (lie != "accept")
    assert bool(result["error"]) == bool(seen - {"reordered", "repeated"})


@pytest.mark.parametrize(
    ("lie", "seen"),
    [
        ("none", set()),
        ("drop", {"lost"}),
        ("alter", {"lost", "mismatched"}),
        ("repeat", {"repeated"}),
        ("swap", {"reordered"}),
    ],
)
@pytest.mark.parametrize("pace", [("--window", "2"), ("--rate", "200")])
def test_each_lie_about_deliveries_is_counted(liar, lie, seen, pace):
    """What one member did not get holds up the others only until it is given up."""
    result = load(liar(lie), "fanout", "--publish-path", "/publish", "--json", "--measure-ms", "800", *pace)
    assert {flaw for flaw in FLAWS if result[flaw]} == seen
    assert result["expected"] == result["units"] + result["lost"]
    assert result["expected"] > 2 * 15  # drop: with a window of 2 everybody waits from the tenth message on


def test_each_answer_is_compared(liar):
    port = liar("body")
    expect = '{"ok": true, "answer": %d}'
    result = load(port, "http", "--expect", expect % 42)
    assert result["mismatched"] > 0
    assert result["units"] > result["mismatched"]
    assert load(port, "http", "--expect", expect % 41)["units"] == 0


def test_only_loopback_is_loaded():
    command = [load_generator(), "http", "--host", "192.0.2.1", "--port", "80", "--path", "/", "--expect", ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2
    assert "only an IPv4 loopback address" in done.stderr


def test_a_generator_that_is_left_alone_ends(liar):
    """At a mark it waits for its partner, not for ever."""
    command = [load_generator(), "echo", "--port", str(liar("none")), "--path", "/", "--warmup-ms", "0", "--lockstep"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 1
    assert "at the mark 'begin'" in done.stderr


class Bench:
    """python -m bench --quick with files of its own."""

    def __init__(self, folder):
        self.document = folder / "performance.md"
        self.results = folder / "results.json"
        self.document.write_text(MARKED)

    def __call__(self, *options, servers="channelsd", server_binary=None):
        command = [sys.executable, "-m", "bench", "--quick", "--servers", servers, "--load", str(load_generator())]
        command += ["--channelsd", str(server_binary or binary()), "--venv", sys.prefix]
        command += ["--results", str(self.results), "--document", str(self.document), *options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CHANNELSD_")}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def runs(self):
        return json.loads(self.results.read_text())["runs"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def script(folder, *lines):
    """An executable that stands for the server's binary."""
    path = folder / "stand-in"
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def test_figures_of_channelsd(bench):
    done = bench("--scenarios", "echo_w8,fanout,bare_http,bare_idle", "--write")
    assert done.returncode == 0, done.stderr
    runs = {run["scenario"]: run for run in bench.runs()}
    assert set(runs) == {"echo_w8", "fanout", "bare_http", "bare_idle"}
    for run in runs.values():
        assert run["units"] == run["expected"] > 0
        assert not any(run[flaw] for flaw in FLAWS), run
        assert 0 < run["p50_us"] <= run["p99_us"] <= run["most_us"]
        assert 1 < run["cpu_us"] < 1e6
        assert 0 < run["load_cpu"] < 1.1
    assert runs["fanout"]["units"] % 20 == 0  # whole messages to 20 members
    # Proportional: with every process of a neighbour that maps the same libraries it is less, for few clients below 0.
    assert 0 < abs(runs["bare_idle"]["kib"]) < 1000

    document = bench.document.read_text()
    assert document.startswith("before\n") and document.endswith("after\n") and "old" not in document
    assert f"**{runs['echo_w8']['cpu_us']:,.1f}**" in document
    assert done.stdout.splitlines()[0] in document
    for name in ("channels", "bare"):
        drawing = ET.parse(bench.document.with_suffix("") / f"{name}.svg")
        bars = [element for element in drawing.iter() if element.get("class") == "bar ours"]
        assert len(bars) == sum(run.startswith("bare") == (name == "bare") for run in runs)
        assert f"performance/{name}.svg" in document


def test_figures_of_the_layer():
    command = [sys.executable, "-m", "bench.layer", "--rounds", "1", "--count", "100", "--pause", "0.5"]
    command += ["--channelsd", str(binary()), "--venv", sys.prefix]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    assert len(rows) == (4 if importlib.util.find_spec("uvloop") is None else 5)
    for title, stock, ours, ratio, bare, node, _ in rows:
        assert float(stock) > float(ours) > 0, title
        assert float(stock) > float(bare) > 0 if "receive" in title else bare == ""
        assert ratio == f"1/{float(ratio[2:]):.1f}"
        assert float(node) >= 0


def test_the_layers_figures_need_a_node(tmp_path):
    broken = script(tmp_path, "exit 3")
    command = [sys.executable, "-m", "bench.layer", "--channelsd", str(broken), "--venv", sys.prefix]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "bench: channelsd layer serve ended with 3"


def test_a_lying_server_is_marked(bench, tmp_path):
    liar = script(tmp_path, f'exec {sys.executable} {LIAR} drop "$@"')
    done = bench("--scenarios", "bare_echo_w8", server_binary=liar)
    assert done.returncode == 0, done.stderr
    assert bench.runs()[0]["lost"] > 0
    assert re.search(r"\*\*[\d.,]+\*\* †", done.stdout)
    assert re.search(r"^- † channelsd, bare_echo_w8: [\d,]+ lost \([\d.]+ %\)$", done.stdout, re.MULTILINE)


def test_a_server_that_does_not_start_is_one_line_and_the_others_go_on(bench, tmp_path):
    broken = script(tmp_path, "echo no such option >&2", "exit 3")
    done = bench("--scenarios", "bare_http,bare_connect", server_binary=broken)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if "FAILED" in line]
    assert len(told) == len(done.stderr.splitlines()) == 2
    for line in told:
        assert re.search(r"channelsd did not start: it ended with 3: no such option \(log: \S+/channelsd.log\)", line)
    assert "| failed |" in done.stdout


def test_a_server_that_dies_while_measured_is_told(bench, tmp_path):
    """Its connections end, and it is not there at the second mark."""
    liar = script(tmp_path, f'exec {sys.executable} {LIAR} die "$@"')
    done = bench("--scenarios", "bare_idle", server_binary=liar)
    assert done.returncode == 1
    assert "channelsd ended with 70" in done.stderr


@pytest.mark.parametrize("option", ["--servers", "--scenarios"])
def test_an_unknown_name_ends_the_program_with_the_known_ones(bench, option):
    done = bench(option, "nonesuch")
    assert done.returncode == 1
    assert re.search(r"no such (server|scenario): nonesuch; there are \w+", done.stderr)


BURN = "import time\nwhile time.process_time() < 0.2: pass"


def test_cpu_time_of_children_that_ended_counts():
    """sh has waited for them: their time is the session's. `read` tells when, and keeps it there to be looked at."""
    command = ["sh", "-c", f'"$0" -c "{BURN}"; "$0" -c "{BURN}"; echo done; read line', sys.executable]
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with shell:
        assert shell.stdout.readline() == b"done\n"
        assert processes.tree(shell.pid) == {shell.pid}
        spent = processes.cpu_seconds(shell.pid)
        shell.stdin.close()
    assert 0.38 < spent < 5


ABOUT = {
    "date": "2026-01-01", "rounds": 3, "seconds": 1.0, "cpus": 2, "cpu": "any", "kernel": "6", "python": "3",
    "versions": {"channelsd": "1"},
}  # fmt: skip


def figures(server, *costs, **fields):
    base = {"scenario": "echo_w1", "server": server, "units": 10, "expected": 10, "p50_us": 1.0, "p99_us": 2.0}
    base |= {"per_second": 5.0, "load_cpu": 0.5, "redis_us": None, "kib": None, "error": ""}
    return [{**base, "cpu_us": cost, **fields} for cost in costs]


def test_tables_show_medians_and_the_ratio_to_daphne():
    runs = figures("daphne", 100.0, 300.0, 200.0) + figures("channelsd", 10.0, 90.0, 20.0)
    printed = tables.markdown(Results(ABOUT, runs + figures("granian", 250.0, lost=1)))
    row = next(line for line in printed.splitlines() if line.startswith("| Echo, 100 clients, 1 "))
    assert row.endswith("per message | 200.0 | 250.0 · 1.2x † | **20.0** · 1/10.0 |")
    assert "- † granian, echo_w1: 1 lost (10.0 %)" in printed


def test_a_generator_at_its_limit_is_told():
    printed = tables.markdown(Results(ABOUT, figures("daphne", 1.0, load_cpu=0.97)))
    assert "97 % of a core: at its limit" in printed


def test_a_document_without_markers_is_left_alone():
    with pytest.raises(ValueError, match="no place for the tables"):
        tables.put_into("no place here", "tables")


def test_charts_escape_and_follow_the_page(tmp_path):
    results = Results(ABOUT, figures("daphne", 2.0) + figures("channelsd", 1.0))
    drawn = chart.draw(results, "bench_project.asgi:application", "a < b & c")
    ET.fromstring(drawn)
    assert "prefers-color-scheme: dark" in drawn
    assert chart.draw(results, "bare:application", "nothing") is None


def test_the_document_has_a_place_for_the_tables():
    text = (ROOT / "docs" / "performance.md").read_text()
    assert tables.put_into(text, "new\n").count("new\n") >= 1
    for drawing in re.findall(r"\]\((performance/\S+\.svg)\)", text):
        assert Path(ROOT / "docs" / drawing).is_file()
