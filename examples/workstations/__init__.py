# SPDX-License-Identifier: BSD-3-Clause
"""Workstations and the paid sessions that run on them."""
