# SPDX-License-Identifier: BSD-3-Clause
import no_such_package  # noqa: F401
