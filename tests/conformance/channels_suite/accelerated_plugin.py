# SPDX-License-Identifier: BSD-3-Clause
"""A plugin for pytest (`-p accelerated_plugin`) under which any test suite runs with channelsd's acceleration."""

import os

import pytest

import channelsd.accelerate


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """When Django is configured and set up, by the suite's own conftest or by pytest-django, and before tests are imported.

    Raises pytest.UsageError if nothing was replaced: such a run would tell nothing.
    """
    mode = os.environ.get("CHANNELSD_ACCELERATE", "exact")
    report = channelsd.accelerate.install(mode)
    if mode != "off" and not report.replacements:
        raise pytest.UsageError(f"nothing was replaced: {report.skipped}")
    session.config.channelsd_replacements = report.replacements


def pytest_report_header(config):
    return f"accelerated: {', '.join(config.channelsd_replacements) or 'nothing'}"
