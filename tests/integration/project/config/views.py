# SPDX-License-Identifier: BSD-3-Clause
import asyncio
import hashlib
import io

from django.contrib.auth import authenticate, login
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def log_in(request):
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return JsonResponse({"error": "wrong"}, status=403)
    login(request, user)
    return JsonResponse({"user": user.username})


def who_am_i(request):
    return JsonResponse({"user": request.user.username, "authenticated": request.user.is_authenticated})


def session(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


@csrf_exempt
def upload(request):
    found = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in found.chunks():
        digest.update(chunk)
    return JsonResponse(
        {"name": found.name, "size": found.size, "sha256": digest.hexdigest(), "note": request.POST.get("note")}
    )


def stream(request):
    async def pieces():
        for number in range(10):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingHttpResponse(pieces(), content_type="text/plain")


def stream_sync(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(10)), content_type="text/plain")


def file(request):
    return FileResponse(io.BytesIO(b"x" * 300000), filename="x.bin", as_attachment=True)


@csrf_exempt
def echo(request):
    names = ("REQUEST_METHOD", "PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "REMOTE_ADDR", "CONTENT_TYPE", "HTTP_X_TEST")
    return JsonResponse(
        {
            **{name: request.META.get(name) for name in names},
            "get": dict(request.GET.lists()),
            "post": dict(request.POST.lists()),
            "body": len(request.body),
            "secure": request.is_secure(),
        }
    )


def cookies(request):
    response = HttpResponse("cookies")
    response.set_cookie("one", "1", httponly=True)
    response.set_cookie("two", "zwei; drei")
    response["X-Several"] = "a, b"
    return response


def fail(request):
    raise RuntimeError("view broke")


def status(request, code):
    return HttpResponse(status=code)


async def asynchronous(request):
    await asyncio.sleep(0)
    return JsonResponse({"user": (await request.auser()).username})
