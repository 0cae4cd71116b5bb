#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `make demo`: the example project, served by channelsd from a virtual environment of its own, with no Redis.
set -eu
cd "$(dirname "$0")/.."

scripts/venv.sh .venv examples/requirements.txt

# The package anew when a source of it is newer than what is installed.
installed=.venv/channelsd-installed
if [ ! -e $installed ] || [ -n "$(find CMakeLists.txt pyproject.toml cmake core channel_layer consumers routing server \
    python -type f ! -name '*.pyc' -newer $installed -print -quit)" ]; then
    echo "Building channelsd and installing it into .venv"
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --config-settings=build-dir=build/wheel .
    touch $installed
fi

cd examples
unset REDIS_URL REDIS_HOST REDIS_PORT DJANGO_SETTINGS_MODULE
PATH=$PWD/../.venv/bin:$PATH
VIRTUAL_ENV=$PWD/../.venv
export PATH VIRTUAL_ENV
python manage.py migrate --noinput --verbosity 0
python manage.py demo --address "http://localhost:$PORT/"
echo "Ctrl-C ends it."
exec channelsd -b "$HOST" -p "$PORT" config.asgi:application
