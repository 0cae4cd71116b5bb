# SPDX-License-Identifier: BSD-3-Clause
"""What a view, a task and a shell do with the channel layer. Who is in the group "room" hears of it."""

import os

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer


def tell(count=1, **more):
    """`count` messages to the group, each by a call of its own."""
    layer = get_channel_layer()
    for number in range(count):
        async_to_sync(layer.group_send)("room", {"type": "told", "pid": os.getpid(), "n": number, **more})


async def atell(count=1, **more):
    layer = get_channel_layer()
    for number in range(count):
        await layer.group_send("room", {"type": "told", "pid": os.getpid(), "n": number, **more})


def ask(number):
    """A message to a channel of this process, and back."""
    layer = get_channel_layer()
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("asked", channel)
    async_to_sync(layer.send)(channel, {"n": number})
    answer = async_to_sync(layer.receive)(channel)["n"]
    async_to_sync(layer.group_discard)("asked", channel)
    return answer


async def aask(number):
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.send(channel, {"n": number})
    return (await layer.receive(channel))["n"]
