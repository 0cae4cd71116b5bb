# SPDX-License-Identifier: BSD-3-Clause
"""Modules that cannot be served, each in its own way."""
