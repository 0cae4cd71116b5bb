# SPDX-License-Identifier: BSD-3-Clause
"""Patches that hide, as tracing libraries make them: a proxy that answers for the function inside of it, and other code
put into a function that stays. What they patch is not Channels' or Django's own any more."""

import pytest

from test_accelerate_install import INSTALL, python, warnings
from test_full_equal import pytestmark

__all__ = ["pytestmark"]  # pytest's: the versions that are tested

HIDDEN = """
class Proxy:
    def __init__(self, inside):
        object.__setattr__(self, "__wrapped__", inside)

    __class__ = property(lambda self: type(self.__wrapped__))

    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)

    def __get__(self, instance, owner=None):
        return self if instance is None else Proxy(self.__wrapped__.__get__(instance, owner))

    def __call__(self, *args, **kwargs):
        return self.__wrapped__(*args, **kwargs)


def put_proxy(owner, name):
    setattr(owner, name, Proxy(vars(owner)[name]))


def put_code(owner, name, other):
    function = vars(owner)[name]
    code = function.__code__
    function.__code__ = other.__code__.replace(
        co_filename=code.co_filename, co_name=code.co_name, co_firstlineno=code.co_firstlineno
    )
    return function.__code__
"""


@pytest.mark.parametrize(
    ("owner", "name"), [("channels.consumer.AsyncConsumer", "dispatch"), ("channels.utils", "await_many_dispatch")]
)
def test_proxy_around_a_function_of_channels(owner, name):
    script = (
        f"put_proxy({owner}, {name!r})\nchannels.consumer.await_many_dispatch = channels.utils.await_many_dispatch\n"
    )
    lines = python(HIDDEN + script + INSTALL + f"print(type({owner}.__dict__[{name!r}]).__name__)")
    assert lines[-1] == "Proxy"
    assert any(name in line and "patched" in line for line in warnings(lines))


def test_proxy_around_a_classmethod_of_channels():
    consumer = "channels.generic.websocket.AsyncJsonWebsocketConsumer"
    script = f"import channels.generic.websocket\nput_proxy({consumer}, 'encode_json')\n"
    lines = python(HIDDEN + script + INSTALL + f"print(type({consumer}.__dict__['encode_json']).__name__)")
    assert lines[-1] == "Proxy"
    assert any("encode_json" in line and "patched" in line for line in warnings(lines))


def test_other_constants_in_a_function_of_channels():
    script = """
function = channels.consumer.AsyncConsumer.dispatch
code = function.__code__ = function.__code__.replace(
    co_consts=tuple("another" if isinstance(item, str) else item for item in function.__code__.co_consts)
)
"""
    lines = python(script + INSTALL + "print(channels.consumer.AsyncConsumer.dispatch.__code__ is code)")
    assert lines[-1] == "True"
    assert any("AsyncConsumer.dispatch" in line for line in warnings(lines))


def test_other_code_in_a_function_of_channels():
    script = """
async def other(self, message):
    pass

code = put_code(channels.consumer.AsyncConsumer, "dispatch", other)
"""
    lines = python(HIDDEN + script + INSTALL + "print(channels.consumer.AsyncConsumer.dispatch.__code__ is code)")
    assert lines[-1] == "True"
    assert any("AsyncConsumer.dispatch" in line for line in warnings(lines))


DJANGO = """
import logging, sys
sys.path[:0] = [{package!r}, *{path!r}]
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
import asyncio, django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
settings.configure(
    ALLOWED_HOSTS=["*"], DATABASES={{}}, MIDDLEWARE=["django.middleware.common.CommonMiddleware"], ROOT_URLCONF="__main__"
)
django.setup()
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.middleware.common import CommonMiddleware
from django.utils.deprecation import MiddlewareMixin
import channelsd.accelerate

async def view(request):
    return HttpResponse("view")

urlpatterns = [path("", view)]
application = get_asgi_application()

async def get():
    scope = {{"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}}
    events = asyncio.Queue()
    events.put_nowait({{"type": "http.request", "body": b"", "more_body": False}})
    body = b""

    async def send(event):
        nonlocal body
        body += event.get("body", b"")

    await application(scope, events.get, send)
    return body.decode()
"""


@pytest.mark.parametrize("name", ["get_response_async", "resolve_request", "check_response"])
def test_proxy_around_a_method_of_djangos_handler(name):
    lines = python(
        HIDDEN + f"put_proxy(BaseHandler, {name!r})\nchannelsd.accelerate.install('full')\nprint(asyncio.run(get()))",
        prelude=DJANGO,
    )
    assert lines[-1] == "view"
    assert any(f"{name} was replaced, or is not what its file says" in line for line in warnings(lines))


PATCHES = {
    "MiddlewareMixin.__acall__": (
        "async def other(self, request):\n    from django.http import HttpResponse\n    return HttpResponse('other')\n"
        "patch = lambda: put_code(MiddlewareMixin, '__acall__', other)\n"
    ),
    "CommonMiddleware.process_response": (
        "def other(self, request, response):\n    import threading\n"
        "    response.content = repr(threading.current_thread() is threading.main_thread())\n    return response\n"
        "patch = lambda: put_code(CommonMiddleware, 'process_response', other)\n"
    ),
}


@pytest.mark.parametrize("when", ["before", "after", "between"])
@pytest.mark.parametrize(
    ("name", "body"), [("MiddlewareMixin.__acall__", "other"), ("CommonMiddleware.process_response", "False")]
)
def test_other_code_in_a_method_of_djangos_middleware(name, body, when):
    """It runs, and where Django would have it run: a function that is not Django's own, in a thread."""
    steps = {
        "before": "patch()\ninstall()\n",
        "after": "install()\npatch()\n",
        "between": "install()\nprint(asyncio.run(get()))\npatch()\n",
    }
    script = HIDDEN + PATCHES[name] + "install = lambda: channelsd.accelerate.install('full')\n"
    lines = python(script + steps[when] + "print(asyncio.run(get()))", prelude=DJANGO)
    assert body in lines[-2:]
    if when == "between":
        assert "view" in lines
