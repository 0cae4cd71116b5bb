# SPDX-License-Identifier: BSD-3-Clause
"""Which way requests go when something of Django was replaced after install(): prints {case: {way: count}} as JSON."""

import asyncio
import json

import django
import drive
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.base import BaseHandler
from django.middleware.common import CommonMiddleware
from django.test.utils import override_settings
from django.utils.deprecation import MiddlewareMixin
from scenarios import NotedPolicy

from channelsd.accelerate import full

COMMON = ("django.middleware.common.CommonMiddleware",)


class Report:
    def replaced(self, name):
        """Nothing to tell."""

    def left_alone(self, name, why):
        raise AssertionError(why)


class Subclass(ASGIHandler):
    """Even one that changes nothing."""


class OwnRequest(ASGIRequest):
    """A project's own."""


def with_middleware(factory, *names):
    with override_settings(MIDDLEWARE=list(names)):
        return factory()


def wrapped(function):
    """As tracing libraries do it."""

    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Replaced:
    """Replaces `name` of `owner` for a while."""

    def __init__(self, owner, name, value=None):
        self.owner, self.name = owner, name
        self.old = owner.__dict__[name]
        self.value = value if value is not None else wrapped(self.old)

    def __enter__(self):
        setattr(self.owner, self.name, self.value)

    def __exit__(self, *exc_info):
        setattr(self.owner, self.name, self.old)


async def way(handler, path):
    """What the counters say of one request."""
    before = full.counters()
    client = drive.Client({"path": path})
    await handler(drive.make_scope({"path": path}), client.receive, client.send)
    assert client.sent[0][1] == 200, client.sent
    return {
        name: count - before.get(name, 0) for name, count in full.counters().items() if count != before.get(name, 0)
    }


async def fetch(handler, path):
    """(status, body) of a response."""
    client = drive.Client({"path": path})
    await asyncio.wait_for(handler(drive.make_scope({"path": path}), client.receive, client.send), drive.TIMEOUT)
    return client.sent[0][1], client.sent[1][2]


async def main():
    built_before = with_middleware(get_asgi_application, *COMMON)
    full.install_full(Report(), 4)
    ways = {
        "sync": await way(built_before, "/plain/"),
        "async": await way(built_before, "/plain_async/"),
        "built after": await way(with_middleware(ASGIHandler, *COMMON), "/plain/"),
        "subclass": await way(with_middleware(Subclass, *COMMON), "/plain/"),
        "static files, other path": await way(ASGIStaticFilesHandler(built_before), "/plain/"),
    }
    changed = with_middleware(ASGIHandler)
    changed.create_request = changed.create_request
    ways["attribute of the handler"] = await way(changed, "/plain/")
    for owner, name in (
        (BaseHandler, "get_response_async"),
        (BaseHandler, "_get_response_async"),
        (BaseHandler, "resolve_request"),
        (BaseHandler, "process_exception_by_middleware"),
        (ASGIHandler, "create_request"),
        (ASGIHandler, "send_response"),
        (ASGIHandler, "read_body"),
    ):
        with Replaced(owner, name):
            ways[name] = await way(built_before, "/plain/")
    with Replaced(ASGIHandler, "request_class", OwnRequest):
        ways["request_class"] = await way(built_before, "/plain/")
    with Replaced(MiddlewareMixin, "__acall__"):
        ways["__acall__"] = await way(built_before, "/plain/")
    with Replaced(CommonMiddleware, "process_response"):
        # A method of Django's middleware that is no longer Django's own is the thread's.
        ways["process_response"] = await way(built_before, "/plain_async/")
    ways["afterwards"] = await way(with_middleware(ASGIHandler, *COMMON), "/plain_async/")
    if django.VERSION >= (6, 0):
        policy = with_middleware(ASGIHandler, "django.middleware.csp.ContentSecurityPolicyMiddleware")
        for name, value in (("policy", {"img-src": ["*"]}), ("own policy", NotedPolicy({"img-src": ["*"]}))):
            with override_settings(SECURE_CSP=value):
                ways[name] = await way(policy, "/plain_async/")
    # Under stock it hangs, before Python 3.12.
    ways["StopIteration"] = await fetch(built_before, "/error/stop/")
    # No thread in which a transaction was left open serves another request.
    _, spoilt = await fetch(built_before, "/left_open/")
    ways["left open"] = {"same thread": spoilt == (await fetch(built_before, "/thread/"))[1]}
    return ways


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
