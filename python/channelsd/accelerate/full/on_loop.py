# SPDX-License-Identifier: BSD-3-Clause
"""Methods of Django's own middleware that may run on the event loop: they compute, and neither wait nor ask anything.

Stock runs every synchronous method in a thread, because it cannot know. These were read in each version from 4.2 to
6.1. They use the request's headers, the settings and the response's headers; none uses a thread-local, sets a
contextvar, opens a file or a connection, or calls code of the project, under the conditions stated as guards here:

- CommonMiddleware resolves the path for PREPEND_WWW and for a 404, and URL converters are the project's.
- SessionMiddleware makes a store, which the two engines here do without a look at the data; it saves a changed one.
- CsrfViewMiddleware with CSRF_USE_SESSIONS loads the session; an unsafe method parses the body.
- AuthenticationMiddleware makes a lazy object. MessageMiddleware makes a store; it reads and writes what was used.
- ConditionalGetMiddleware computes a digest of the content.
- ContentSecurityPolicyMiddleware (6.0) joins the strings of a dict, and makes a nonce if one is wanted.
- SecurityMiddleware and XFrameOptionsMiddleware read settings and set headers.

It holds for exactly these classes (a subclass may do anything), as long as their methods are Django's own; and for
responses whose own code they do not call, see is_simple().
"""

import importlib
import weakref

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from .stock import is_own

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_DIGEST_MAX = 64 * 1024
_SESSION_ENGINES = ("django.contrib.sessions.backends.db", "django.contrib.sessions.backends.signed_cookies")
_MESSAGE_STORES = tuple(
    f"django.contrib.messages.storage.{name}"
    for name in ("fallback.FallbackStorage", "cookie.CookieStorage", "session.SessionStorage")
)


def _always(layer, *call):
    return True


def _common_request(layer, request):
    return not settings.PREPEND_WWW


def _common_response(layer, request, response):
    return response.status_code != 404


def _session_request(layer, request):
    return layer.SessionStore.__module__ in _SESSION_ENGINES


def _session_response(layer, request, response):
    session = getattr(request, "session", None)
    return (
        type(session) is layer.SessionStore
        and _session_request(layer, request)
        and not session.modified
        and not settings.SESSION_SAVE_EVERY_REQUEST
    )


def _csrf_request(layer, request):
    return not settings.CSRF_USE_SESSIONS


def _csrf_view(layer, request, callback, args, kwargs):
    return request.method in _SAFE_METHODS or getattr(callback, "csrf_exempt", False)


def _csrf_response(layer, request, response):
    return not settings.CSRF_USE_SESSIONS


def _messages_request(layer, request):
    return settings.MESSAGE_STORAGE in _MESSAGE_STORES


def _messages_response(layer, request, response):
    store = getattr(request, "_messages", None)
    return (
        f"{type(store).__module__}.{type(store).__qualname__}" in _MESSAGE_STORES
        and not store.used
        and not store.added_new
    )


# What a view sets for its response alone, and the setting for all others.
_POLICIES = (("_csp_config", "SECURE_CSP"), ("_csp_ro_config", "SECURE_CSP_REPORT_ONLY"))


def _policy_response(layer, request, response):
    policies = [getattr(response, name, getattr(settings, setting)) for name, setting in _POLICIES]
    return all(policy is None or type(policy) is dict for policy in policies)


def _digest_response(layer, request, response):
    return request.method != "GET" or response.streaming or len(response.content) <= _DIGEST_MAX


class _Plain:
    """Has in its namespace what the compiler puts into that of every class."""

    annotated: int


# What a subclass of a response may define without being asked by a middleware for it.
_UNASKED = {*vars(_Plain), "__del__", "__getstate__", "__init__", "__reduce__", "__repr__", "__slots__", "close"}
_ASKED = {"__getattr__", *dir(HttpResponse), *dir(StreamingHttpResponse), *(name for name, _ in _POLICIES)} - _UNASKED

_simple = weakref.WeakKeyDictionary()


def _has_own_code(cls):
    return any(
        name in _ASKED and not isinstance(value, int)  # status_code
        for base in cls.__mro__
        if base is not object and not base.__module__.startswith("django.")
        for name, value in vars(base).items()
    )


def is_simple(response):
    """Whether what middleware asks of a response, its content or its headers say, is answered by Django's own code.

    A subclass may make its content of the database when it is asked for it, which stock does in a thread.
    """
    cls = type(response)
    simple = _simple.get(cls)
    if simple is None:
        simple = _simple[cls] = issubclass(cls, HttpResponseBase) and not _has_own_code(cls)
    return simple


# Class -> method -> guard, called with the layer and the method's arguments.
_TABLE = {
    "django.middleware.common.CommonMiddleware": {
        "process_request": _common_request,
        "process_response": _common_response,
    },
    "django.middleware.security.SecurityMiddleware": {"process_request": _always, "process_response": _always},
    "django.middleware.clickjacking.XFrameOptionsMiddleware": {"process_response": _always},
    "django.middleware.http.ConditionalGetMiddleware": {"process_response": _digest_response},
    "django.middleware.csp.ContentSecurityPolicyMiddleware": {
        "process_request": _always,
        "process_response": _policy_response,
    },
    "django.middleware.csrf.CsrfViewMiddleware": {
        "process_request": _csrf_request,
        "process_view": _csrf_view,
        "process_response": _csrf_response,
    },
    "django.contrib.sessions.middleware.SessionMiddleware": {
        "process_request": _session_request,
        "process_response": _session_response,
    },
    "django.contrib.auth.middleware.AuthenticationMiddleware": {"process_request": _always},
    "django.contrib.messages.middleware.MessageMiddleware": {
        "process_request": _messages_request,
        "process_response": _messages_response,
    },
}


def guards_of(layer):
    """{method name: guard} of one middleware instance; empty if nothing of it may run on the loop."""
    cls = type(layer)
    path = f"{cls.__module__}.{cls.__qualname__}"
    guards = _TABLE.get(path)
    if guards is None or getattr(importlib.import_module(cls.__module__), cls.__name__, None) is not cls:
        return {}
    if not all(is_own(cls, name) and name not in vars(layer) for name in guards):
        return {}
    return guards
