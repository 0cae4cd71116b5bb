# SPDX-License-Identifier: BSD-3-Clause
"""SyncConsumer: what it sends, without a task and a wait in its thread for each message.

Stock's base_send is async_to_sync(send): the thread makes an executor, has a task made on the loop, and sleeps until that
has run. A websocket.send that need not wait for its client is a record in a buffer, so it is handed to the loop instead.
What async_to_sync() promises is kept: the loop runs it before whatever the thread hands over later, and nothing that
would raise or wait goes this way.
"""

import asyncio
import types

from ..protocol import PAYLOAD_MAX, WINDOW_BYTES
from ..websocket import ACCEPTED, WebSocket


class ThreadSend:
    """The base_send of a synchronous consumer. `stock`: the AsyncToSync of `send`, for all else."""

    def __init__(self, socket, stock, local):
        self.socket = socket
        self.stock = stock
        self.awaitable = stock.awaitable
        self._local = local  # where asgiref has the loop of a thread
        self._box = []  # (content, size) handed over by the thread
        self._is_called = False  # _empty() will run
        # Bytes handed over and taken so far, each written by one side only.
        self._given = 0
        self._taken = 0

    def __call__(self, message):
        if self._fits(message) and self._hand_over(message):
            return None
        return self.stock(message)

    def _fits(self, message):
        """Whether sending would neither wait nor raise, and this is a thread that the loop waits for."""
        socket = self.socket
        return (
            message.__class__ is dict
            and message.get("type") == "websocket.send"
            and socket.state == ACCEPTED
            and not socket.pending
            and socket.unsent + self._given - self._taken < WINDOW_BYTES
            and getattr(self._local, "main_event_loop", None) is socket.link.loop
            and asyncio._get_running_loop() is None
        )

    def _hand_over(self, message):
        text, data = message.get("text"), message.get("bytes")
        if text.__class__ is str and data is None and text.isascii():
            content = text
        elif data.__class__ is bytes and text is None:
            content = data
        else:
            return False
        size = len(content)
        if not 0 < size <= PAYLOAD_MAX:
            return False
        item = (content, size)
        self._box.append(item)
        if not self._is_called:
            self._is_called = True
            try:
                self.socket.link.loop.call_soon_threadsafe(self._empty)
            except RuntimeError:
                # The loop is closed; async_to_sync() has an answer to that.
                self._box.remove(item)
                return False
        self._given += size
        return True

    def _empty(self):
        """On the loop: sends what was handed over."""
        self._is_called = False
        box = self._box
        while box:
            content, size = box.pop(0)
            self._taken += size
            self.socket.emit(content, size)


def _socket_behind(send, is_session_send):
    """The WebSocket whose send() this is, perhaps behind Channels' session middleware; else None."""
    while type(send) is types.MethodType:
        if send.__func__ is WebSocket.send:
            return send.__self__
        if not is_session_send(send):
            return None
        send = send.__self__.real_send
    return None


def _make_is_session_send(report, stock):
    """A function that tells InstanceSessionWrapper.send, which passes a websocket.send on as it is."""
    sessions = stock.module("channels.sessions")
    wrapper = sessions.InstanceSessionWrapper
    if not stock.has_methods(report, wrapper, ("send",)):
        return lambda send: False
    function = wrapper.send

    def is_session_send(send):
        # Its lists of types say on which messages it does more; a subclass may have others.
        return (
            send.__func__ is function
            and type(send.__self__) is wrapper
            and wrapper.save_message_types == ["http.response.start"]
        )

    return is_session_send


def install_sync(report, stock):
    """Replaces async_to_sync as AsyncConsumer.__call__() knows it, which uses it for base_send only."""
    consumer = stock.module("channels.consumer")
    sync = stock.module("asgiref.sync")
    if not stock.knows(report, "channels.consumer"):
        return
    stock_async_to_sync = consumer.async_to_sync
    if stock_async_to_sync is not sync.async_to_sync:
        report.left_alone("channels.consumer.async_to_sync", "somebody has patched it")
        return
    is_session_send = _make_is_session_send(report, stock)
    local = sync.SyncToAsync.threadlocal

    def async_to_sync(awaitable, *args, **kwargs):
        made = stock_async_to_sync(awaitable, *args, **kwargs)
        socket = None if args or kwargs else _socket_behind(awaitable, is_session_send)
        return made if socket is None else ThreadSend(socket, made, local)

    consumer.async_to_sync = async_to_sync
    report.replaced("channels.consumer.async_to_sync")
