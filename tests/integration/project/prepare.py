# SPDX-License-Identifier: BSD-3-Clause
"""Makes the database of the project, with its users: ada, who may use the admin, and bob."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0)
get_user_model().objects.create_superuser("ada", password="secret")
get_user_model().objects.create_user("bob", password="secret")
