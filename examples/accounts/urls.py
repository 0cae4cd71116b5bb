# SPDX-License-Identifier: BSD-3-Clause
"""The front page, log in, log out and tokens."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from accounts import views

urlpatterns = [
    path("", views.index, name="index"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("api/token/", views.token, name="api-token"),
]
