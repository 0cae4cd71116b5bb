#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What a C program does with libchannellayer: builds and installs it into build/library, compiles the example with pkg-config
# and with CMake's find_package(), and has it join a group that `channelsd layer group-send` sends to through Redis.
set -eu
cd "$(dirname "$0")/.."
out=$PWD/build/library
channelsd=$PWD/build/release/channelsd

rm -rf "$out/prefix" "$out/user"
cmake -S . -B "$out/build" -G Ninja -DCHANNELSD_LIBRARY=ON -DCHANNELSD_WERROR=ON -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX="$out/prefix" -DCMAKE_INSTALL_LIBDIR=lib >/dev/null
cmake --build "$out/build" --target channellayer
cmake --install "$out/build" --component library >/dev/null

# Only its own names are visible.
strangers=$(nm -D --defined-only "$out/prefix/lib/libchannellayer.so" | awk '{print $3}' | grep -v '^channellayer_' || true)
if [ -n "$strangers" ]; then
    echo "check_library.sh: visible besides channellayer_*: $strangers" >&2
    exit 1
fi

mkdir -p "$out/user"
# shellcheck disable=SC2046 # flags
PKG_CONFIG_PATH=$out/prefix/lib/pkgconfig cc -Wall -Wextra -Werror examples/channellayer/member.c \
    $(PKG_CONFIG_PATH=$out/prefix/lib/pkgconfig pkg-config --cflags --libs channellayer) \
    "-Wl,-rpath,$out/prefix/lib" -o "$out/user/member"
cmake -S examples/channellayer -B "$out/user/build" -DCMAKE_PREFIX_PATH="$out/prefix" >/dev/null
cmake --build "$out/user/build" >/dev/null

redis=$out/redis.sock
rm -f "$redis" "$out/joined"
redis-server --port 0 --unixsocket "$redis" --save '' --appendonly no --dir "$out/user" >"$out/redis.log" &
redis_pid=$!
trap 'kill $redis_pid 2>/dev/null || true' EXIT
until [ -S "$redis" ]; do kill -0 $redis_pid; done
mkfifo "$out/joined"
for member in "$out/user/member" "$out/user/build/member"; do
    "$member" "{\"hosts\": [\"unix://$redis\"]}" room 2 >"$out/joined" &
    pid=$!
    {
        read -r line
        [ "$line" = joined ]
        for text in one three; do
            "$channelsd" layer group-send --redis "unix://$redis" room "{\"type\": \"$text\"}"
            read -r line
            echo "$text: $line"
        done
    } <"$out/joined"
    wait $pid
done
[ "$(redis-cli -s "$redis" DBSIZE)" = 0 ] || { redis-cli -s "$redis" KEYS '*'; echo "check_library.sh: left in Redis" >&2; exit 1; }
