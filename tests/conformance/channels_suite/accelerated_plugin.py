# SPDX-License-Identifier: BSD-3-Clause
"""A plugin for pytest (`-p accelerated_plugin`) under which any test suite runs with channelsd's acceleration."""

import os

import pytest

import channelsd.accelerate


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """After the suite's own conftest, which may configure Django."""
    report = channelsd.accelerate.install(os.environ.get("CHANNELSD_ACCELERATE", "exact"))
    config.channelsd_replacements = report.replacements


def pytest_report_header(config):
    return f"accelerated: {', '.join(config.channelsd_replacements) or 'nothing'}"
