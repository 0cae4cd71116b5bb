# SPDX-License-Identifier: BSD-3-Clause
"""A signal for changes made by `QuerySet.update()`, which Django's own signals do not report."""

from django.dispatch import Signal

state_changed = Signal()
