# SPDX-License-Identifier: BSD-3-Clause
"""Which channel layer to use, read from the environment.

Why a module of its own: the two traps below deserve a test, and settings cannot be tested.
"""


def channel_layers(environ):
    """Return CHANNEL_LAYERS: Redis when the environment names one, else the memory of this process.

    REDIS_URL wins over REDIS_HOST and REDIS_PORT.
    """
    url = environ.get("REDIS_URL")
    if not url and (environ.get("REDIS_HOST") or environ.get("REDIS_PORT")):
        host = environ.get("REDIS_HOST") or "localhost"
        url = f"redis://{host}:{environ.get('REDIS_PORT') or 6379}/0"
    if not url:
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    host = {
        "address": url,
        # redis-py 8 gives up on a reply after 5 seconds, exactly as long as channels_redis waits for
        # the next message: without this line every idle consumer dies with a TimeoutError.
        "socket_timeout": None,
        # redis-py 8 also allows only 100 connections, and raises for the 101st task that wants one.
        "max_connections": 10_000,
    }
    return {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [host], "capacity": 1500, "expiry": 10},
        }
    }
