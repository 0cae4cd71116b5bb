# SPDX-License-Identifier: BSD-3-Clause
"""The requests that are traced, by name: what is sent, through which middleware, and what the client does then."""

import asyncio
import os
import re

import django
from traced import colour, note, place

STOCK = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
COMMON = ["django.middleware.common.CommonMiddleware"]
TRACERS = ["middleware.Tracer", "middleware.Inner"]
CONDITIONAL = ["django.middleware.http.ConditionalGetMiddleware"]
POLICY = ["django.middleware.csp.ContentSecurityPolicyMiddleware"]
BOUNDARY = "xXx"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def _upload(size):
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\n{"f" * size}\r\n'
        f"--{BOUNDARY}--\r\n"
    )


def sync_receiver(sender, **kwargs):
    note("receiver", sender.__name__, place(), colour.get(), sorted(kwargs))
    colour.set("receiver")


async def async_receiver(sender, **kwargs):
    note("async receiver", sender.__name__, place(), colour.get(), sorted(kwargs))
    colour.set("async receiver")
    await asyncio.sleep(0)


async def slow_receiver(sender, **kwargs):
    await asyncio.sleep(0)
    note("slow receiver", sender.__name__, place(), colour.get())
    colour.set("slow receiver")


async def failing_async_receiver(sender, **kwargs):
    note("failing async receiver")
    raise ValueError("in an async receiver")


def failing_receiver(sender, **kwargs):
    note("failing receiver")
    raise ValueError("in a receiver")


def exception_receiver(sender, **kwargs):
    note("exception receiver", sender, place(), sorted(kwargs))


def changing_receiver(sender, scope=None, **kwargs):
    """Changes the scope before the request is made of it."""
    scope["path"] = "/plain/7/"


class NotedPolicy(dict):
    """A content security policy that is looked up where it is used."""

    def items(self):
        note("policy", place())
        return super().items()


SCENARIOS = {}


def _add(name, path, **scenario):
    assert name not in SCENARIOS
    SCENARIOS[name] = {"path": path, **scenario}


_CHAINS = {"bare": [], "common": COMMON, "stock": STOCK, "tracers": TRACERS, "all": STOCK + TRACERS}
_CHAINS["natives"] = ["middleware.both", *COMMON, "middleware.Tracer", "middleware.OwnCall", "middleware.Inner"]
_CHAINS["natives inside"] = ["middleware.Tracer", "middleware.Inner", "middleware.both"]
_KINDS = {"error/": "error_async/", "plain/": "plain_async/", "class/": "class_async/", "template/": "template_async/"}
_ERRORS = ("value", "404", "403", "400", "suspicious", "multipart")

for _chain, _middleware in _CHAINS.items():
    for _view in (
        "plain/",
        "plain_async/",
        "class/",
        "class_async/",
        "template/",
        "template_async/",
        "template_error/",
    ):
        _add(f"{_chain}: {_view}", f"/{_view}", middleware=_middleware)
    for _view in ("nothing/", "coroutine/", "file/", "file_async/", "stream/", "stream_async/", "closers/", "big/"):
        _add(f"{_chain}: {_view}", f"/{_view}", middleware=_middleware)
    for _view in ("error/", "error_async/"):
        for _error in _ERRORS:
            _add(f"{_chain}: {_view}{_error}", f"/{_view}{_error}/", middleware=_middleware)
    _add(f"{_chain}: arguments", "/plain/3/", middleware=_middleware)
    _add(f"{_chain}: arguments of an async view", "/plain_async/w/", middleware=_middleware)
    _add(f"{_chain}: not found", "/nowhere/", middleware=_middleware)
    _add(f"{_chain}: no slash", "/plain", middleware=_middleware)
    _add(f"{_chain}: HEAD", "/plain/", method="HEAD", middleware=_middleware)
    _add(f"{_chain}: bad host", "/plain/", headers={"host": "elsewhere"}, middleware=_middleware)
    _add(f"{_chain}: class view without POST", "/class/", method="POST", middleware=_middleware)
    for _view in ("post/", "post_async/"):
        for _size in (10, 5000):
            _add(
                f"{_chain}: {_view} of {_size}",
                f"/{_view}",
                method="POST",
                headers=MULTIPART,
                body=[_upload(_size)[:50], _upload(_size)[50:]],
                middleware=_middleware,
            )
    _add(f"{_chain}: CancelledError", "/error/cancelled/", middleware=_middleware)
    _add(f"{_chain}: CancelledError, async", "/error_async/cancelled/", middleware=_middleware)
    _add(f"{_chain}: GeneratorExit", "/error/generator/", middleware=_middleware)

