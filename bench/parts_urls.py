# SPDX-License-Identifier: BSD-3-Clause
"""The views of bench.parts."""

from django.http import JsonResponse
from django.urls import path


async def async_view(request):
    return JsonResponse({"ok": True})


def view(request):
    return JsonResponse({"ok": True})


urlpatterns = [path("async/", async_view), path("sync/", view)]
