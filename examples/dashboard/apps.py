# SPDX-License-Identifier: BSD-3-Clause
"""Connects the dashboard to the changes it shows."""

from django.apps import AppConfig
from django.db import transaction


def on_change(**_kwargs):
    """Publish once the change is committed."""
    from dashboard.publisher import publisher

    transaction.on_commit(publisher.note)


class DashboardConfig(AppConfig):
    """The dashboard; it has no models of its own."""

    name = "dashboard"

    def ready(self):
        """Listen for changes of users, sessions and workstations."""
        from django.contrib.auth import get_user_model
        from django.db.models.signals import post_delete, post_save

        from workstations.models import AccessSession, Workstation
        from workstations.signals import state_changed

        for model in (get_user_model(), AccessSession, Workstation):
            post_save.connect(on_change, sender=model, dispatch_uid=f"dashboard.{model.__name__}.save")
            post_delete.connect(on_change, sender=model, dispatch_uid=f"dashboard.{model.__name__}.delete")
        state_changed.connect(on_change, dispatch_uid="dashboard.state_changed")
