# SPDX-License-Identifier: BSD-3-Clause
"""@channelsd.fanout: a handler of group messages that is the same for every client; docs/fanout.md.

    class Scores(AsyncJsonWebsocketConsumer):
        @channelsd.fanout
        def score_changed(event):
            return {"home": event["home"], "away": event["away"]}

It takes the event and no self, and returns what to send. Here is what it does by itself, under any server: it runs for
each consumer that gets the event, and the result goes to send(). channelsd.accelerate.node runs it once for all of them.
"""

import asyncio
import functools
import json

# Names under which handlers stand in classes: a message of any other type needs no look.
names = set()


class SharedEvent(dict):
    """An event whose handler has run for all consumers of a class: `outcome` is an Outcome. To anybody else a dict."""

    __slots__ = ("outcome",)


class Outcome:
    """What a handler returned, encoded for one class: `contents`, a list of str and bytes, once `task` has ended.

    contents: None while the task runs, or when it has failed. task: None if the handler did not have to wait.
    """

    __slots__ = ("contents", "task")

    def __init__(self, contents=None, task=None):
        self.contents = contents
        self.task = task

    async def wait(self):
        """Returns the contents; None if there are none to share. Whoever waits may be cancelled without the others."""
        if self.task is not None:
            await asyncio.wait((self.task,))
        return self.contents


def encoded(item, encode):
    """What is sent for one item that a handler returned; `encode` makes text of a dict."""
    if item.__class__ is str or item.__class__ is bytes:
        return item
    if isinstance(item, dict):
        return encode(item)
    if isinstance(item, str):
        return str(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    raise TypeError(
        f"a handler marked @channelsd.fanout returned {type(item).__name__}: "
        "return str, bytes, dict, None, or a list or tuple of them"
    )


def items_of(result):
    """The messages in what a handler returned."""
    if result is None:
        return ()
    if isinstance(result, (list, tuple)):
        return [item for item in result if item is not None]
    return (result,)


class Fanout:
    """The marked function, as an attribute of a consumer class."""

    def __init__(self, function):
        self.function = function
        functools.update_wrapper(self, function)

    def __set_name__(self, owner, name):
        names.add(name)

    def __get__(self, consumer, owner=None):
        if consumer is None:
            return self
        # Channels calls a synchronous consumer's handlers in a thread and awaits those of the others.
        return functools.partial(self._send_sync if getattr(consumer, "_sync", False) else self._send, consumer)

    def __call__(self, event):
        """The function itself, for tests: Scores.score_changed({...})."""
        return self.function(event)

    async def _send(self, consumer, event):
        """Handles one event for one consumer."""
        contents = await event.outcome.wait() if event.__class__ is SharedEvent else None
        if contents is None:
            result = self.function(event)
            if hasattr(result, "__await__"):
                result = await result
            encode = getattr(consumer, "encode_json", json.dumps)
            contents = []
            for item in items_of(result):
                content = encoded(item, encode)
                contents.append(await content if hasattr(content, "__await__") else content)
        for content in contents:
            if content.__class__ is str:
                await consumer.send(text_data=content)
            else:
                await consumer.send(bytes_data=content)

    def _send_sync(self, consumer, event):
        """The same in a synchronous consumer."""
        result = self.function(event)
        if hasattr(result, "__await__"):
            from asgiref.sync import async_to_sync

            result = async_to_sync(_awaited)(result)
        encode = getattr(consumer, "encode_json", json.dumps)
        for item in items_of(result):
            content = encoded(item, encode)
            if content.__class__ is str:
                consumer.send(text_data=content)
            else:
                consumer.send(bytes_data=content)


async def _awaited(awaitable):
    return await awaitable


def fanout(function):
    """Marks a handler of a WebSocket consumer that needs no consumer: `function` takes the event and returns what every
    client gets: str, bytes, a dict (as JSON), None for nothing, or a list or tuple of those for several messages.

    It may be a coroutine function, and may stand under staticmethod. Raises TypeError for what is no function.
    """
    function = getattr(function, "__func__", function) if isinstance(function, staticmethod) else function
    if not callable(function) or isinstance(function, (classmethod, type)):
        raise TypeError(f"@channelsd.fanout marks a function that takes the event, not {function!r}")
    return Fanout(function)
