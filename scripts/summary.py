# SPDX-License-Identifier: BSD-3-Clause
"""Adds up what scripts/test.sh left in a folder: one line a suite, and "N passed, N failed, N skipped" at the end.

A suite is a file <name>.status with its exit status. One that leaves a JUnit file <name>.xml counts by its test cases,
any other as one; a suite that failed without a failed case (nothing collected, a crash) counts as one failure more.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def count(status_path):
    """Passed, failed and skipped of one suite."""
    succeeded = status_path.read_text().strip() == "0"
    junit = status_path.with_suffix(".xml")
    if not junit.exists():
        return int(succeeded), int(not succeeded), 0
    passed = failed = skipped = 0
    for case in ElementTree.parse(junit).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed or int(not succeeded), skipped


def main(folder):
    total = [0, 0, 0]
    for status_path in sorted(Path(folder).glob("*.status"), key=lambda path: path.stat().st_mtime_ns):
        counts = count(status_path)
        total = [a + b for a, b in zip(total, counts)]
        print(f"{status_path.stem:20} {counts[0]:5} passed {counts[1]:4} failed {counts[2]:4} skipped")
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
