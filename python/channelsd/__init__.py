# SPDX-License-Identifier: BSD-3-Clause
"""channelsd: the Python side of the channelsd server.

The server itself is a C program; it starts `channelsd.worker` in as many processes as it was told, and each of them
runs the ASGI application.
"""

from .fanout import fanout

__all__ = ["fanout"]
__version__ = "0.1.0"
