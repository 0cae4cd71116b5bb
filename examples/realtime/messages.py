# SPDX-License-Identifier: BSD-3-Clause
"""Checks on what clients send, shared by consumers and views.

Why: nothing from outside may raise anything but BadInput, whatever its type, size or encoding.
"""

import json
from datetime import timezone

MAX_ID = 2**63 - 1


class BadInput(Exception):
    """What a client sent cannot be used; the text says why and is meant for that client."""


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def parse_object(text, max_chars):
    """Decode one JSON object, or raise BadInput."""
    if len(text) > max_chars:
        raise BadInput(f"Message too large: at most {max_chars} characters.")
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadInput("Not valid JSON.") from None
    if not isinstance(content, dict):
        raise BadInput("A JSON object is expected.")
    return content


def text_field(content, name, max_chars, required=True):
    """Return a field's text without the blanks around it; None when it is optional and absent."""
    value = content.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise BadInput(f'"{name}" must be a text.')
    value = value.strip()
    if not value:
        raise BadInput(f'"{name}" is empty.')
    if len(value) > max_chars:
        raise BadInput(f'"{name}" is too long: at most {max_chars} characters.')
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise BadInput(f'"{name}" has characters that cannot be stored.')
    return value


def id_field(content, name):
    """Return a field that names a row of the database."""
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_ID:
        raise BadInput(f'"{name}" must be a positive whole number.')
    return value


def bool_field(content, name):
    """Return a field that is true or false."""
    value = content.get(name)
    if not isinstance(value, bool):
        raise BadInput(f'"{name}" must be true or false.')
    return value


def iso(moment, timespec="milliseconds"):
    """Write a time as ISO 8601 in UTC, ending in Z; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
