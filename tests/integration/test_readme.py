# SPDX-License-Identifier: BSD-3-Clause
"""What the documents say is what the program does."""

import re
import subprocess

from server import ROOT, binary


def test_flags_table_is_what_the_program_prints():
    printed = subprocess.run([binary(), "--print-options-table"], capture_output=True, text=True, check=True).stdout
    readme = (ROOT / "README.md").read_text()
    table = re.search(r"<!-- options: begin .*?-->\n(.*?)<!-- options: end -->", readme, re.DOTALL)
    assert table[1] == printed


def test_log_events_are_listed():
    listed = set(
        re.findall(r"`([a-z_]+\.[a-z_]+)`", (ROOT / "docs" / "architecture.md").read_text().split("## Log events")[1])
    )
    used = set()
    folders = ["server/**/*.c", "consumers/**/*.c", "channel_layer/*.c", "core/log*.c"]
    for path in [path for folder in folders for path in ROOT.glob(folder)]:
        used |= set(re.findall(r'log_(?:event|text)\([^"]*?"([a-z_]+\.[a-z_]+)"', path.read_text()))
    assert used - listed == set()
