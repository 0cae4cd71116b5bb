# SPDX-License-Identifier: BSD-3-Clause
"""Raises while it is imported."""


def deep():
    raise RuntimeError("settings are wrong")


deep()
