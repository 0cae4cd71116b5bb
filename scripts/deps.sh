#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Installs the Debian packages that the named sections of docker/packages.txt list and that are missing: deps.sh build test
# Says what it installs. Does nothing when all are there; on other systems it prints what is needed and goes on.
set -eu
here=$(dirname "$0")

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian or Ubuntu. Needed here, under whatever names your system gives them:"
    sed -n '/^\[/p; /^[a-z]/s/^/    /p' "$here/../docker/packages.txt"
    exit 0
fi

missing() {
    for name in $("$here/packages.sh" "$@"); do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || state=none
        [ "$state" = installed ] || printf ' %s' "$name"
    done
}

[ -n "$(missing "$@")" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=env
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "Missing packages, and neither root nor sudo to install them. As root: apt-get install$(missing "$@")" >&2
    exit 1
fi
$as_root apt-get update -qq
install=$(missing "$@") # once more: apt may only now know the optional ones
echo "Installing Debian packages:$install"
# shellcheck disable=SC2086 # a list of names
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $install </dev/null >/dev/null
