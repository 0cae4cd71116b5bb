# SPDX-License-Identifier: BSD-3-Clause
"""One stream of notifications per user."""
