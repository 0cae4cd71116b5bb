# SPDX-License-Identifier: BSD-3-Clause
"""A Django project with Channels, as people have them: sessions, users, groups, admin, static files."""
