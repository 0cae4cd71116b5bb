# SPDX-License-Identifier: BSD-3-Clause
"""Django's own test suites with mode full on, of the Django that is installed.

The suites are in Django's source distribution, which pip fetches into build/django once for each version.
$DJANGO_SUITES names others than the usual ones, separated by spaces.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

django = pytest.importorskip("django")

ROOT = Path(__file__).resolve().parent.parent.parent.parent
CACHE = ROOT / "build" / "django"
SUITES = "asgi handlers middleware middleware_exceptions requests_tests file_uploads async signals"
SECONDS = 600

# Test -> why it fails with mode full and not without; see docs/acceleration.md. There is none.
KNOWN_DIFFERENCES = {}

pytestmark = [
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(
        django.VERSION[:2] not in ((4, 2), (5, 0), (5, 1), (5, 2), (6, 0), (6, 1)), reason="not accelerated"
    ),
]


def fetch(version):
    """The folder tests/ of Django's source distribution. Fails the test where pip cannot fetch it."""
    folder = CACHE / f"django-{version}" / "tests"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run(
            [*command, "-d", str(CACHE), f"django=={version}"], capture_output=True, text=True, check=False
        )
        archives = [path for path in CACHE.glob("*.tar.gz") if path.name.lower() == f"django-{version}.tar.gz"]
        if not archives:
            pytest.fail(f"no source distribution of Django {version}: {done.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.12 and later ask for one
            archive.extractall(CACHE)
        (CACHE / archives[0].name.removesuffix(".tar.gz")).rename(folder.parent) if not folder.is_dir() else None
    return folder


def run(folder, labels, counters=""):
    """Returns (the names of the tests that failed, how many there were, the output)."""
    paths = [str(Path(__file__).parent / "bootstrap"), str(ROOT / "python")]
    done = subprocess.run(
        [sys.executable, "runtests.py", "--parallel=1", "--settings=accelerated_settings", *labels],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DJANGO_SUITE_COUNTERS": counters},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    total = re.search(r"^Ran (\d+) tests?", output, re.M)
    assert total, output[-3000:]
    # "FAIL: test_name (module.Class.test_name)", before Python 3.11 "(module.Class)"; a subtest adds to it.
    found = re.findall(r"^(?:FAIL|ERROR): (\w+) \(([\w.]+)\)", output, re.M)
    failed = {place if place.endswith(f".{name}") else f"{place}.{name}" for name, place in found}
    return failed, int(total[1]), output


def test_suites_pass_as_they_do_without(tmp_path):
    folder = fetch(django.get_version())
    counters = tmp_path / "counters.json"
    labels = os.environ.get("DJANGO_SUITES", SUITES).split()
    failed, total, output = run(folder, labels, str(counters))
    assert total > 0
    # What fails without mode full too (some tests do not like to be run by root) says nothing about it.
    without = run(folder, sorted(failed))[0] if failed else set()
    assert failed - without == set(KNOWN_DIFFERENCES), output[-5000:]
    if "asgi" in labels:
        counted = json.loads(counters.read_text())
        assert counted["served in one hop"] > 10, counted
