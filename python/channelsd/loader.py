# SPDX-License-Identifier: BSD-3-Clause
"""Import of the application from its path, module.path:object.path."""

import inspect
import sys
import traceback
from pathlib import Path


class LoadError(Exception):
    """The text is one line for the user, naming the application path. A traceback that helps was printed before."""


def working_folder():
    """Its path, which comes first on sys.path. Raises LoadError when somebody has deleted it."""
    try:
        return str(Path.cwd())
    except OSError as error:
        raise LoadError(
            f"the folder in which the server runs cannot be found any more ({error.strerror}): "
            "start it again in the project's folder"
        ) from None


def load_application(path):
    """Imports and checks the application. The working directory comes first on sys.path, as under Daphne.

    Raises LoadError.
    """
    module_name, colon, object_path = path.partition(":")
    if not colon or not module_name or not object_path:
        raise LoadError(
            f"application {path!r} must have the form module.path:object, for example config.asgi:application"
        )
    sys.path.insert(0, working_folder())
    application = _import(path, module_name)
    found = module_name
    for name in object_path.split("."):
        try:
            application = getattr(application, name)
        except AttributeError:
            raise LoadError(
                f"application {path!r}: {found} has no attribute {name!r}; name the ASGI application that it defines"
            ) from None
        found += "." + name
    _check(path, application)
    return application


def _import(path, module_name):
    try:
        # Not importlib.import_module(), whose frames Python would not take out of the traceback.
        __import__(module_name)
        return sys.modules[module_name]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames)
        if isinstance(error, ImportError):
            advice = (
                f"check the name, that its packages are installed for {sys.executable}, "
                f"and that the server runs in the project's folder (now {working_folder()})"
            )
        else:
            advice = f"the import of {module_name} ended with the {type(error).__name__} above"
        raise LoadError(f"cannot import application {path!r}: {advice}") from None


def _is_coroutine_function(function):
    # _is_coroutine: asgiref.sync.markcoroutinefunction before Python 3.12.
    return inspect.iscoroutinefunction(function) or getattr(function, "_is_coroutine", None) is not None


def _is_single_callable(application):
    """ASGI 3, by the rule of asgiref.compatibility.is_double_callable."""
    if getattr(application, "_asgi_single_callable", False):
        return True
    if getattr(application, "_asgi_double_callable", False) or inspect.isclass(application):
        return False
    return _is_coroutine_function(application) or _is_coroutine_function(application.__call__)


def _check(path, application):
    if not callable(application):
        raise LoadError(f"application {path!r} is not callable but {_describe(application)}; name an ASGI application")
    if _is_single_callable(application):
        return
    if inspect.isclass(application):
        raise LoadError(
            f"application {path!r} is a class, as ASGI 2 had them; "
            "give an instance, or for a Channels consumer its as_asgi()"
        )
    # A plain function that returns an awaitable is an ASGI 3 application too.
    accepted = [count for count in (1, 2, 3) if _accepts(application, count)]
    if 3 in accepted:
        return
    if 2 in accepted:
        raise LoadError(
            f"application {path!r} looks like a WSGI application (environ, start_response); "
            "name the ASGI one, in Django config.asgi:application"
        )
    raise LoadError(
        f"application {path!r} is no ASGI 3 application: it must take (scope, receive, send). "
        "One that takes only the scope is ASGI 2; wrap it with asgiref.compatibility.guarantee_single_callable"
    )


def _accepts(function, count):
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        # Compiled code without a signature: the benefit of the doubt.
        return True
    return True


def _describe(value):
    return f"{type(value).__name__} {value!r}" if len(repr(value)) < 60 else type(value).__name__
