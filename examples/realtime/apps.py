# SPDX-License-Identifier: BSD-3-Clause
"""Start-up of the shared parts."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created


def set_journal_mode(connection, **_kwargs):
    """Let readers of a SQLite file go on while somebody writes."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")


class RealtimeConfig(AppConfig):
    """The app with the base consumer; it has no models."""

    name = "realtime"

    def ready(self):
        """Prepare every database connection made from here on."""
        connection_created.connect(set_journal_mode, dispatch_uid="realtime.set_journal_mode")
