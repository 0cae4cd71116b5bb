# SPDX-License-Identifier: BSD-3-Clause
"""RedisChannelLayer.group_send in two commands to Redis, where stock has four.

The names of a group come packed, as one string: redis-py reads an answer of a thousand strings so slowly that it was a
fifth of what a message to a thousand consumers cost. What is written to Redis is the same, byte for byte.

A layer of several hosts keeps stock's way: there it trims on other hosts than it writes to.
"""

import functools
import time

from msgpack import unpackb

# KEYS: the group. ARGV: joined at this time or before, a member is over. Returns its members, packed; nothing for none.
_MEMBERS = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ARGV[1])
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
if #members == 0 then
    return false
end
return cmsgpack.pack(members)
"""

# KEYS: queues. ARGV: a message for each, a capacity for each, time of sending, time up to which messages have expired,
# seconds that a queue lives. Returns how many queues were full.
_PUT = """
local count = #KEYS
local now, expired, expiry = ARGV[2 * count + 1], ARGV[2 * count + 2], ARGV[2 * count + 3]
for i = 1, count do
    redis.call('ZREMRANGEBYSCORE', KEYS[i], 0, expired)
end
local full = 0
for i = 1, count do
    if redis.call('ZCARD', KEYS[i]) < tonumber(ARGV[count + i]) then
        redis.call('ZADD', KEYS[i], now, ARGV[i])
        redis.call('EXPIRE', KEYS[i], expiry)
    else
        full = full + 1
    end
end
return full
"""


def make_group_send(core):
    """The replacement of RedisChannelLayer.group_send of `core`, a channels_redis.core that is known."""
    from redis.exceptions import ResponseError

    cls = core.RedisChannelLayer
    stock_group_send = cls.group_send
    prefix = "require_" if "require_valid_group_name" in stock_group_send.__code__.co_names else ""
    check_group = f"{prefix}valid_group_name"

    @functools.wraps(stock_group_send)
    async def group_send(self, group, message):
        if self.ring_size != 1 or "_channelsd_plain" in self.__dict__:
            return await stock_group_send(self, group, message)
        assert getattr(self, check_group)(group), "Group name not valid"
        connection = self.connection(self.consistent_hash(group))
        try:
            packed = await connection.eval(_MEMBERS, 1, self._group_key(group), int(time.time()) - self.group_expiry)
        except ResponseError as error:
            # Stock finds its own words for what is wrong with the group, or nothing wrong.
            await stock_group_send(self, group, message)
            if "cmsgpack" in str(error):
                self._channelsd_plain = True  # a server without that library
            return
        if packed is None:
            return
        names = unpackb(packed, raw=False)
        keys_of, message_of, capacity_of = self._map_channel_keys_to_connection(names, message)
        for index, keys in keys_of.items():
            now = time.time()
            full = await self.connection(index).eval(
                _PUT,
                len(keys),
                *keys,
                *[message_of[key] for key in keys],
                *[capacity_of[key] for key in keys],
                now,
                int(now) - int(self.expiry),
                self.expiry,
            )
            if full > 0:
                core.logger.info("%s of %s channels over capacity in group %s", full, len(names), group)

    return group_send
