# SPDX-License-Identifier: BSD-3-Clause
"""Resident memory of processes, for tests of what must not grow."""

import os
from pathlib import Path

MIB = 1 << 20

# For servers whose memory is measured: without it a sanitizer build keeps what is freed.
FREE_AT_ONCE = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99:quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}


def rss_bytes(pid):
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Growth:
    """What the processes of a server, the edge and each worker, grew since this was made."""

    def __init__(self, server):
        self.before = {pid: rss_bytes(pid) for pid in (server.pid, *server.worker_pids())}

    def most(self):
        """Bytes that the one that grew most has grown."""
        return max(rss_bytes(pid) - before for pid, before in self.before.items())
