#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Makes the virtual environment $1 with the requirement files that follow, or does nothing when it has them already:
# venv.sh build/venv/newest tests/requirements/tools.txt ...
# The environment's stamp is the interpreter and what the files say, so that an edit of one makes it anew.
set -eu
venv=$1
shift
python=${PYTHON:-python3}

stamp=$($python -c 'import sys; print(sys.executable, sys.version)'; for file in "$@"; do cat "$file"; done)
[ "$stamp" != "$(cat "$venv/stamp" 2>/dev/null)" ] || exit 0

echo "Making $venv: $*"
rm -rf "$venv"
$python -m venv "$venv"
set -- $(for file in "$@"; do printf ' -r %s' "$file"; done)
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet "$@"
printf '%s\n' "$stamp" >"$venv/stamp"
