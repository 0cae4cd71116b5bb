# SPDX-License-Identifier: BSD-3-Clause
"""Where request.urlconf leads."""

from django.urls import path
from views import plain, plain_async

urlpatterns = [path("other/", plain), path("other_async/", plain_async)]
handler404 = "views.handler404"
handler500 = "views.handler500"
