# SPDX-License-Identifier: BSD-3-Clause
"""What of --accelerate and --threads reaches the worker."""

from pathlib import Path

import pytest


def arguments_of(pid):
    """The worker's own arguments, as {"--name": value}."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return {word: words[i + 1] for i, word in enumerate(words) if word.startswith("--")}


@pytest.mark.parametrize(
    ("given", "mode", "threads"),
    [
        ([], "exact", "64"),
        (["--accelerate", "off"], "off", "64"),
        (["--accelerate", "full", "--threads", "1024"], "full", "1024"),
        (["--threads", "1"], "exact", "1"),
    ],
)
def test_worker_is_told(serve, given, mode, threads):
    server = serve("echo:application", *given)
    arguments = arguments_of(server.worker_pids()[0])
    assert (arguments["--accelerate"], arguments["--threads"]) == (mode, threads)


def test_environment_says_it_too(serve):
    server = serve("echo:application", env={"CHANNELSD_ACCELERATE": "off", "CHANNELSD_THREADS": "3"})
    arguments = arguments_of(server.worker_pids()[0])
    assert (arguments["--accelerate"], arguments["--threads"]) == ("off", "3")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--accelerate", "fast"], '--accelerate: "fast" is not off, exact or full'),
        (["--accelerate", ""], '--accelerate: "" is not off, exact or full'),
        (["--threads", "0"], '--threads: "0" is not a whole number from 1 to 1024'),
        (["--threads", "1025"], '--threads: "1025" is not a whole number from 1 to 1024'),
    ],
)
def test_bad_value_is_refused(serve, given, reason):
    server = serve("echo:application", *given, start=False, expect_exit=2)
    assert server.wait_exit(10) == 2
    assert reason in server.stderr.text()
