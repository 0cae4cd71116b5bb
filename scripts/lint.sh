#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The rules that a program can check. With --format it rewrites the files instead.
set -eu
cd "$(dirname "$0")/.."

scripts/venv.sh build/venv/lint tests/requirements/lint.txt
bin=build/venv/lint/bin
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do [ ! -f "$file" ] || echo "$file"; done; }

if [ "${1:-}" = --format ]; then
    files '*.c' '*.h' | xargs -r $bin/clang-format -i
    $bin/ruff format .
    $bin/ruff check --fix-only --quiet .
    exit
fi

failed=0
check() {
    name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "lint: $name: ok"
    else
        printf '%s\nlint: %s: FAILED\n' "$output" "$name"
        failed=1
    fi
}
c_format() { files '*.c' '*.h' | xargs -r $bin/clang-format --dry-run --Werror; }
spelling() { files | xargs -r $bin/codespell; }
headers() { cmake --preset dev >/dev/null && cmake --build --preset dev --target headers_compile; }

check "project rules" "${PYTHON:-python3}" tests/lint/check_source.py
check "headers compile alone" headers
check "C format (make format mends it)" c_format
check "ruff" $bin/ruff check --quiet .
check "Python format (make format mends it)" $bin/ruff format --check --quiet .
check "spelling" spelling
exit $failed
