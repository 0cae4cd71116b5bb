# SPDX-License-Identifier: BSD-3-Clause
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "programs.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if os.environ.get("PROGRAMS_TELL_AT_IMPORT"):
    from programs import calls

    calls.tell(at="import")
