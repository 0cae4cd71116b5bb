# SPDX-License-Identifier: BSD-3-Clause
"""--adopt-layer: layers of channels_redis in a project's CHANNEL_LAYERS are served by channelsd.layer, with the same CONFIG.

The settings stay what they are; what channels.layers.channel_layers makes of them is another class. It is done before the
application is imported, which may make its layers then.
"""

import functools
import importlib
import importlib.util
import logging

logger = logging.getLogger("channelsd.layer")

# BACKEND as the settings name it -> `backend` of channelsd.layer.ChannelLayer. A subclass has another name and is left.
BACKENDS = {
    "channels_redis.core.RedisChannelLayer": "redis",
    "channels_redis.pubsub.RedisPubSubChannelLayer": "pubsub",
}
HOSTS = [{"address": "redis://localhost:6379"}]  # channels_redis' own, where the settings name none

_COMMON = {"hosts", "prefix", "symmetric_encryption_keys", "serializer_format"}
_KEYS = {
    "redis": _COMMON | {"expiry", "group_expiry", "capacity", "channel_capacity", "random_prefix_length"},
    "pubsub": _COMMON | {"on_disconnect", "on_reconnect"},
}


def _adopt(layer_class, kind, config):
    """A layer of ours with this CONFIG. Raises ValueError for what it cannot carry."""
    # channels_redis.pubsub takes any key and heeds those that are listed.
    unknown = sorted(set(config) - _KEYS[kind])
    if unknown:
        raise ValueError(f"CHANNEL_LAYERS: {', '.join(unknown)}: not a setting that channelsd knows for {kind}")
    return layer_class(**{**config, "backend": kind, "hosts": config.get("hosts") or HOSTS})


def install():
    """Adopts what the manager of Channels makes from now on. Does nothing where Channels is not installed."""
    try:
        if importlib.util.find_spec("channels.layers") is None:
            return
    except ModuleNotFoundError:
        return
    manager = importlib.import_module("channels.layers").ChannelLayerManager
    stock = manager._make_backend

    @functools.wraps(stock)
    def _make_backend(self, name, config):
        entry = self.configs[name]
        kind = BACKENDS.get(entry.get("BACKEND"))
        if kind is None or "ROUTING" in entry:
            return stock(self, name, config)
        layer_class = importlib.import_module("channelsd.layer").ChannelLayer
        try:
            layer = _adopt(layer_class, kind, config)
        except ValueError as error:
            logger.warning("CHANNEL_LAYERS[%r] was not adopted and stays with %s: %s", name, entry["BACKEND"], error)
            return stock(self, name, config)
        logger.info("CHANNEL_LAYERS[%r]: %s is served by channelsd", name, entry["BACKEND"])
        return layer

    manager._make_backend = _make_backend
