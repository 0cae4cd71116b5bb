# SPDX-License-Identifier: BSD-3-Clause
"""Consumers with handlers marked @channelsd.fanout, their clients, and scenarios with a NodeLayer."""

import asyncio
import functools
import json

from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from channels.layers import channel_layers
from node_layer import NodeLayer
from world import nap
from world import scenario as register

import channelsd


def fans(function):
    """A scenario with a NodeLayer as the default one."""

    @functools.wraps(function)
    async def run(world, *args):
        layer = world.node = NodeLayer(world.loop, capacity=8)
        channel_layers.set("default", layer)
        try:
            await function(world, *args)
        finally:
            layer.end()
        # Stock tells the layer nothing of a consumer's end.
        world.private["left"] = layer.left()

    return run


def scenario(function):
    return register(fans(function))


def scenario_of(**variants):
    return lambda function: register.of(**variants)(fans(function))


class Member:
    """Parts of all consumers here. Subclasses bring `world`."""

    world = None
    gate = None
    groups = ("all",)
    runs = 0  # of marked handlers

    async def connect(self):
        self.events = []
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        await self.send("got " + text_data)
        if text_data == "wait":
            await self.gate.wait()
            await self.send("waited")

    async def plain(self, event):
        await self.send("plain " + str(event["n"]))
        if event.get("wait"):
            await self.gate.wait()


class Text(Member, AsyncWebsocketConsumer):
    @channelsd.fanout
    def shared(event):
        Text.runs += 1
        return "shared " + str(event["n"])

    @channelsd.fanout
    def raw(event):
        return event["bytes"]

    @channelsd.fanout
    def mapping(event):
        return {"n": event["n"], "text": "ä"}

    @channelsd.fanout
    def several(event):
        return [str(event["n"]), None, b"\x00", {"n": event["n"]}, "end"]

    @channelsd.fanout
    def nothing(event):
        return None

    @channelsd.fanout
    @staticmethod
    def static(event):
        return ("static",)

    @channelsd.fanout
    def breaks(event):
        raise ValueError("in the handler")

    @channelsd.fanout
    def wrong(event):
        return 5

    @channelsd.fanout
    def spoils(event):
        event["list"].append(1)
        event["n"] += 1
        return json.dumps(event)

    @channelsd.fanout
    def echoes(event):
        return event["content"]

    @channelsd.fanout
    async def quick(event):
        return "quick " + str(event["n"])

    @channelsd.fanout
    async def slow(event):
        Text.runs += 1
        await nap(5)
        return "slow " + str(event["n"])

    @channelsd.fanout
    async def slow_breaks(event):
        await nap(5)
        raise ValueError("after a while")


class Json(Member, AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json(["got", content])

    receive = AsyncJsonWebsocketConsumer.receive

    async def plain(self, event):
        await self.send_json(["plain", event["n"]])

    @channelsd.fanout
    def shared(event):
        return {"shared": event["n"]}


def made(world, base=Text, **attributes):
    """A consumer class for one scenario; each is its own."""
    Text.runs = 0
    return type(base.__name__, (base,), {"world": world, "gate": asyncio.Event(), **attributes})


async def members(world, consumer, count=3):
    world.app = consumer.as_asgi() if isinstance(consumer, type) else consumer
    clients = [await world.connected() for _ in range(count)]
    world.note("accepted", [client.out() for client in clients])
    return clients


async def told(world, clients, what="told"):
    await world.settle()
    world.note(what, [client.out() for client in clients])


async def leave(world, clients):
    for client in clients:
        client.disconnect()
        await world.settle()


def message(kind, n=0, **more):
    return {"type": kind, "n": n, **more}
