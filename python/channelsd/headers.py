# SPDX-License-Identifier: BSD-3-Clause
"""Check of the response headers that an application gives."""

import re

from .protocol import HEADERS_COUNT_MAX, HEADERS_MAX

# RFC 9110 §5.6.2 and §5.5: a token; no control byte but tab.
_is_token = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
_find_control = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search

# What msgpack adds to a pair at most, so that the sum below is what the record will hold.
_PAIR_OVERHEAD = 11

# Names seen before -> whether they are passed on. Bounded: an application that makes names up does not make it grow.
_NAMES_MAX = 1024
_names = {}


def _learn_name(name):
    if not isinstance(name, bytes):
        raise ValueError(f"Header name '{name}' expected to be `bytes`, but got `{type(name)}`")
    if not _is_token(name):
        raise ValueError(f"Header name {name!r} is not a valid HTTP field name")
    # How the body is framed is the server's business (ASGI: "transfer-encoding" of the application is ignored).
    passed = name.lower() != b"transfer-encoding"
    if len(_names) >= _NAMES_MAX:
        _names.clear()
    _names[name] = passed
    return passed


def check_headers(headers):
    """Returns `headers` (an iterable of pairs) as a list of (name, value) in order, without transfer-encoding.

    Raises ValueError, naming the header, for what is not bytes (Daphne's words), a name that is no token, a value with
    a control byte, or more than HEADERS_MAX bytes or HEADERS_COUNT_MAX headers in all.
    """
    checked = []
    total = 0
    known = _names.get
    for name, value in headers:
        # A key of another type that compares equal to bytes does not exist; an unhashable one is no header name.
        try:
            passed = known(name)
        except TypeError:
            passed = None
        if passed is None:
            passed = _learn_name(name)
        if not isinstance(value, bytes):
            raise ValueError(f"Header value '{value}' expected to be `bytes`, but got `{type(value)}`")
        if _find_control(value):
            raise ValueError(
                "Header {!r} has a control character in its value {!r}".format(name.decode("latin-1"), value)
            )
        if passed:
            checked.append((name, value))
            total += len(name) + len(value) + _PAIR_OVERHEAD
    if total > HEADERS_MAX:
        raise ValueError(f"Response headers of {total} bytes are more than the {HEADERS_MAX} allowed")
    if len(checked) > HEADERS_COUNT_MAX:
        raise ValueError(f"A response of {len(checked)} headers has more than the {HEADERS_COUNT_MAX} allowed")
    return checked
