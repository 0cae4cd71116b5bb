# SPDX-License-Identifier: BSD-3-Clause
"""The project's rules that no compiler or formatter checks: `make lint`, or `python tests/lint/check_source.py`.

Each rule is a function over one file with its reason in its docstring; each exception stands in the rule's table with
its own reason. Prints `file:line: rule: text` and ends with 1 if it printed anything.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
C_FOLDERS = ["core", "channel_layer", "consumers", "routing", "server"]  # from the bottom up
MAX_LINES = 600

# Parsers and writers of protocols: bytes in, bytes out.
SANS_IO = {
    "base64", "buf", "chain", "control", "fernet", "json_walk", "layer_proto", "link_proto", "log_format", "names", "pack",
    "pattern", "shard", "strmap", "text", "wheel", "wire", "wire_body", "wire_json", "wire_json_write", "wire_msgpack",
    "ws_frame", "ws_handshake", "ws_reader",
}  # fmt: skip
IO_HEADERS = re.compile(r"uv\.h|sys/socket\.h|sys/un\.h|netinet/.*|arpa/inet\.h|unistd\.h|sys/time\.h|poll\.h")
IO_CALLS = re.compile(r"(?<![\w.>])(time|clock|clock_gettime|gettimeofday|uv_\w+)\s*\(")

BANNED = {
    "sprintf": "snprintf, which knows the size",
    "vsprintf": "vsnprintf, which knows the size",
    "strcpy": "memcpy with a length that was checked",
    "strcat": "buf_append",
    "strncpy": "memcpy: it does not always end with NUL",
    "strncat": "buf_append",
    "strtok": "slices: it keeps hidden state and writes into its argument",
    "gets": "buf_append",
    "atoi": "a parser that tells garbage from 0",
    "alloca": "mem_alloc: a stack has no error path",
    "system": "posix_spawn without a shell",
    "rand": "RAND_bytes: guessable",
}

# Where threads may meet (file -> why).
THREADS = re.compile(r"\b(pthread_\w+|uv_(?:mutex|rwlock|sem|cond|barrier|thread|once|key)_\w+|atomic_\w+|_Atomic)\b")
THREAD_FILES = {
    "core/mailbox.c": "the one road between loops",
    "core/mailbox.h": "holds the lock of that road",
    "consumers/hosted/worker_load.c": "one count of the clients of all edges for each worker",
    "core/log.c": "its own writing thread, and a queue that all threads fill",
    "core/log_sink.c": "the queue of core/log.c",
    "core/log_sink.h": "the queue of core/log.c",
    "core/mem.c": "the failing allocation that a test asks for, in whatever thread it happens",
    "server/app.c": "starts and joins the edge loops",
    "server/process/layer_thread.c": "starts and joins the loop of the channel layer",
    "server/process/layer_thread.h": "holds that thread",
    "server/transport/admission.c": "one count of the connections of all edges",
    "server/transport/admission.h": "one count of the connections of all edges",
}

# Files with objects in static storage that change (file -> why). Tables that are const do not count.
GLOBALS = {
    "core/json.c": "whether the JSON library, whose allocator has no context, was refused memory; one for each thread",
    "core/log.c": "the one sink, level and writing thread of a process",
    "core/mem.c": "the failing allocation that a test asks for",
}

FORBIDDEN_NAMES = {"util", "utils", "misc", "common", "helper", "helpers", "manager"}

# What carries no comment, or is not ours to label.
NO_SPDX = re.compile(
    r"(^|/)(LICENSE|\.gitkeep|py\.typed|CMakePresets\.json)$|\.(json|csv|bin|png|svg|ico|lock|pem|key|crt)$"
    r"|^tests/(golden|fuzz/(corpus|crashes))/"
)
# Long because they are data or generated (path pattern -> why).
MAY_BE_LONG = {
    r"^tests/(golden|fuzz/(corpus|crashes))/": "recorded bytes",
    r"package-lock\.json$": "generated",
}


# A const table with pointers in it is in .data.rel.ro: written by the dynamic linker only.
WRITABLE = re.compile(r"\.(data(?!\.rel\.ro)|bss|tdata|tbss)|\*COM\*")


def tracked_files():
    """Files of the tree that git does not ignore, so that build folders are left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def without_comments_and_strings(text):
    """The C code of @text with the same line numbers, so that words in comments and literals do not count."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def includes(text):
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def check_length(name, text):
    """A file that reaches its ceiling is split by responsibility."""
    lines = text.count("\n")
    if lines > MAX_LINES and not any(re.search(pattern, name) for pattern in MAY_BE_LONG):
        yield lines, f"{lines} lines; at most {MAX_LINES}: split it by responsibility"


def check_spdx(name, text):
    """Everybody can tell the licence of a file that was copied out of the tree."""
    if not NO_SPDX.search(name) and text and "SPDX-License-Identifier: BSD-3-Clause" not in text[:500]:
        yield 1, "no line 'SPDX-License-Identifier: BSD-3-Clause' at the top"


def check_name(name, text):
    """A name tells what is inside; these would take anything."""
    words = set(re.split(r"[_.\-]", Path(name).name.lower()))
    for word in sorted(words & FORBIDDEN_NAMES):
        yield 1, f"'{word}' is no name for a file: name it for what it does"


def check_todo(name, text):
    """A TODO without an issue is never done."""
    if name == "tests/lint/check_source.py":
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(r"\b(TODO|FIXME)\b", line)
        if match and not re.search(r"#\d+", line):
            yield number, f"{match.group(1)} without an issue number (#123)"


def check_include_direction(name, text):
    """Includes point down: server, routing, consumers, channel_layer, core. The rest is interfaces."""
    folder = name.split("/")[0]
    if folder not in C_FOLDERS:
        return
    for number, included in includes(text):
        target = included.split("/")[0]
        if target in C_FOLDERS and C_FOLDERS.index(target) > C_FOLDERS.index(folder):
            yield number, f"{folder}/ is below {target}/ and may not include {included}"
        elif "/" not in included and (ROOT / name).parent.joinpath(included).exists():
            yield number, f"include paths start at the root of the repository: {Path(name).parent}/{included}"
        elif target == "tests":
            yield number, f"{included} belongs to the tests"


def check_sans_io(name, text):
    """Protocol code takes bytes and gives bytes, so that it is tested and fuzzed without sockets and clocks."""
    if name.split("/")[0] in C_FOLDERS and Path(name).stem in SANS_IO:
        for number, included in includes(text):
            if IO_HEADERS.fullmatch(included):
                yield number, f"{Path(name).stem} does no input or output and knows no clock: no {included}"
        for number, line in enumerate(without_comments_and_strings(text).splitlines(), 1):
            match = IO_CALLS.search(line)
            if match:
                yield number, f"{Path(name).stem} does no input or output and knows no clock: no {match.group(1)}()"


def check_banned(name, text):
    """Functions that write without a size, hide state or run a shell."""
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for number, line in enumerate(without_comments_and_strings(text).splitlines(), 1):
        for match in pattern.finditer(line):
            yield number, f"{match.group(1)}() is not used here: {BANNED[match.group(1)]}"


def check_threads(name, text):
    """Threads meet at mailboxes only, so that everything else can be read as single-threaded code."""
    if name in THREAD_FILES or name.split("/")[0] not in C_FOLDERS:
        return
    for number, line in enumerate(without_comments_and_strings(text).splitlines(), 1):
        match = THREADS.search(line)
        if match:
            yield number, f"{match.group(1)} outside the files where threads meet (THREAD_FILES in this script)"


def check_typedef(name, text):
    """A struct or enum is called by its kind, so that the reader sees what it is and it can be declared forward."""
    for number, line in enumerate(without_comments_and_strings(text).splitlines(), 1):
        match = re.search(r"\btypedef\s+(struct|enum|union)\b", line)
        if match:
            yield number, f"typedef {match.group(1)}: write '{match.group(1)} name' where it is used"


def check_guard(name, text):
    """Guards are derived from the path, so that no two headers share one."""
    guard = re.sub(r"\W", "_", name).upper()
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("#")), 0)
    if lines[first : first + 2] != [f"#ifndef {guard}", f"#define {guard}"]:
        yield first + 1, f"the first directives must be '#ifndef {guard}' and '#define {guard}'"


def check_listed(name, text):
    """A source that no CMakeLists.txt lists is not built, and nobody notices."""
    folder, _, path = name.partition("/")
    lists = ROOT / folder / "CMakeLists.txt"
    if folder in C_FOLDERS and lists.exists() and not re.search(rf"[\s(]{re.escape(path)}[\s)]", lists.read_text()):
        yield 1, f"{folder}/CMakeLists.txt does not list {path}"


def check_globals(build):
    """State belongs to an object; what changes in static storage is shared by every loop. Read by nm."""
    objects = sorted(path for folder in C_FOLDERS for path in (build / folder).rglob("*.c.o"))
    if not objects:
        yield str(build), 1, "nothing is built there: run `make release` first"
    for path in objects:
        source = str(path.relative_to(build)).removesuffix(".o")
        source = re.sub(r"CMakeFiles/[^/]+\.dir/", "", source)
        if source in GLOBALS or not (ROOT / source).exists():
            continue
        command = ["nm", "--defined-only", "--format=sysv", str(path)]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            columns = [column.strip() for column in line.split("|")]
            if len(columns) == 7 and WRITABLE.match(columns[6]):  # name, value, class, type, size, line, section
                yield source, 1, f"{columns[0]} is a global that changes (GLOBALS in this script)"


EVERY_FILE = [check_length, check_spdx, check_name, check_todo]
C_FILE = [check_include_direction, check_sans_io, check_banned, check_threads, check_typedef]


def rules_for(name):
    rules = list(EVERY_FILE)
    if name.endswith((".c", ".h")):
        rules += C_FILE
    if name.endswith(".h"):
        rules.append(check_guard)
    if name.endswith(".c"):
        rules.append(check_listed)
    return rules


def main():
    found = []
    for name in tracked_files():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # recorded bytes
        for rule in rules_for(name):
            found += [(name, line, rule.__name__, said) for line, said in rule(name, text)]
    found += [(name, line, "check_globals", said) for name, line, said in check_globals(ROOT / "build" / "release")]
    for name, line, rule, said in found:
        print(f"{name}:{line}: {rule.removeprefix('check_').replace('_', '-')}: {said}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
