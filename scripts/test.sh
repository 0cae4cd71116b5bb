#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `make test`: builds everything, runs every suite even when an earlier one failed, and ends with the sum of all. The Python
# suites that depend on them run twice, with the oldest and the newest versions of Django and Channels that are supported.
set -eu
cd "$(dirname "$0")/.."
jobs=$(nproc)
results=build/results

# Each suite leaves its exit status in $results, and most a JUnit file; the sum at the end is made from them.
suite() {
    name=$1
    shift
    start=$(date +%s)
    status=0
    printf '\n== %s\n' "$name"
    "$@" || status=$?
    echo $status >"$results/$name.status"
    echo "== $name: exit status $status after $(($(date +%s) - start)) s"
}
python_suite() { # <version set> <binary> <name> <pytest arguments>
    venv=$PWD/build/venv/$1
    binary=$PWD/build/$2/channelsd
    name=$3-$1
    shift 3
    suite "$name" env CHANNELSD_BIN="$binary" CHANNELSD_PYTHON="$venv/bin/python" \
        ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        EXAMPLE_TEST_DB="$PWD/$results/$name.sqlite3" \
        "$venv/bin/python" -m pytest --junitxml "$results/$name.xml" "$@"
}
side_by_side() { # the same for suites that wait more than they work
    python_suite "$@" -n $((jobs + 1))
}

rm -rf $results
mkdir -p $results
unset REDIS_URL REDIS_HOST REDIS_PORT DJANGO_SETTINGS_MODULE

for preset in dev release; do
    cmake --preset $preset
    cmake --build --preset $preset -j "$jobs"
done
# The package as it stands in the tree is on their path; that it can be installed is what the suite "package" tells.
environment() { # <version set> <more requirement files>
    venv=build/venv/$1
    scripts/venv.sh "$venv" "tests/requirements/$1.txt" tests/requirements/tools.txt examples/requirements-test.txt $2
    echo "$PWD/python" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/channelsd-tree.pth"
}
environment oldest ''
environment newest tests/requirements/browser.txt

suite unit ctest --preset dev -j "$((jobs + 1))" --output-on-failure --output-junit "$PWD/$results/unit.xml"
suite lint scripts/lint.sh
suite package scripts/check_package.sh
suite library scripts/check_library.sh
# What depends on the versions of Django, Channels and channels_redis; the rest of tests/integration knows none of them.
of_versions='accelerate_redis channels_project full_live layer_python lifespan runworker start workers_accelerate workers_layers'
for versions in newest oldest; do
    integration=tests/integration
    if [ $versions = oldest ]; then
        integration=$(printf 'tests/integration/test_%s.py ' $of_versions)
    fi
    side_by_side $versions dev python tests/python
    # shellcheck disable=SC2086 # a list of files
    side_by_side $versions dev integration $integration
    side_by_side $versions dev interop tests/interop
    python_suite $versions release examples --timeout 60 examples
done
# The layer on other servers than the distribution's Redis; after "newest" and "oldest", whose environments they use.
for server in redis-5.0 redis-6.2 redis-8.2 valkey-9.1; do
    suite servers-$server scripts/check_server.sh $server "$PWD/$results/servers-$server.xml"
done
# The newest Django, where the system's Python is too old for it.
if python3 -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
    suite django scripts/check_django.sh "$PWD/$results/django.xml"
fi
side_by_side newest dev conformance tests/conformance
python_suite newest release browser --timeout 120 tests/browser

printf '\n'
exec build/venv/newest/bin/python scripts/summary.py $results
