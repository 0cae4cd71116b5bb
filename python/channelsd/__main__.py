# SPDX-License-Identifier: BSD-3-Clause
"""`python -m channelsd ...`: become the installed `channelsd` program, with this interpreter for its workers."""

import os
import sys
import sysconfig
from pathlib import Path

NAME = "channelsd"


def find_program():
    """Path of the program installed beside this interpreter, or None. Looked for in the interpreter's own folder, then
    in the folder where pip puts scripts (they differ for a system interpreter)."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        path = folder / NAME
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def main():
    """Replaces this process; returns an exit code only if there is nothing to become."""
    path = find_program()
    if path is None:
        print(
            f"channelsd: the channelsd program is not installed beside {sys.executable}; "
            "install the package into this environment (pip install channelsd) or run the program by its path",
            file=sys.stderr,
        )
        return 1
    # The program looks for an interpreter by itself; the one that was asked here is the right one.
    os.environ.setdefault("CHANNELSD_PYTHON", sys.executable)
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
