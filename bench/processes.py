# SPDX-License-Identifier: BSD-3-Clause
"""CPU time and memory of a server's whole process tree, read from the kernel."""

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
PARENT, SESSION, USER, SYSTEM, CHILDREN_USER, CHILDREN_SYSTEM = 1, 3, 11, 12, 13, 14  # fields of stat behind the name


def _stat(pid):
    """The fields of /proc/PID/stat behind the name, or None if the process is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rsplit(")", 1)[1].split()


def tree(root):
    """Ids of `root`, which leads a session, of its descendants, and of all others in its session."""
    parents, members = {}, {root}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(entry.name)):
            parents[int(entry.name)] = int(fields[PARENT])
            if int(fields[SESSION]) == root:
                members.add(int(entry.name))
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return members


def exact_cpu_seconds(pid):
    """User and system time of the threads that one process has now, to the nanosecond."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in (PROC / str(pid) / "task").iterdir()) / 1e9


def _own_cpu_seconds(pid, fields):
    """User and system time of one process, of all its threads, also of those that ended.

    The clock of a process counts nanoseconds; where the kernel does not show it to others, the ticks of stat do."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): of the whole process, as scheduled
    except OSError:
        return (int(fields[USER]) + int(fields[SYSTEM])) / TICKS_PER_SECOND


def cpu_seconds(root):
    """User and system time of the tree. Children that ended count too: their parent has their time."""
    total = 0.0
    for pid in tree(root):
        if fields := _stat(pid):
            total += _own_cpu_seconds(pid, fields)
            total += (int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])) / TICKS_PER_SECOND
    return total


def pss_bytes(root):
    """Proportional set size of the tree: memory shared by n processes counts as 1/n in each."""
    total = 0
    for pid in tree(root):
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # ended just now
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
