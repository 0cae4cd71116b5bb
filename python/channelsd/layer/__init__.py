# SPDX-License-Identifier: BSD-3-Clause
"""The channel layer of channelsd for Django Channels: `"BACKEND": "channelsd.layer.ChannelLayer"` (docs/layer.md)."""

from .errors import (
    ChannelLayerError,
    ChannelLayerRefused,
    ChannelLayerTimeout,
    ChannelLayerUnavailable,
    ChannelLayerUnsupported,
)
from .process import attach_worker, detach_worker

__all__ = [
    "ChannelLayer",
    "ChannelLayerError",
    "ChannelLayerRefused",
    "ChannelLayerTimeout",
    "ChannelLayerUnavailable",
    "ChannelLayerUnsupported",
    "attach_worker",
    "detach_worker",
]


def __getattr__(name):
    # A worker attaches its connection before it knows whether the application uses Channels at all.
    if name == "ChannelLayer":
        from .layer import ChannelLayer

        return ChannelLayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