for _hook in ("process_request", "process_view", "process_exception", "process_template_response", "process_response"):
    for _layer in ("outer", "inner"):
        for _order in ("raise", "404", "answer", "nothing"):
            for _path in ("/plain/", "/plain_async/", "/template/", "/template_async/", "/error/value/"):
                _query = f"{_layer}.{_hook}={_order}"
                _add(f"{_path}?{_query}", _path, query=_query, middleware=STOCK + TRACERS)

_add("urlconf", "/other/", query="outer.process_request=urlconf", middleware=TRACERS)
_add("urlconf, async", "/other_async/", query="outer.process_request=urlconf", middleware=TRACERS)
_add("urlconf, 404", "/plain/", query="outer.process_request=urlconf", middleware=TRACERS)
_add("urlconf by setting", "/other/", middleware=COMMON, settings={"ROOT_URLCONF": "other_urls"})
_add("own 404", "/nowhere/", middleware=TRACERS, settings={"ROOT_URLCONF": "other_urls"})
_add(
    "own 500", "/other/", query="inner.process_view=raise", middleware=TRACERS, settings={"ROOT_URLCONF": "other_urls"}
)
_add("debug 404", "/nowhere/", middleware=[], settings={"DEBUG": True})
_add("prefix", "/plain/", root_path="/app", middleware=STOCK)
_add("prefix, async", "/plain_async/", root_path="/app", middleware=STOCK)
_add("www", "/plain/", middleware=COMMON, settings={"PREPEND_WWW": True})
_add("refused agent", "/plain/", middleware=COMMON, settings={"DISALLOWED_USER_AGENTS": [re.compile("u")]})
_add("secure redirect", "/plain_async/", middleware=STOCK, settings={"SECURE_SSL_REDIRECT": True})
_add("session in csrf", "/plain_async/", middleware=STOCK, settings={"CSRF_USE_SESSIONS": True})
_add("session saved always", "/plain_async/", middleware=STOCK, settings={"SESSION_SAVE_EVERY_REQUEST": True})
_add("content type that is too long", "/plain/", headers={"content-type": "a" * 20_000}, middleware=TRACERS)
_add("content type that is too long, async", "/plain_async/", headers={"content-type": "a" * 20_000}, middleware=STOCK)
_add("query that is not UTF-8", "/plain/", query="a=\xff", middleware=TRACERS)
_add("too many fields", "/post/", method="POST", headers={"content-type": "application/x-www-form-urlencoded"},
     body=["&".join(f"a{i}=1" for i in range(30))], middleware=TRACERS)  # fmt: skip
_add("body", "/body/", method="PUT", body=["1" * 1500, "2" * 1500], middleware=STOCK[:3])
_add("body cut off", "/body/", method="PUT", body=["1" * 1500], cut=True, middleware=TRACERS)

for _name, _middleware in {
    "own __call__": ["middleware.OwnCall"],
    "sync_only": ["middleware.sync_only"],
    "sync_only outside": ["middleware.sync_only", *TRACERS],
    "sync_only inside": [*TRACERS, "middleware.sync_only"],
    "sync_only between": ["middleware.Tracer", "middleware.sync_only", "middleware.Inner"],
    "SyncOnly": [*STOCK, "middleware.SyncOnly", "middleware.Inner"],
    "two of them": ["middleware.SyncOnly", "middleware.Tracer", "middleware.sync_only", "middleware.Inner"],
    "async_only": ["middleware.async_only", "middleware.Tracer"],
    "async_only outside sync_only": ["middleware.async_only", "middleware.sync_only"],
    "both": ["middleware.both", "middleware.Tracer"],
    "both outside sync_only": ["middleware.both", "middleware.sync_only", "middleware.Inner"],
    "async hooks": ["middleware.AsyncHooks"],
    "natives inside sync_only": ["middleware.sync_only", "middleware.Inner", "middleware.OwnCall", "middleware.Tracer"],
}.items():
    for _path in (
        "/plain/",
        "/plain_async/",
        "/error/value/",
        "/error_async/404/",
        "/template/",
        "/stream/",
        "/threads/",
    ):
        _add(f"{_name}: {_path}", _path, middleware=_middleware)
    _add(f"{_name}: raises inside", "/plain/", query="inner.process_response=raise", middleware=_middleware)
_add(
    "get_response called twice",
    "/plain/",
    query="SyncOnly=twice",
    middleware=["middleware.SyncOnly", "middleware.Inner"],
)

_add("etag", "/etag/", middleware=CONDITIONAL)
_add("not modified", "/etag/", headers={"if-none-match": '"9b2a63fcd8dd1ad5ff5d6e0ab1eb6f8f"'}, middleware=CONDITIONAL)
if django.VERSION >= (6, 0):
    for _path in ("/plain/", "/plain_async/", "/policy_async/", "/own_policy_async/", "/stream_async/", "/nowhere/"):
        for _name, _policy in {"none": {}, "dict": {"img-src": ["*"]}, "own": NotedPolicy({"img-src": ["*"]})}.items():
            _add(f"policy, {_name}: {_path}", _path, middleware=[*STOCK, *POLICY],
                 settings={"SECURE_CSP": _policy, "SECURE_CSP_REPORT_ONLY": _policy})  # fmt: skip
