# SPDX-License-Identifier: BSD-3-Clause
"""Consumers of channel names. Each message names what its handler does, and every handler tells the channel "done"."""

import asyncio
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobs.settings")
django.setup()

from channels.consumer import AsyncConsumer, SyncConsumer  # noqa: E402
from channels.exceptions import StopConsumer  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter  # noqa: E402

urlpatterns = []


class Jobs(AsyncConsumer):
    async def tell(self, message):
        answer = {"type": "done", "n": message["n"], "pid": os.getpid(), "channel": self.scope["channel"]}
        await self.channel_layer.send("done", answer)

    async def job_run(self, message):
        await self.tell(message)

    async def job_begin(self, message):
        """Says that it is at work, and goes on until the worker ends."""
        await self.tell(message)
        await asyncio.Event().wait()

    async def job_slow(self, message):
        await self.tell(message)
        await asyncio.sleep(0.3)
        await self.tell({"n": -message["n"]})

    async def job_fail(self, message):
        raise RuntimeError("this job fails")

    async def job_exit(self, message):
        raise SystemExit(7)

    async def job_die(self, message):
        await self.tell(message)
        os._exit(9)

    async def job_stop(self, message):
        raise StopConsumer

    async def job_answer(self, message):
        await self.send({"type": "websocket.send", "text": "to nobody"})

    async def job_group(self, message):
        await self.channel_layer.group_add("jobs.group", self.channel_name)
        await self.channel_layer.group_send("jobs.group", {"type": "job.run", "n": message["n"]})


class SyncJobs(SyncConsumer):
    def job_run(self, message):
        import asgiref.sync

        answer = {"type": "done", "n": message["n"], "pid": os.getpid(), "channel": self.scope["channel"]}
        asgiref.sync.async_to_sync(self.channel_layer.send)("done", answer)


application = ProtocolTypeRouter(
    {
        "http": None,
        "channel": ChannelNameRouter({"jobs": Jobs.as_asgi(), "more": Jobs.as_asgi(), "sync": SyncJobs.as_asgi()}),
    }
)
