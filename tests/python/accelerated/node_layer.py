# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer.ChannelLayer whose node is this process: what it is told takes effect at once, and deliveries come when
a scenario says so, in the same turn of the loop."""

import msgpack

from channelsd.layer import ChannelLayer
from channelsd.layer.local import Channels
from channelsd.layer.protocol import ToNode
from channelsd.layer.settings import Settings

BASE = "specific.0123456789abcdef0123456789abcdef!0123456789abd"


class _Connection:
    """A node that agrees with everything. Notes the groups that this process is in."""

    def __init__(self, loop):
        self.loop = loop
        self.bases = {}
        self.groups = set()
        self.told = []

    def request(self, change, channels, op, group):
        (self.groups.add if op == ToNode.JOIN else self.groups.discard)(group)
        change.set_result((0, None))

    async def call(self, channels, op, *items):
        return 0, None

    def put(self, record):
        self.told.append(record)


class NodeLayer(ChannelLayer):
    """As a worker has it while the connection to its node is up."""

    def __init__(self, loop, capacity=100):
        super().__init__(capacity=capacity)
        self.connection = _Connection(loop)
        self.own = Channels(self.connection, 0, {})
        self.own.opened(BASE, Settings(["memory", "msgpack", "asgi", 60, 86400, capacity, [], 2000]))

    def _here(self, loop):
        return self.own

    _home = _here

    def _owner(self, name):
        return self.own if name.startswith(BASE) else None

    # The node's side

    def group(self, group, *messages):
        """DELIVER of messages to a group."""
        for message in messages:
            self.own.deliver(None, [group], [], msgpack.packb(message))

    def one(self, channel, message):
        self.own.deliver(None, [], [channel], msgpack.packb(message))

    def left(self):
        """What is left of channels and groups."""
        return sorted(self.own.queues), sorted(self.own.groups), sorted(self.connection.groups)

    def end(self):
        """Its timers."""
        self.own.park()
