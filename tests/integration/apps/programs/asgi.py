# SPDX-License-Identifier: BSD-3-Clause
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "programs.settings")

from django.core.asgi import get_asgi_application

application = get_asgi_application()
