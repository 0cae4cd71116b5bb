# SPDX-License-Identifier: BSD-3-Clause
"""The connection pools of RedisChannelLayer with redis-py 8, whose defaults kill consumers.

- socket_timeout became 5 s, which is also how long receive() waits for a message at a time (brpop_timeout): a consumer to
  which nothing is sent for 5 s ends with redis.exceptions.TimeoutError.
- max_connections became 100: the 101st command at once raises MaxConnectionsError.

Both were unlimited before, and are again in the pools of a layer whose hosts do not name them; a longer timeout would end
consumers still when Redis stalls for so long. What a host names stays.
The pub/sub layer needs nothing: it waits with a timeout of its own, and publishes one message at a time.
"""

import functools
import importlib
import inspect
import logging
from urllib.parse import parse_qs, urlparse

logger = logging.getLogger("channelsd.accelerate")

UNLIMITED = 2**31  # connections, redis-py's own word for it before version 8

_said = set()


def _say_once(level, text, *arguments):
    """A layer makes a pool for each event loop and host, and each async_to_sync() has a loop of its own."""
    if (text, arguments) not in _said:
        _said.add((text, arguments))
        logger.log(level, text, *arguments)


def default_socket_timeout():
    """Seconds, or None, that redis-py waits for an answer if nobody says how long."""
    connection = importlib.import_module("redis.asyncio.connection")
    cls = getattr(connection, "AbstractConnection", connection.Connection)
    parameter = inspect.signature(cls.__init__).parameters.get("socket_timeout")
    return None if parameter is None else parameter.default


def default_max_connections():
    """Connections that a pool of redis-py has at most if nobody says how many."""
    return importlib.import_module("redis.asyncio").ConnectionPool().max_connections


def _is_too_short(timeout, brpop_timeout):
    """Whether an answer that comes when brpop_timeout is over comes too late. 0: it may take for ever."""
    return timeout is not None and (not brpop_timeout or timeout <= brpop_timeout)


def _names(host, option):
    """Whether a host of a layer's settings names an option, in its dictionary or in its URL."""
    if host.get(option) is not None:
        return True
    address = host.get("address")
    return isinstance(address, str) and option in parse_qs(urlparse(address).query)


class Defaults:
    """What redis-py takes where nobody says anything, and how a pool gets rid of it."""

    def __init__(self):
        self.socket_timeout = default_socket_timeout()
        self.max_connections = default_max_connections()

    def cure(self, pool, limited, brpop_timeout):
        """Takes the limits that are defaults off a new pool.

        limited: whether the host names max_connections. brpop_timeout: seconds, of the layer.
        """
        options = pool.connection_kwargs
        if "socket_timeout" in options:
            timeout = options["socket_timeout"]
            if _is_too_short(timeout, brpop_timeout):
                _say_once(
                    logging.WARNING,
                    "CHANNEL_LAYERS: socket_timeout of a Redis host is %s s, not more than the %s s that a receive()"
                    " waits for a message: a consumer to which nothing is sent for that long ends with TimeoutError."
                    ' Set "socket_timeout": None, or more than %s.',
                    timeout,
                    brpop_timeout,
                    brpop_timeout,
                )
        elif _is_too_short(self.socket_timeout, brpop_timeout):
            options["socket_timeout"] = None
            if "orig_socket_timeout" in options:
                options["orig_socket_timeout"] = None  # what a connection returns to after maintenance of the server
            _say_once(
                logging.INFO,
                "RedisChannelLayer: redis-py's default socket_timeout of %s s, which ends idle consumers, is off",
                self.socket_timeout,
            )
        if not limited and pool.max_connections == self.max_connections < UNLIMITED:
            pool.max_connections = UNLIMITED
            _say_once(
                logging.INFO,
                "RedisChannelLayer: redis-py's default limit of %s connections, which lets commands fail, is off",
                self.max_connections,
            )


def warn_of_defaults(cls):
    """Says what to set for a layer of a version that is not known, if redis-py's defaults would end its consumers."""
    timeout = default_socket_timeout()
    if _is_too_short(timeout, cls.brpop_timeout):
        _say_once(
            logging.WARNING,
            "RedisChannelLayer: redis-py's default socket_timeout of %s s ends each consumer to which nothing is sent for"
            ' that long. Write the hosts in CHANNEL_LAYERS as {"address": "redis://...", "socket_timeout": None}.',
            timeout,
        )


def install_pool(core):
    """Replaces create_pool of `core`, a channels_redis.core that is known."""
    cls = core.RedisChannelLayer
    stock_create_pool = cls.create_pool
    defaults = Defaults()

    @functools.wraps(stock_create_pool)
    def create_pool(self, index):
        # Before the call: channels_redis 4.0 takes things out of its hosts as it makes a pool.
        limited = _names(self.hosts[index], "max_connections")
        pool = stock_create_pool(self, index)
        defaults.cure(pool, limited, self.brpop_timeout)
        return pool

    cls.create_pool = create_pool
