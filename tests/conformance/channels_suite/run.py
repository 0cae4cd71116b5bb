# SPDX-License-Identifier: BSD-3-Clause
"""Runs Channels' own tests with the Channels that is installed, as it is and accelerated, and compares test by test:

    python tests/conformance/channels_suite/run.py <folder of Channels' source>

The folder is a checkout of the installed version: neither the source distribution nor the wheel of Channels has the tests.
What they need beside Channels is what Channels calls its extra "tests". Exit code 0: the same tests pass.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "python"

# A browser is needed, and nothing of what is replaced takes part.
LEFT_OUT = ("sample_project",)


class SuiteError(Exception):
    """The suite cannot be run as asked; the text says why."""


def version_of(source):
    """The version that a folder of Channels' source is."""
    try:
        text = (source / "channels" / "__init__.py").read_text()
        tests = (source / "tests").is_dir()
    except OSError as error:
        raise SuiteError(f"{source} is no source of Channels: {error}") from None
    if not tests:
        raise SuiteError(f"{source} has no tests: a checkout of Channels is needed, not its distribution")
    return re.search(r'__version__ = "([^"]+)"', text)[1]


def check(source):
    """Raises SuiteError unless `source` is what is installed."""
    import channels

    wanted = version_of(source)
    if channels.__version__ != wanted:
        raise SuiteError(f"{source} is Channels {wanted}, installed is {channels.__version__}")


def run(source, mode, folder):
    """The outcome of each test, by name, see outcomes(); and pytest's output.

    The tests are copied into `folder`, away from the package beside them. Raises SuiteError if they could not be run.
    """
    tests = folder / mode / "tests"
    shutil.copytree(source / "tests", tests, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (folder / mode / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    results = folder / f"{mode}.xml"
    env = dict(os.environ, CHANNELSD_ACCELERATE=mode, PYTHONPATH=os.pathsep.join(map(str, (HERE, PACKAGE))))
    command = ["-m", "pytest", "-p", "accelerated_plugin", "-p", "no:cacheprovider", "--junitxml", str(results)]
    done = subprocess.run(
        [sys.executable, *command, "tests"], check=False, cwd=folder / mode, env=env, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):  # neither passed nor failed
        raise SuiteError(f"pytest did not run:\n{done.stdout}\n{done.stderr}")
    return outcomes(results), done.stdout


def outcomes(results):
    """The outcomes in a JUnit file: "passed", "skipped", or the kind and with what, such as "failure with ValueError".

    Of what was raised only the name is told: messages have times and addresses in them.
    """
    found = {}
    for case in xml.etree.ElementTree.parse(results).iter("testcase"):
        bad = [f"{kind} with {raised(child)}" for kind in ("failure", "error") for child in case.iter(kind)]
        skipped = ["skipped"] if case.find("skipped") is not None else []
        found[f"{case.get('classname')}::{case.get('name')}"] = ", ".join(bad or skipped or ["passed"])
    return found


def raised(element):
    """The first word of what a failure or an error says: the name of the exception."""
    return re.match(r"[\w.]*", element.get("message", ""))[0]


def compare(source):
    """(number of tests that pass either way, list of differences as text). Raises SuiteError."""
    check(source)
    with tempfile.TemporaryDirectory() as name:
        (stock, _), (exact, output) = (run(source, mode, Path(name)) for mode in ("off", "exact"))
    passed = sum(outcome == "passed" for outcome in stock.values())
    if not passed:
        raise SuiteError(f"no test passes, accelerated or not:\n{output}")
    names = sorted(stock.keys() | exact.keys())
    found = [
        f"{name}: stock {stock.get(name, 'missing')}, accelerated {exact.get(name, 'missing')}"
        for name in names
        if stock.get(name) != exact.get(name)
    ]
    if found:
        found.append(output)
    return passed, found


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        passed, found = compare(Path(sys.argv[1]).resolve())
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join([*found, f"{passed} tests of Channels pass, {len(found)} differences"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
