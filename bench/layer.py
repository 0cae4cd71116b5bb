# SPDX-License-Identifier: BSD-3-Clause
"""What sending and receiving through a channel layer costs a Python process, with channels_redis and with channelsd.layer:
`make bench-layer`. The rounds are interleaved; the figures are medians of the process's own CPU time in µs, behind them
those of the node and of Redis for the same call or message.

Single messages are received by a bare loop, too: a coroutine for which a pipe of `channelsd layer listen` is read, and no layer
at all. What is below that is no layer's to save.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import processes
from bench.servers import ROOT, Redis, ServerError

PEER = Path(__file__).with_name("layer_peer.py")
KINDS = ("channels_redis", "channelsd")
BARE = "bare"

# Title, event loop, members of the group, calls at once; None: receiving.
SENDING = (
    ("group_send() to 1 member, one after the other", "asyncio", 1, 1),
    ("group_send() to 1,000 members of one process", "asyncio", 1000, 1),
    ("group_send() to 1 member, 50 at once", "asyncio", 1, 50),
)
RECEIVING = (
    ("receive() of single messages", "asyncio", None, None),
    ("receive() of single messages, uvloop", "uvloop", None, None),
)


class Node:
    """`channelsd layer serve` for a Redis."""

    def __init__(self, channelsd, folder, name, redis):
        self.path = str(folder / f"{name}.sock")
        config = json.dumps({"hosts": [redis.url]})
        command = [str(channelsd), "layer", "serve", "--layer-socket", self.path, "--layer-config", config]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "Serving the channel layer" in line:
                return
        raise ServerError(f"channelsd layer serve ended with {self.process.wait()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


class Bench:
    def __init__(self, channelsd, python, count, pause, redis, nodes):
        self.channelsd, self.python, self.count, self.pause = channelsd, python, count, pause
        self.redis, self.nodes = redis, nodes
        self.runs = 0
        has_uvloop = subprocess.run([python, "-c", "import uvloop"], stderr=subprocess.DEVNULL, check=False)
        self.rows = SENDING + (RECEIVING if has_uvloop.returncode == 0 else RECEIVING[:1])

    def start(self, stack, role, loop, kind, node, *words):
        address = self.redis.url if kind == "channels_redis" else node.path
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT / "python")}
        command = [str(self.python), str(PEER), role, loop, kind, address, *map(str, words)]
        peer = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        )
        stack.callback(peer.kill)
        return peer

    def line(self, peer):
        line = peer.stdout.readline()
        if not line:
            raise ServerError(f"a process of the measurement ended with {peer.wait()}")
        return line.strip()

    def clocks(self, kind, node):
        return (
            0.0 if kind == "channels_redis" else processes.exact_cpu_seconds(node.process.pid),
            processes.exact_cpu_seconds(self.redis.process.pid),
        )

    def run(self, row, kind):
        """µs of the Python process, of its node, of Redis."""
        _, loop, members, at_once = row
        self.runs += 1
        group = f"bench-{self.runs}"
        ours, theirs = self.nodes
        with contextlib.ExitStack() as stack:
            if members is None:
                role, *more = ("listen", self.channelsd) if kind == BARE else ("receive",)
                peer = self.start(stack, role, loop, kind, ours, self.count, *more)
                channel = self.line(peer)
                before = self.clocks(kind, ours)
                self.start(stack, "feed", "asyncio", "channels_redis", None, self.count, channel, self.pause)
            else:
                self.line(self.start(stack, "members", loop, kind, theirs, members, group))
                before = self.clocks(kind, ours)
                peer = self.start(stack, "send", loop, kind, ours, self.count, group, at_once)
            own = float(self.line(peer))
            after = self.clocks(kind, ours)
        return own, *((late - early) / self.count * 1e6 for early, late in zip(before, after))


def measure(options, folder):
    results = {}
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis(folder))
        nodes = [stack.enter_context(Node(options.channelsd, folder, name, redis)) for name in ("ours", "theirs")]
        python = options.venv / "bin" / "python"
        bench = Bench(options.channelsd, python, options.count, options.pause / 1000, redis, nodes)
        for number in range(options.rounds):
            for row in bench.rows:
                kinds = (*KINDS, BARE) if row in RECEIVING else KINDS
                for kind in kinds if number % 2 else reversed(kinds):
                    results.setdefault(row, {}).setdefault(kind, []).append(bench.run(row, kind))
    return {
        row: {kind: tuple(map(statistics.median, zip(*runs))) for kind, runs in kinds.items()}
        for row, kinds in results.items()
    }


def table(figures):
    lines = [
        "| CPU time in µs of the Python process | channels_redis | channelsd.layer | | bare loop | + node | Redis |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row, kinds in figures.items():
        stock, ours = kinds["channels_redis"], kinds["channelsd"]
        bare = f"{kinds[BARE][0]:.1f}" if BARE in kinds else ""
        lines.append(
            f"| {row[0]} | {stock[0]:.0f} | {ours[0]:.1f} | 1/{stock[0] / ours[0]:.1f} | {bare} | {ours[1]:.0f} "
            f"| {stock[2]:.0f} → {ours[2]:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="python3 -m bench.layer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000, help="calls or messages of one measurement")
    parser.add_argument("--pause", type=float, default=2, help="ms between single messages")
    parser.add_argument("--channelsd", type=Path, default=ROOT / "build" / "release" / "channelsd")
    parser.add_argument(
        "--venv", type=Path, default=ROOT / "build" / "venv" / "bench", help="with bench/requirements.txt"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="channelsd-bench-") as folder:
        try:
            print(table(measure(options, Path(folder))))
        except ServerError as error:
            sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
