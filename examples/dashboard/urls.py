# SPDX-License-Identifier: BSD-3-Clause
"""Routes of the dashboard."""

from django.urls import path

from dashboard import views

urlpatterns = [
    path("dashboard/", views.dashboard, name="dashboard"),
    path("api/dashboard/", views.api_stats, name="api-dashboard"),
]
