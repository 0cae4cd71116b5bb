#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Runs every fuzz target of build/fuzz for $1 seconds. New inputs are kept in build/fuzz/found/<target>, what crashes goes to
# tests/fuzz/crashes/<target>, where ctest replays it from then on.
set -eu
cd "$(dirname "$0")/.."

failed=0
for target in build/fuzz/tests/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target")
    mkdir -p "build/fuzz/found/$name" "tests/fuzz/crashes/$name"
    corpus=tests/fuzz/corpus/$name
    [ -d "$corpus" ] || corpus=
    echo "== $name"
    "$target" -max_total_time="$1" -timeout=10 -artifact_prefix="tests/fuzz/crashes/$name/" -verbosity=0 \
        -print_final_stats=1 "build/fuzz/found/$name" $corpus || failed=1
    rmdir "tests/fuzz/crashes/$name" 2>/dev/null || :
done
rmdir tests/fuzz/crashes 2>/dev/null || :
exit $failed
