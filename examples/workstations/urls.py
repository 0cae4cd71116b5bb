# SPDX-License-Identifier: BSD-3-Clause
"""Routes of the sessions."""

from django.urls import path

from workstations import views

urlpatterns = [
    path("sessions/", views.session_list, name="sessions"),
    path("sessions/<int:session_id>/", views.session_detail, name="session"),
    path("api/sessions/", views.api_list, name="api-sessions"),
    path("api/sessions/<int:session_id>/", views.api_time, name="api-session"),
    path("api/sessions/<int:session_id>/end/", views.api_end, name="api-session-end"),
]
