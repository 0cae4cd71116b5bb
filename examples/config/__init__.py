# SPDX-License-Identifier: BSD-3-Clause
"""Settings, URLs and the ASGI application."""
