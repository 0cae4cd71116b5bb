#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What users do: builds the wheel from this tree, installs it into a fresh virtual environment and starts the binary there.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

rm -rf build/package
mkdir -p build/package
$python -m venv build/package/venv
bin=build/package/venv/bin
$bin/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir build/package \
    --config-settings=build-dir=build/wheel .
wheel=$(echo build/package/*.whl)
echo "$wheel"
case $wheel in
*-py3-none-linux_*) ;;
*)
    echo "check_package.sh: the wheel's tag is not py3-none-linux_*" >&2
    exit 1
    ;;
esac
$bin/python -m pip install --disable-pip-version-check --quiet "$wheel"
$bin/channelsd --version
cd / # away from the tree, so that the installed package is what is imported
"$OLDPWD/$bin/python" -c 'import channelsd; print(channelsd.__file__)'
