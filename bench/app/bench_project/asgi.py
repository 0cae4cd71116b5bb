# SPDX-License-Identifier: BSD-3-Clause
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench_project.settings")
http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from bench_project import consumers  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                path("ws/echo/", consumers.Echo.as_asgi()),
                path("ws/auth/", AuthMiddlewareStack(consumers.Echo.as_asgi())),
                path("ws/member/", consumers.Member.as_asgi()),
                path("ws/marked/", consumers.MarkedMember.as_asgi()),
                path("ws/publish/", consumers.Publisher.as_asgi()),
            ]
        ),
    }
)
