# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer.ChannelLayer: see docs/layer.md."""

import asyncio
import contextlib
import threading
import weakref

from channels.layers import BaseChannelLayer

from .bodies import FarGetter, expect, give_up
from .connection import Connection
from .errors import ChannelLayerUnavailable, error_of
from .paths import Endpoint
from .process import process
from .protocol import REST_CHARS, ToNode
from .settings import TIMEOUT, config_text

# Both are the prefix of channels that need no mailbox; channels_redis.pubsub writes the dot.
_OWN_PREFIXES = ("specific", "specific.")


def _end(connections):
    """A layer object is gone."""
    for connection in list(connections):
        loop = connection.loop
        if loop is None or loop.is_closed():
            connection.close()
        else:
            try:
                loop.call_soon_threadsafe(connection.close)
            except RuntimeError:  # closed this very moment
                connection.close()


def _watch_close(loop):
    """Before a loop closes, the connections on it leave it."""
    if "_channelsd_watched" in getattr(loop, "__dict__", {"_channelsd_watched": True}):
        return
    close = loop.close

    def closing():
        try:
            for layer in list(process.layers):
                layer._loop_closes(loop)
        finally:
            close()

    loop._channelsd_watched = True
    loop.close = closing


def _tell(loop, call, *arguments):
    """Calls it in that loop, unless it has closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def _is_text(name):
    """Whether it can be sent at all: what a client wrote as JSON may have halves of characters."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class ChannelLayer(BaseChannelLayer):
    """A channel layer of Channels that is carried by channelsd: see docs/layer.md for its settings."""

    extensions = ["groups", "flush"]  # noqa: RUF012 - as the layers of others have it

    def __init__(
        self,
        hosts=None,
        prefix=None,
        expiry=None,
        group_expiry=None,
        capacity=None,
        channel_capacity=None,
        symmetric_encryption_keys=None,
        random_prefix_length=None,
        serializer_format=None,
        *,
        backend=None,
        timeout=None,
        socket=None,
        on_disconnect=None,
        on_reconnect=None,
    ):
        super().__init__(expiry=60 if expiry is None else expiry, capacity=100 if capacity is None else capacity)
        self.group_expiry = 86400 if group_expiry is None else group_expiry
        self.prefix = "asgi" if prefix is None else prefix
        assert isinstance(self.prefix, str), "Prefix must be unicode"
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise ValueError(f"CHANNEL_LAYERS: timeout: {timeout!r}: a number of seconds above 0 is wanted")
        self.timeout = TIMEOUT if timeout is None else timeout
        self.config = config_text(
            {
                "backend": backend,
                "hosts": hosts,
                "prefix": prefix,
                "expiry": expiry,
                "group_expiry": group_expiry,
                "capacity": capacity,
                "channel_capacity": channel_capacity,
                "symmetric_encryption_keys": symmetric_encryption_keys,
                "random_prefix_length": random_prefix_length,
                "serializer_format": serializer_format,
                "timeout": timeout,
                "on_disconnect": on_disconnect,
                "on_reconnect": on_reconnect,
            }
        )
        self.endpoint = Endpoint(socket, self.timeout)
        self._lock = threading.RLock()
        self._connections = []  # of this process that is no worker
        self._last = (None, None)  # (loop, Channels) of the last call
        self._is_pubsub = backend is not None and "pubsub" in str(backend)
        # Channels up to 4.2.1 have no require_…().
        required = "require_" if hasattr(BaseChannelLayer, "require_valid_channel_name") else ""
        self._require_channel = getattr(self, f"{required}valid_channel_name")
        self._check_group = getattr(self, f"{required}valid_group_name")
        process.layers.add(self)
        weakref.finalize(self, _end, self._connections).atexit = False

    def __repr__(self):
        return f"<{type(self).__name__} {self.endpoint.key or 'of this host'}>"

    @property
    def backend(self):
        """What the node says that it is: "memory", "redis" or "pubsub"; None before this loop or the last one has used it."""
        channels = self._last[1]
        settings = channels.settings if channels is not None else None
        return settings.backend if settings is not None else None

    def _check_channel(self, name):
        try:
            return self._require_channel(name)
        except TypeError:
            is_pubsub = self._is_pubsub or self.backend == "pubsub"
            if not is_pubsub or not isinstance(name, str) or not _is_text(name):
                raise
        # It may begin with a prefix that is no part of a name elsewhere: the node checks what stands behind.
        return True

    # Who carries a call

    def _here(self, loop):
        """The Channels of this loop, or None if it has none yet."""
        last, channels = self._last
        if last is loop:
            return channels
        process.look()
        worker = process.worker
        if worker is not None:
            if not worker.is_here(loop):
                return None
            channels = worker.channels(self.config)
        else:
            for connection in list(self._connections):
                if connection.loop is loop:
                    channels = connection.channels[0]
                    break
            else:
                return None
        self._last = (loop, channels)
        return channels

    def _home(self, loop):
        """The same, and makes it; in a worker only for the worker's loop."""
        channels = self._here(loop)
        if channels is not None:
            return channels
        self._purge()
        with self._lock:
            parked = [connection for connection in self._connections if connection.loop is None]
            if parked:
                connection = parked[0]
            else:
                connection = Connection(None, self.endpoint, timeout=self.timeout)
                connection.add_layer(self.config)
                self._connections.append(connection)
            self._adopt(connection, loop)
        channels = connection.channels[0]
        self._last = (loop, channels)
        return channels

    def _adopt(self, connection, loop):
        connection.adopt(loop)
        _watch_close(loop)

    def _purge(self):
        """Connections of loops that were closed in a way that could not be watched."""
        with self._lock:
            for connection in list(self._connections):
                if connection.loop is not None and connection.loop.is_closed():
                    self._park(connection)
                elif connection.is_closed:
                    self._connections.remove(connection)

    def _park(self, connection):
        connection.park()
        if connection.is_closed:
            self._connections.remove(connection)

    def _loop_closes(self, loop):
        with self._lock:
            if self._last[0] is loop:
                self._last = (None, None)
            for connection in list(self._connections):
                if connection.loop is loop:
                    self._park(connection)

    def forked(self):
        self._lock = threading.RLock()
        for connection in self._connections:
            connection.forked()
        self._connections.clear()
        self._last = (None, None)
        self.endpoint.is_down = False

    def _owner(self, name):
        """The Channels of this process to which a channel belongs, or None."""
        base = name[:-REST_CHARS]
        worker = process.worker
        if worker is not None:
            channels = worker.connection.bases.get(base)
            return channels if channels is not None and channels.config == self.config else None
        for connection in tuple(self._connections):  # other threads change it
            channels = connection.bases.get(base)
            if channels is not None:
                return channels
        return None

    def _local(self, loop, name):
        """The same, if it is, or now becomes, this loop's."""
        if self._last[0] is not loop:
            process.look()
        channels = self._owner(name)
        if channels is None or channels.connection.loop is loop:
            return channels
        self._purge()
        with self._lock:
            connection = channels.connection
            if connection.loop is None and not connection.is_closed and process.worker is None:
                self._adopt(connection, loop)
        return channels if connection.loop is loop else None

    def channels(self, name):
        """The Channels of the running loop that own the channel `name`, or None."""
        channels = self._owner(name)
        return channels if channels is not None and channels.connection.loop is asyncio.get_running_loop() else None

    def _is_away(self, loop):
        """Whether this is another loop of a worker."""
        worker = process.worker
        return worker is not None and loop is not worker.loop

    async def _remote(self, loop, op, *items):
        """A request to the node that concerns no channel of this loop."""
        channels = self._here(loop)
        lease = process.pool.lease(loop) if channels is None and process.worker is None else 0
        if lease:
            try:
                code, value = await process.pool.call(loop, self, lease, op, *items)
            finally:
                process.pool.end_lease(loop)
        else:
            if channels is None:
                channels = self._home(loop)
            code, value = await channels.connection.call(channels, op, *items)
        if code:
            raise error_of(code, value, items[0] if items else None)

    async def _away(self, op, *items):
        """The same, from another loop of a worker."""
        worker = process.worker
        answer = worker.call_blocking(self.config, op, items, self.timeout) if not worker.has_begun else None
        if answer is None:
            await worker.hop(self._remote(worker.loop, op, *items), self.timeout)
        elif answer[0]:
            raise error_of(*answer, items[0] if items else None)

    # The API of channel layers

    async def send(self, channel, message):
        """Sends a message to a channel. Raises ChannelFull."""
        assert isinstance(message, dict), "message is not a dict"
        assert self._check_channel(channel), "Channel name not valid"
        assert "__asgi_channel__" not in message
        loop = asyncio.get_running_loop()
        if self._is_away(loop):
            if process.worker.has_begun:
                return await process.worker.hop(self.send(channel, message), self.timeout)
            return await self._away(ToNode.SEND, channel, message)
        channels = self._local(loop, channel)
        if channels is None:
            return await self._remote(loop, ToNode.SEND, channel, message)
        if not channels.offer(channel, channels.settings.pack(message)):
            raise error_of(1, None, channel)

    async def group_send(self, group, message):
        """Sends a message to all channels of a group."""
        assert isinstance(message, dict), "message is not a dict"
        assert self._check_group(group), "Group name not valid"
        if "__asgi_channel__" in message:
            # Nobody would see it: channels_redis puts its own in its place.
            message = {key: value for key, value in message.items() if key != "__asgi_channel__"}
        loop = asyncio.get_running_loop()
        channels = self._here(loop)
        if channels is None:
            if self._is_away(loop):
                return await self._away(ToNode.GROUP_SEND, group, message)
            return await self._remote(loop, ToNode.GROUP_SEND, group, message)
        code, value = await channels.connection.call(channels, ToNode.GROUP_SEND, group, message)
        if code:
            raise error_of(code, value)

    async def group_add(self, group, channel):
        """Adds a channel to a group."""
        assert self._check_group(group), "Group name not valid"
        assert self._check_channel(channel), "Channel name not valid"
        loop = asyncio.get_running_loop()
        if self._is_away(loop):
            if process.worker.has_begun:
                return await process.worker.hop(self.group_add(group, channel), self.timeout)
            return await self._away(ToNode.GROUP_ADD, group, channel)
        channels = self._local(loop, channel)
        if channels is not None and channel in channels.queues:
            return await channels.join(group, channel)
        await self._remote(loop, ToNode.GROUP_ADD, group, channel)

    async def group_discard(self, group, channel):
        """Takes a channel out of a group. One that is not in it is no error."""
        assert self._check_group(group), "Group name not valid"
        assert self._check_channel(channel), "Channel name not valid"
        loop = asyncio.get_running_loop()
        if self._is_away(loop):
            if process.worker.has_begun:
                return await process.worker.hop(self.group_discard(group, channel), self.timeout)
            return await self._away(ToNode.GROUP_DISCARD, group, channel)
        channels = self._local(loop, channel)
        if channels is not None:
            return await channels.leave(group, channel)
        await self._remote(loop, ToNode.GROUP_DISCARD, group, channel)

    async def new_channel(self, prefix="specific"):
        """Returns the name of a new channel that only this process can receive from."""
        loop = asyncio.get_running_loop()
        if self._is_away(loop):
            self._check_begun()
            return await process.worker.hop(self.new_channel(prefix), self.timeout)
        channels = self._home(loop)
        if not channels.bases:
            await channels.connection.ready(channels)
        if prefix in _OWN_PREFIXES:
            base = channels.bases[0]
        else:
            # As long as the name will be, whatever the node puts behind the prefix.
            assert self._check_channel(f"{prefix}.{'0' * 32}!{'0' * 32}"), "Channel name not valid"
            base = await channels.mailbox(prefix)
        return channels.new(base)

    async def receive(self, channel):
        """Returns the first message that arrives on the channel. If more than one waits, each message is for one."""
        loop = asyncio.get_running_loop()
        last, channels = self._last
        if last is not loop or channel.__class__ is not str or channel not in channels.queues:
            assert self._check_channel(channel)
            channels = None if self._is_away(loop) else self._local(loop, channel)
            if channels is None:
                return await self._receive_other(loop, channel)
        # In one piece, as deliver().
        queue = channels.queues.get(channel)
        if queue is None:
            queue = channels.make_queue(channel)
        bodies = queue._queue
        try:
            while True:
                while not bodies:
                    getter = loop.create_future()
                    expect(queue, getter)
                    try:
                        await getter
                    except BaseException:
                        give_up(queue, getter)
                        raise
                try:
                    body = bodies.pop(0)
                except IndexError:
                    continue  # taken from afar
                try:
                    return channels.unpack(body)
                except ValueError as error:
                    channels.undecodable(error)
        finally:
            queue.was_read = True

    async def _receive_other(self, loop, channel):
        """From a channel that is not this loop's: a normal one, or another loop's."""
        worker = process.worker if self._is_away(loop) else None
        if worker is not None:
            self._check_begun()
        if self._owner(channel) is not None:
            return await self._receive_afar(loop, channel)
        assert "!" not in channel, "Wrong client prefix"
        while True:
            if worker is not None:
                held = await worker.lent(self.receive_held, channel)
                _tell(worker.loop, held.taken)
            else:
                held = await self._home(loop).receive_held(channel)
                held.taken()
            try:
                return held.message
            except ValueError as error:
                _tell(held.channels.connection.loop, held.channels.undecodable, error)

    async def _receive_afar(self, loop, name):
        """From a channel whose connection is another loop's: that loop reads what comes, and this one takes it. When that
        loop ends, the next round makes the connection this loop's."""
        while True:
            channels = self._local(loop, name)
            if channels is not None:
                return await self.receive(name)
            far = FarGetter(loop, name)
            with self._lock:
                channels = self._owner(name)
                if channels is None or channels.connection.is_closed:
                    raise ChannelLayerUnavailable("the channel layer was closed")
                reader = channels.connection.loop
                if reader is None:
                    continue
                body = channels.take_afar(name)
                if body is None:
                    channels.afar.add(far)
            if body is not None:
                try:
                    return channels.unpack(body)
                except ValueError as error:
                    _tell(reader, channels.undecodable, error)
                    continue
            try:
                _tell(reader, channels.expect_afar, far)
                # One that stands still may be about to close, or may have been left behind.
                await asyncio.wait([far.future], timeout=None if reader.is_running() else self.timeout)
            finally:
                channels.afar.discard(far)
                _tell(reader, channels.leave_afar, far)
            if not far.done() and not reader.is_running():
                raise RuntimeError(
                    f"the channel {name!r} was made in another event loop of this process, which neither runs nor is closed"
                )

    async def receive_held(self, channel):
        """The next message of a normal channel, which stays the node's until its taken() or put_back() is called; `message`
        raises ValueError for what does not decode. In the event loop of a worker, or any of another process."""
        assert self._check_channel(channel) and "!" not in channel, "a normal channel is wanted"
        loop = asyncio.get_running_loop()
        if self._is_away(loop):
            raise RuntimeError("receive_held() is for the worker's own event loop")
        return await self._home(loop).receive_held(channel)

    async def flush(self):
        """Forgets all groups and messages of the layer, everywhere."""
        loop = asyncio.get_running_loop()
        if self._is_away(loop):
            return await self._away(ToNode.FLUSH)
        await self._remote(loop, ToNode.FLUSH)

    async def close(self):
        """Closes what this object has opened, in all loops, and forgets its channels; a later call opens it again. In a
        worker there is nothing to close."""
        if process.worker is not None:
            return
        process.pool.close(self)
        loop = asyncio.get_running_loop()
        self._last = (None, None)
        self._purge()
        with self._lock:
            connections = list(self._connections)
            self._connections.clear()
        for connection in connections:
            if connection.loop is None or connection.loop is loop:
                connection.close()
            else:
                _end([connection])

    async def close_pools(self):
        """Closes what is idle. Channels stay, and what is under way goes on, here and in other loops: who calls this as
        channels_redis has it does so behind each group_send(), wherever that is."""
        if process.worker is not None:
            return
        process.pool.close(self)
        loop = asyncio.get_running_loop()
        with self._lock:
            idle = [one for one in self._connections if one.loop is loop and one.is_idle()]
            for connection in idle:
                self._connections.remove(connection)
        if idle:
            self._last = (None, None)
        for connection in idle:
            connection.close()

    async def wait_received(self):
        """Nothing is ever received behind the back of receive()."""

    def _check_begun(self):
        if not process.worker.has_begun:
            raise ChannelLayerUnavailable("channels can be made and read once the worker serves, not during its import")
