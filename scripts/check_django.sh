#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What depends on the version of Django, with the newest one on a Python that it runs on (scripts/newer_python.sh), where
# that of the system is too old for it: check_django.sh [JUnit file [pytest arguments]]
# The environment, build/venv/latest, serves any other suite too: CHANNELSD_PYTHON=build/venv/latest/bin/python
set -eu
cd "$(dirname "$0")/.."
junit=${1:-build/django.xml}
[ $# -eq 0 ] || shift
venv=$PWD/build/venv/latest

# A machine may have none and no mirror that has one: then, as with what a Redis lacks, that is one test skipped.
if ! PYTHON=$(timeout 180 scripts/newer_python.sh); then
    echo "check_django.sh: without a Python 3.12 the newest Django is not tested" >&2
    mkdir -p "$(dirname "$junit")"
    echo '<testsuite><testcase name="django"><skipped message="no Python 3.12"/></testcase></testsuite>' >"$junit"
    exit
fi
export PYTHON
scripts/venv.sh "$venv" tests/requirements/newest.txt tests/requirements/tools.txt examples/requirements-test.txt
echo "$PWD/python" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/channelsd-tree.pth"
"$venv/bin/python" -c 'import django, platform; print(f"Django {django.get_version()}, Python {platform.python_version()}")'

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export CHANNELSD_BIN="${CHANNELSD_BIN:-$PWD/build/dev/channelsd}" CHANNELSD_PYTHON="$venv/bin/python"
in=tests/python
[ $# -gt 0 ] || set -- $in/test_full_*.py $in/test_accelerate_full_corners.py $in/test_accelerate_install.py \
    $in/test_accelerate_patches.py $in/test_accelerate_threads.py $in/test_http.py $in/test_websocket.py $in/test_runworker.py \
    tests/conformance/full
exec "$venv/bin/python" -m pytest -n "$(($(nproc) + 1))" --junitxml "$junit" "$@"
