# SPDX-License-Identifier: BSD-3-Clause
"""The base of the five consumers.

A connection is refused before it is accepted unless it has an identity and `allowed()` agrees. Whatever the
client sends after that is answered by the subclass or by an error message; it never ends the connection.
Groups and background tasks belong to the connection and go with it, however it ends.
"""

import asyncio
import json
import logging

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from realtime.messages import BadInput, parse_object

logger = logging.getLogger(__name__)


class RefuseConsumer(AsyncWebsocketConsumer):
    """Refuses every connection: the route of last resort."""

    async def connect(self):
        """Close before accepting, which clients see as HTTP 403."""
        await self.close()


class JsonConsumer(AsyncWebsocketConsumer):
    """JSON objects in and out, for people who are known."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.user = None
        self.joined = []
        self.tasks = set()

    async def __call__(self, scope, receive, send):
        """Serve one connection, and clean up even when it ends by an exception or a cancellation."""
        try:
            return await super().__call__(scope, receive, send)
        finally:
            await self.release()

    # For subclasses

    async def allowed(self):
        """Say whether self.user may connect here."""
        return True

    def group_names(self):
        """Name the groups to join at connect."""
        return []

    async def handle(self, content):
        """Act on one JSON object of the client; raise BadInput for one that makes no sense."""
        raise BadInput("Nothing is expected from clients here.")

    # For subclasses to call

    async def send_json(self, content):
        """Send one JSON object to the client."""
        await self.send(text_data=json.dumps(content))

    async def in_database(self, function, *args):
        """Run synchronous database code in a thread."""
        return await database_sync_to_async(function)(*args)

    async def join(self, group):
        """Join a group until the connection ends."""
        if group not in self.joined:
            self.joined.append(group)
            await self.channel_layer.group_add(group, self.channel_name)

    def spawn(self, coroutine):
        """Run a task that is cancelled when the connection ends."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    # Channels calls these

    async def connect(self):
        """Accept a connection that has an identity and permission; refuse any other with a 403."""
        self.user = self.scope["user"]
        if not self.user.is_authenticated or not await self.allowed():
            await self.close()
            return
        for group in self.group_names():
            await self.join(group)
        await self.accept()

    async def disconnect(self, code):
        """Leave no groups and no tasks behind."""
        await self.release()

    async def receive(self, text_data=None, bytes_data=None):
        """Decode what the client sent and hand it to `handle`."""
        try:
            if text_data is None:
                raise BadInput("JSON text is expected, not binary data.")
            await self.handle(parse_object(text_data, settings.MAX_MESSAGE_CHARS))
        except BadInput as error:
            await self.send_json({"type": "error", "message": str(error)})
        except Exception:
            logger.exception("%s could not answer a message", type(self).__name__)
            await self.send_json({"type": "error", "message": "The server could not do that."})

    # Private

    async def release(self):
        """Cancel the tasks and leave the groups; calling it again does nothing."""
        tasks, self.tasks = self.tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        groups, self.joined = self.joined, []
        for group in groups:
            await self.channel_layer.group_discard(group, self.channel_name)

    def _on_task_done(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s lost a task", type(self).__name__, exc_info=task.exception())
