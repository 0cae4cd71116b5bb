# SPDX-License-Identifier: BSD-3-Clause
"""The ASGI application: `daphne config.asgi:application`, or any other ASGI server."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()  # Loads the apps, so it comes before the imports below.

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from config.routing import websocket_urlpatterns  # noqa: E402
from realtime.origins import BrowserOriginValidator  # noqa: E402
from realtime.server_loop import RememberLoop  # noqa: E402
from realtime.tokens import TokenAuthMiddleware  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": BrowserOriginValidator(
            RememberLoop(AuthMiddlewareStack(TokenAuthMiddleware(URLRouter(websocket_urlpatterns))))
        ),
    }
)
