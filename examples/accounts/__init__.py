# SPDX-License-Identifier: BSD-3-Clause
"""Who is who: pages to log in and out, tokens, demo accounts."""
