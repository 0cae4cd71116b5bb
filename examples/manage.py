#!/usr/bin/env python
# SPDX-License-Identifier: BSD-3-Clause
"""Django's command line for the example project."""

import os
import sys


def main():
    """Run one management command, and do not exit before open dashboards know what it changed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.apps import apps
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    finally:
        if apps.ready:
            from dashboard.publisher import publisher

            publisher.wait_idle(timeout=5)


if __name__ == "__main__":
    main()
