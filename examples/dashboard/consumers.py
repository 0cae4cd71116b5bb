# SPDX-License-Identifier: BSD-3-Clause
"""The dashboard's consumer."""

import asyncio

from django.conf import settings

from dashboard.publisher import GROUP
from dashboard.stats import collect_stats
from realtime.consumers import JsonConsumer
from realtime.messages import BadInput


class DashboardConsumer(JsonConsumer):
    """Pushes counts when they change, and answers `get_stats`.

    Each process that makes changes publishes once per interval; the limit is kept here once more, so that it also
    holds for a client when several processes publish.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pending = None
        self.not_before = 0.0
        self.push_task = None

    def group_names(self):
        """Join the one group."""
        return [GROUP]

    async def handle(self, content):
        """Answer `get_stats`."""
        if content.get("type") != "get_stats":
            raise BadInput("Unknown message type.")
        self.pending = None  # What is about to be counted is newer.
        await self.send_json({"type": "stats_update", "data": await self.in_database(collect_stats)})

    async def stats_update(self, event):
        """Push new counts, now or as soon as the interval allows; the latest ones win."""
        self.pending = event["data"]
        if self.push_task is None or self.push_task.done():
            self.push_task = self.spawn(self.push())

    async def push(self):
        """Wait for the interval to pass and send what is the latest by then."""
        loop = asyncio.get_running_loop()
        while self.pending is not None:
            await asyncio.sleep(max(0.0, self.not_before - loop.time()))
            data, self.pending = self.pending, None
            if data is not None:
                self.not_before = loop.time() + settings.DASHBOARD_INTERVAL
                await self.send_json({"type": "stats_update", "data": data})
