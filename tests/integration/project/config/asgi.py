# SPDX-License-Identifier: BSD-3-Clause
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.urls import path  # noqa: E402

from config import consumers  # noqa: E402

websocket_urls = [
    path("ws/chat/<slug:room>/", consumers.Chat.as_asgi()),
    path("ws/sync/<slug:room>/", consumers.SyncChat.as_asgi()),
    path("ws/session/", consumers.SessionCounter.as_asgi()),
    path("ws/refuse/", consumers.Refuse.as_asgi()),
    path("ws/deny/", consumers.Deny.as_asgi()),
    path("ws/protocol/", consumers.Protocol.as_asgi()),
    path("ws/close/<int:code>/", consumers.CloseWith.as_asgi()),
    path("ws/raise/", consumers.Raise.as_asgi()),
    path("ws/odd/", consumers.OddClose.as_asgi()),
    path("ws/odd-sync/", consumers.SyncOddClose.as_asgi()),
    path("ws/lazy/", consumers.Lazy.as_asgi()),
    path("ws/lazy-sync/", consumers.SyncLazy.as_asgi()),
]
application = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(django_application),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urls))),
    }
)
