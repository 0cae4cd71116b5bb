# SPDX-License-Identifier: BSD-3-Clause
"""JSON views, with the same checks and the same error messages as the consumers."""

from functools import wraps

from django.conf import settings
from django.http import JsonResponse

from realtime.messages import BadInput, parse_object


def error(message, status):
    """Answer with the error message that a consumer would send."""
    return JsonResponse({"type": "error", "message": message}, status=status)


def json_body(request):
    """Decode the body of a request as one JSON object; an empty body is an empty object."""
    try:
        text = request.body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("Not valid UTF-8.") from None
    return parse_object(text or "{}", settings.MAX_MESSAGE_CHARS)


def json_view(*methods, login=True):
    """Make a view of a function that returns a dictionary.

    Wrong methods get 405, strangers 401 (never a redirect to a page), bad input 400; a response is passed on.
    """

    def decorate(view):
        @wraps(view)
        def wrapper(request, *args, **kwargs):
            if request.method not in methods:
                response = error("This method is not allowed.", 405)
                response["Allow"] = ", ".join(methods)
                return response
            if login and not request.user.is_authenticated:
                return error("Log in first.", 401)
            try:
                result = view(request, *args, **kwargs)
            except BadInput as bad_input:
                return error(str(bad_input), 400)
            response = JsonResponse(result) if isinstance(result, dict) else result
            response["Cache-Control"] = "no-store"
            return response

        return wrapper

    return decorate
