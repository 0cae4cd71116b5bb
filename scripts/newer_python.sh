#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Prints the path of a Python that the newest Django runs on, 3.12 or later: one of this system's or, on Debian 12, that of
# Debian 13 in build/python3.13: its packages, with the C library that they need, unpacked and not installed. That needs no
# root, and 20 MB from the system's own mirror, once.
set -eu
cd "$(dirname "$0")/.."
out=$PWD/build/python3.13
python=$out/usr/bin/python3.13
packages="python3.13-venv libstdc++6" # and what they depend on; what pip brings wants the C++ library

is_new() { "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; }
for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 "$python"; do
    if path=$(command -v "$name") && is_new "$path"; then
        echo "$path"
        exit
    fi
done

mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
if [ -z "$mirror" ]; then
    echo "newer_python.sh: no Python 3.12 or later here, and this is no Debian 12: install one, or name it by PYTHON=" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out/apt/lists/partial" "$out/apt/archives/partial"
: >"$out/apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$out/apt/sources.list"
apt() {
    apt-get -qq -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o Dir::State::Lists="$out/apt/lists" -o Dir::State::status="$out/apt/status" -o Dir::Cache="$out/apt" \
        -o Dir::Etc::SourceList="$out/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null "$@" >&2
}
echo "Unpacking Debian 13's Python into $out" >&2
apt update
# shellcheck disable=SC2086 # a list of names
apt install -y --download-only --no-install-recommends $packages
for archive in "$out"/apt/archives/*.deb; do
    dpkg-deb -x "$archive" "$out"
done

# It is to use the wheel of pip that belongs to it, and its own C library, which its loader is told each time. That comes
# last: without it the program does not start here.
sed -i "s|'/usr/share/python-wheels/'|'$out/usr/share/python-wheels/'|" "$out"/usr/lib/python3.13/_sysconfigdata_*.py
loader=$(find "$out/usr/lib" -name 'ld-linux*.so.*' -type f)
mv "$python" "$python-program"
cat >"$python" <<end
#!/bin/sh
exec "$loader" --library-path "${loader%/*}" --argv0 "\$0" "$python-program" "\$@"
end
chmod +x "$python"
rm -rf "$out/apt"
is_new "$python"
echo "$python"
