#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What depends on the version of Redis, on one that is not the distribution's:
# check_server.sh redis-5.0|redis-6.2|redis-8.2|valkey-9.1 [JUnit file [pytest arguments]]
# pip brings the server into an environment of its own; Redis 5.0 is built there, once (half a minute). A test may skip what
# the server lacks; that there is no such server is a failure.
set -eu
cd "$(dirname "$0")/.."
name=$1
junit=${2:-build/server-$name.xml}
[ $# -lt 2 ] || shift
shift
venv=$PWD/build/venv/server-$name
versions=newest
if [ "$name" = redis-5.0 ]; then
    versions=oldest        # a newer redis-py wants HELLO
    export CFLAGS=-fcommon # its headers define variables
fi
scripts/venv.sh "$venv" "tests/requirements/server-$name.txt"

program=$(find "$venv/bin" "$venv/lib" -type f \( -name redis-server -o -name valkey-server \) -print -quit)
mkdir -p "$venv/redis"
install -m 755 "$program" "$venv/redis/redis-server"
PATH=$venv/redis:$PATH
case $(redis-server --version) in
*" v=${name#*-}."*) ;;
*)
    echo "check_server.sh: not $name: $(redis-server --version)" >&2
    exit 1
    ;;
esac

export CHANNELSD_OTHER_REDIS="$name" ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export CHANNELSD_BIN="${CHANNELSD_BIN:-$PWD/build/dev/channelsd}" CHANNELSD_PYTHON="$PWD/build/venv/$versions/bin/python"
# What a server of another version may do otherwise, within the time there is; without arguments.
in=tests/interop
[ $# -gt 0 ] || set -- $in/test_connections.py $in/test_mixed_groups.py $in/test_normal_channels.py $in/test_operations.py \
    $in/test_pubsub.py $in/test_faults.py::test_full_redis_is_told_and_recovers \
    $in/test_faults.py::test_full_redis_still_gives_what_it_has --deselect $in/test_connections.py::test_nobody_listens \
    --deselect $in/test_connections.py::test_plain_server_where_tls_is_spoken --deselect $in/test_connections.py::test_redis_5 \
    --deselect $in/test_connections.py::test_sentinel --deselect $in/test_mixed_groups.py::test_room_of_hosted_consumers_outlives_redis
# Both wait more than they work.
log=$venv/unit.log
ctest --test-dir "$(dirname "$CHANNELSD_BIN")" -j 4 --output-on-failure \
    -R '^test_(pubsub|redis)_(backend|backend_arrivals|greeting|hosts|life|link|nodes|settle)$' >"$log" 2>&1 &
unit=$!
status=0
"$CHANNELSD_PYTHON" -m pytest -n 3 --junitxml "$junit" "$@" || status=$?
wait $unit || status=$?
cat "$log"
exit $status
