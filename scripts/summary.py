# SPDX-License-Identifier: BSD-3-Clause
"""Adds up JUnit files: one line a suite, and "N passed, N failed, N skipped" at the end."""

import sys
from pathlib import Path
from xml.etree import ElementTree


def count(path):
    """Passed, failed and skipped test cases of one file."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main(paths):
    total = [0, 0, 0]
    for path in map(Path, paths):
        counts = count(path)
        total = [a + b for a, b in zip(total, counts)]
        print(f"{path.stem:22} {counts[0]:5} passed {counts[1]:4} failed {counts[2]:4} skipped")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")


if __name__ == "__main__":
    main(sys.argv[1:])
