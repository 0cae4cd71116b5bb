# SPDX-License-Identifier: BSD-3-Clause
"""The HTTP routes: pages, and under /api/ what they poll when no socket can be had."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from config.static import static_file

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("", include("dashboard.urls")),
    path("", include("workstations.urls")),
    path("", include("chat.urls")),
    path("", include("notifications.urls")),
    path("favicon.ico", RedirectView.as_view(url="/static/icon.svg")),
    re_path(r"^static/(?P<path>.*)$", static_file),
]
