#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Prints the packages of docker/packages.txt that the named sections list, one a line: packages.sh build test
# A name that ends in "?" is printed without it if apt knows the package, and left out if not.
set -eu
list=$(dirname "$0")/../docker/packages.txt

for section in "$@"; do
    grep -q "^\[$section\]$" "$list" || { echo "packages.sh: $list has no section [$section]" >&2; exit 2; }
    awk -v want="[$section]" '/^#/ || /^$/ { next } /^\[/ { wanted = ($0 == want); next } wanted' "$list"
done | sort -u | while read -r name; do
    case $name in
    *\?)
        name=${name%\?}
        apt-cache show --no-all-versions "$name" >/dev/null 2>&1 || continue
        ;;
    esac
    echo "$name"
done