_add("stream, HEAD", "/stream/", method="HEAD", middleware=CONDITIONAL)
_add("stream, error", "/stream_error/", middleware=TRACERS)

for _view in ("threads", "threads_async", "database", "database_async", "not_atomic"):
    _add(_view, f"/{_view}/", middleware=STOCK)
    _add(f"{_view}, tracers", f"/{_view}/", middleware=TRACERS)
_add("database, rolled back", "/database/", query="raise", middleware=TRACERS)

for _signal in ("request_started", "request_finished"):
    for _receiver in ("sync_receiver", "async_receiver", "failing_receiver"):
        for _path in ("/plain/", "/plain_async/", "/stream/", "/error/value/", "/error/cancelled/"):
            _add(f"{_receiver} of {_signal}: {_path}", _path, middleware=TRACERS, receivers=[(_signal, _receiver)])
if django.VERSION >= (6, 1):
    # Before, the two kinds of receivers run at the same time.
    for _path in ("/plain/", "/plain_async/", "/stream_async/", "/error/value/"):
        _add(f"both kinds of receivers: {_path}", _path, middleware=TRACERS,
             receivers=[(_signal, _receiver) for _signal in ("request_started", "request_finished")
                        for _receiver in ("async_receiver", "sync_receiver", "slow_receiver")])  # fmt: skip
        _add(f"error of an async receiver: {_path}", _path, middleware=TRACERS,
             receivers=[("request_started", "slow_receiver"), ("request_started", "failing_async_receiver")])  # fmt: skip
_add("content type that is too long, begins in the thread", "/plain/", headers={"content-type": "a" * 20_000},
     middleware=TRACERS, receivers=[("request_started", "sync_receiver")])  # fmt: skip
_add("receiver that changes the scope", "/plain/", receivers=[("request_started", "changing_receiver")])

for _path in ("/error/value/", "/error_async/value/", "/plain/", "/error/404/"):
    for _query in ("", "inner.process_response=raise", "outer.process_request=raise"):
        _add(f"propagated: {_path} {_query}", _path, query=_query, middleware=TRACERS + COMMON,
             settings={"DEBUG_PROPAGATE_EXCEPTIONS": True},
             receivers=[("got_request_exception", "exception_receiver")])  # fmt: skip

_LEAVES = {"then": "leave when it waits", "receivers": [("request_finished", "sync_receiver")]}
for _chain in ("bare", "tracers", "all", "natives", "natives inside"):
    _add(f"{_chain}: client leaves a view", "/wait/", middleware=_CHAINS[_chain], **_LEAVES)
    _add(f"{_chain}: client leaves an async view", "/wait_async/", middleware=_CHAINS[_chain], **_LEAVES)
    _add(f"{_chain}: client leaves a coroutine below", "/wait_below/", middleware=_CHAINS[_chain], **_LEAVES)
    _add(f"{_chain}: it goes on", "/wait_below/", query="swallow", middleware=_CHAINS[_chain], **_LEAVES)
    if os.environ.get("TRACED_ATOMIC") != "1":  # then it is an error page, and the response is complete
        _add(
            f"{_chain}: client leaves a stream",
            "/stream_async/",
            query="forever",
            then="leave when it sends",
            middleware=_CHAINS[_chain],
        )
    _add(f"{_chain}: nonsense", "/plain_async/", then="nonsense", middleware=_CHAINS[_chain], compare="error")

if not (5,) <= django.VERSION < (6, 1):
    # The server gives the request up. Between 5.0 and 6.0 tasks are left behind, and a synchronous view goes on.
    for _chain in ("bare", "tracers", "all", "natives", "natives inside"):
        for _path, _query in (("/wait/", ""), ("/wait_async/", ""), ("/wait_below/", ""), ("/wait_below/", "swallow")):
            _add(
                f"{_chain}: given up at {_path}{_query}",
                _path,
                query=_query,
                middleware=_CHAINS[_chain],
                # From Python 3.13 on the cancellation that was swallowed comes again, while response.close() begins.
                receivers=[] if _query else _LEAVES["receivers"],
                then="given up when it waits",
            )
        if os.environ.get("TRACED_ATOMIC") != "1":
            _add(
                f"{_chain}: given up in a stream",
                "/stream_async/",
                query="forever",
                then="given up when it sends",
                middleware=_CHAINS[_chain],
            )
