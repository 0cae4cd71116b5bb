# SPDX-License-Identifier: BSD-3-Clause
"""Static files, served by the application itself so that no other server is needed.

Why not `staticfiles_urlpatterns()`: it does nothing when DEBUG is off, and its streamed answers make Django
warn under ASGI. Put a web server or a cache in front of a site that has real traffic.
"""

from django.contrib.staticfiles.views import serve
from django.http import HttpResponse


def static_file(request, path):
    """Answer with one file found by the staticfiles finders (304 when the browser has it already)."""
    found = serve(request, path, insecure=True)
    if not found.streaming:
        return found
    response = HttpResponse(b"".join(found.streaming_content), content_type=found["Content-Type"])
    response["Last-Modified"] = found["Last-Modified"]
    response["Cache-Control"] = "no-cache"
    found.close()
    return response
