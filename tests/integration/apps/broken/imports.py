# SPDX-License-Identifier: BSD-3-Clause
"""Needs a package that nobody has."""

import no_such_package_anywhere  # noqa: F401
