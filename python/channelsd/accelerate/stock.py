# SPDX-License-Identifier: BSD-3-Clause
"""What of the installed Channels is as it was published. Nothing else is replaced.

A module is known by the digest of its file: that tells a release that nobody has read, a distribution's patch, and an
edited file alike. A function is the module's own if its code came from that file, and not from whoever patched it.

Tracing libraries patch in ways that hide. A proxy around a function (wrapt's) answers every question as the function
would, but for its type. Others leave the function and put other code into it, with the file and the name of the old.
"""

import functools
import hashlib
import importlib
import re
import sys
import types

# Digests of the modules (SHA-256, first 16 digits) that the replacements were written for: Channels 4.0.0 to 4.3.2.
_KNOWN = {
    "channels.utils": {"657913012c7e41ff"},
    "channels.consumer": {"fc8eff9aca27ecd7", "67f43567763026e1"},
    "channels.generic.websocket": {"d6107fe9b7bab70c", "f53116e98ae11b60", "7c19913d8b0777c3"},
    "channels.sessions": {"450f571666196fb4", "c9f0b7f48805ed6c", "ca9187c63965b599"},
    "channels.auth": {"d4f740d7f14ff5f3"},
    "channels.db": {"c9d0b7a61fa5eeea", "72c193c26b76078a"},
    "channels.layers": {
        "99fe60c26251182e",
        "99a1575581cf4c02",
        "346df0139b178aca",
        "9286dbb403d9af7d",
        "108155612f697f04",
    },
}

# Those that have names of other modules in them; imported so that each has what it is to have.
_IMPORTERS = ("channels.consumer", "channels.generic.http", "channels.generic.websocket")


def _digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:16]
    except OSError as error:
        return f"unreadable ({error.strerror})"


def is_known(name, known):
    """Whether the module `name`, which is imported, has one of the digests `known`."""
    return _digest(sys.modules[name].__file__) in known


def _shape(code):
    constants = tuple(_shape(item) if isinstance(item, types.CodeType) else item for item in code.co_consts)
    return hash((code.co_name, code.co_firstlineno, code.co_names, code.co_code, constants))


def _shapes(code):
    yield _shape(code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _shapes(constant)


@functools.cache
def _written(path):
    """What each function of a file compiles to; nothing for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return frozenset(_shapes(compile(file.read(), path, "exec", dont_inherit=True)))
    except (OSError, SyntaxError, ValueError):
        return frozenset()


def is_as_written(function, path):
    """Whether this is a function, and no more than that, with the code that the file at `path` has for it."""
    if type(function) is not types.FunctionType:
        return False
    return function.__code__.co_filename == path and _shape(function.__code__) in _written(path)


def function_of(member):
    """The function of what a class has under a name. What is neither a function nor a real classmethod stays what it is:
    a proxy around a classmethod, too, answers as that would."""
    return member.__func__ if type(member) in (classmethod, staticmethod) else member


def is_own(function, module):
    """Whether a function was compiled from the file of `module`, and is not wrapped by another one from there."""
    return is_as_written(function, module.__file__) and not hasattr(function, "__wrapped__")


class Stock:
    """The installed Channels. Importing it imports no models and needs no settings."""

    def __init__(self):
        self.text = getattr(importlib.import_module("channels"), "__version__", "")
        numbers = re.match(r"\d+(\.\d+)*", self.text)
        self.version = tuple(map(int, numbers.group().split("."))) if numbers else ()

    def module(self, name):
        """The module, imported."""
        return importlib.import_module(name)

    def knows(self, report, name):
        """Whether a module is one of those published; tells the report if not."""
        module = self.module(name)
        if is_known(name, _KNOWN[name]):
            return True
        report.left_alone(name, f"Channels {self.text}: {module.__file__} is none of the versions known here")
        return False

    def has_functions(self, report, module, names):
        """Whether a module is known and the functions in it are its own."""
        return self.knows(report, module.__name__) and self._are_own(report, module, module, names)

    def has_methods(self, report, cls, names):
        """The same for a class."""
        module = sys.modules[cls.__module__]
        return self.knows(report, module.__name__) and self._are_own(report, module, cls, names)

    def is_own_name(self, report, module, name):
        """Whether a function of a known module is its own."""
        return self._are_own(report, module, module, (name,))

    def _are_own(self, report, module, owner, names):
        for name in names:
            function = function_of(owner.__dict__.get(name))
            if function is None or not is_own(function, module):
                report.left_alone(f"{owner.__name__}.{name}", "somebody has patched it")
                return False
        return True

    def replace(self, report, function, replacement):
        """Puts `replacement` in place of a function in the module that defines it and in those that import it."""
        name = function.__name__
        for module in map(self.module, (function.__module__, *_IMPORTERS)):
            if module.__dict__.get(name) is function:
                setattr(module, name, replacement)
                report.replaced(f"{module.__name__}.{name}")
