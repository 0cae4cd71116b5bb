# SPDX-License-Identifier: BSD-3-Clause
"""What of Django is Django's own: checked at install(), and again for each request, because patches come later too."""

import functools
import inspect

import django
from django.core.handlers import asgi, base, exception
from django.utils import deprecation

from ..stock import function_of, is_as_written

VERSIONS = ((4, 2), (5, 0), (5, 1), (5, 2), (6, 0), (6, 1))

# Methods that the one hop calls in another order than Django, or does the work of.
_HANDLER = {
    asgi.ASGIHandler: (
        "run_get_response",
        "create_request",
        "read_body",
        "send_response",
        "chunk_bytes",
        "listen_for_disconnect",
    ),
    base.BaseHandler: (
        "get_response_async",
        "_get_response_async",
        "resolve_request",
        "check_response",
        "make_view_atomic",
        "process_exception_by_middleware",
        "adapt_method_mode",
    ),
}
_LAYER = ("__call__", "__acall__")
# What BaseHandler.load_middleware() sets on a handler.
_HANDLER_ATTRIBUTES = {
    "_view_middleware",
    "_template_response_middleware",
    "_exception_middleware",
    "_middleware_chain",
}


def is_own(owner, name):
    """Whether `owner.name` is the function that the module of class `owner` defines there. Not of C functions."""
    function = function_of(owner.__dict__.get(name))
    return (
        is_as_written(function, inspect.getsourcefile(inspect.getmodule(owner)))
        and function.__qualname__ == f"{owner.__qualname__}.{name}"
    )


def code_of(member):
    """The code of what a class has under a name: some patch that, and leave the function."""
    return getattr(member, "__func__", member).__code__


def version_text():
    return ".".join(map(str, django.VERSION[:3]))


class Stock:
    """Raises LookupError with the reason if this Django is none that is known, or was patched before."""

    def __init__(self):
        if django.VERSION[:2] not in VERSIONS:
            raise LookupError(f"Django {version_text()} is not known to this version of channelsd")
        self.checks = []
        names = [(owner, name) for owner, names in _HANDLER.items() for name in names if hasattr(owner, name)]
        names.append((asgi.ASGIHandler, "handle"))
        names += [(deprecation.MiddlewareMixin, name) for name in _LAYER]
        for owner, name in names:
            if not is_own(owner, name):
                raise LookupError(
                    f"{owner.__module__}.{owner.__qualname__}.{name} was replaced, or is not what its file says"
                )
            if name != "handle":
                member = owner.__dict__[name]
                self.checks.append((owner.__dict__, name, member, code_of(member)))
        self.request_class = asgi.ASGIHandler.request_class
        self.handle = asgi.ASGIHandler.__dict__["handle"]
        self.call = deprecation.MiddlewareMixin.__dict__["__call__"]
        self.acall = deprecation.MiddlewareMixin.__dict__["__acall__"]
        self.converters = _converters()

    def is_layer_class(self, cls):
        """Whether a middleware of this class runs as MiddlewareMixin does: neither own __call__ nor __acall__."""
        return cls.__call__ is self.call and cls.__acall__ is self.acall

    def patched(self, handler):
        """What is not Django's own on the way of a request through `handler`, by name; None if all is."""
        if type(handler) is not asgi.ASGIHandler:
            return f"handler {type(handler).__module__}.{type(handler).__qualname__}"
        if not vars(handler).keys() <= _HANDLER_ATTRIBUTES:
            return "attributes set on the handler"
        if asgi.ASGIHandler.request_class is not self.request_class:
            return "ASGIHandler.request_class"
        for members, name, function, code in self.checks:
            if members.get(name) is not function or code_of(function) is not code:
                return f"{function.__func__.__qualname__ if hasattr(function, '__func__') else function.__qualname__}"
        return None


def _converters():
    """The code objects of the two functions that convert_exception_to_response() makes: (async, sync)."""

    async def async_example(request):
        """Only its kind matters."""

    def sync_example(request):
        """Only its kind matters."""

    convert = exception.convert_exception_to_response
    return convert(async_example).__code__, convert(sync_example).__code__


def cell_of_converter(function):
    """The cell of a function of convert_exception_to_response() with what it calls."""
    return function.__closure__[function.__code__.co_freevars.index("get_response")]


def inside_converter(function):
    """What a function of convert_exception_to_response() calls."""
    return cell_of_converter(function).cell_contents


def dotted(thing):
    """The dotted path of a middleware: of an instance its class, of a function the factory that made it."""
    thing = inspect.unwrap(thing) if inspect.isfunction(thing) else thing
    if isinstance(thing, functools.partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}".partition(".<locals>")[0]
