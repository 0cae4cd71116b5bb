# SPDX-License-Identifier: BSD-3-Clause
from django.http import JsonResponse
from django.urls import path


def small(request):
    return JsonResponse({"ok": True, "answer": 42})


urlpatterns = [path("json/", small)]
