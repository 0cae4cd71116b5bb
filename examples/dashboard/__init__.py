# SPDX-License-Identifier: BSD-3-Clause
"""Live counts of users, sessions and workstations."""
