# SPDX-License-Identifier: BSD-3-Clause
"""What a build says when something is missing."""

import os
import subprocess

from server import ROOT


def test_missing_dependency_is_named_with_its_package(tmp_path):
    env = dict(os.environ, PKG_CONFIG_LIBDIR=str(tmp_path), PKG_CONFIG_PATH=str(tmp_path))
    configured = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path / "build", "-G", "Ninja"],
        capture_output=True,
        text=True,
        env=env,
        timeout=25,
        check=False,
    )
    assert configured.returncode != 0
    assert "libuv1-dev" in configured.stderr
