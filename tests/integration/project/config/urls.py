# SPDX-License-Identifier: BSD-3-Clause
from django.contrib import admin
from django.urls import path

from config import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", views.log_in),
    path("whoami/", views.who_am_i),
    path("session/", views.session),
    path("upload/", views.upload),
    path("stream/", views.stream),
    path("stream-sync/", views.stream_sync),
    path("file/", views.file),
    path("echo/", views.echo),
    path("cookies/", views.cookies),
    path("raise/", views.fail),
    path("status/<int:code>/", views.status),
    path("async/", views.asynchronous),
]
