# SPDX-License-Identifier: BSD-3-Clause
"""Random programs of operations on several layers, compared with a model of what a channel layer is. The same programs run
on channels_redis, on our redis and memory backends, and on both makes together.

The model: a channel gets what was sent to it and, once, what was sent to each group it is in; what one layer sends to a
channel arrives in that order. Differences that are allowed, because the makes differ there:

* Messages of different senders to one channel may be interleaved otherwise than they were sent: a node delivers what its own
  peers send without the way through Redis.
* Who is in a group of ours is looked up where a message arrives, not where it is sent: to be sure who gets it, it must have
  arrived before somebody joins or leaves (here: a message "sync" behind it has).
* Who takes a channel of another process out of a group is sure of that when something it sent to the channel afterwards has
  arrived (here: a message "sync"); with channels_redis it is at once.
* channels_redis does not take a channel of ours out that joined by itself or was added by one of ours (wire-format §12.1).
* A receive() that times out is only tried where nothing is on its way to the process: channels_redis can lose what it is
  about to read for another channel (§4.7).
* A flush() by channels_redis is to a node of ours as if Redis had lost what it had: its memberships come back. One of ours is
  a flush for all nodes of ours, when what the same layer sent to them afterwards arrives; what others send before that may
  be forgotten.
* An empty message: channels_redis drops it when another channel's receive() read it (so none is sent here).

The seed is printed; $INTEROP_SEED repeats a run, $INTEROP_PROGRAMS makes it longer."""

import asyncio
import os
import random
from collections import defaultdict

import pytest
from layer_rig import take

SEED = int(os.environ.get("INTEROP_SEED", "0")) or random.randrange(1, 1 << 32)
PROGRAMS = int(os.environ.get("INTEROP_PROGRAMS", "4"))
STEPS = 120
GROUPS = ["room", "r.2", "-", "g" * 99]
NORMAL = ["jobs", "jobs.more"]
WORLDS = {
    "stock": [("stock", None), ("stock", None), ("stock", None)],
    "ours": [("ours", "one"), ("ours", "one"), ("ours", "two")],
    "ours encrypted": [("ours", "one"), ("ours", "one"), ("ours", "two")],
    "mixed": [("ours", "one"), ("ours", "two"), ("stock", None), ("stock", None)],
    "memory": [("ours", "memory"), ("ours", "memory"), ("ours", "memory")],
}
CONFIGS = {"ours encrypted": {"symmetric_encryption_keys": ["key"]}, "memory": {"backend": "memory"}}


class Program:
    def __init__(self, rng, world, layers):
        self.rng = rng
        self.makes = [make for make, _ in world]
        self.layers = layers
        self.owner = {}  # specific channel -> number of its layer
        self.groups = defaultdict(dict)  # group -> channel -> who added it: "own", "ours", "stock"
        self.expected = defaultdict(list)  # (channel, sender) -> numbers
        self.observed = defaultdict(list)
        self.number = 0
        self.under_way = defaultdict(set)  # (group, layer) -> layers that have sent to it
        self.label = {}  # names for people
        self.trace = []

    async def run(self):
        steps = {
            self.new_channel: 1,
            self.group_add: 3,
            self.group_discard: 2,
            self.send: 4,
            self.group_send: 5,
            self.receive: 5,
            self.receive_nothing: 0.3,
            self.flush: 0.1,
        }
        for index in range(len(self.layers)):
            await self.new_channel(index)
        for step in self.rng.choices(list(steps), list(steps.values()), k=STEPS):
            await step()
        await self.drain()
        for key in {*self.expected, *self.observed}:
            channel, sender = key
            got, wanted = self.observed.get(key, []), self.expected.get(key, [])
            assert got == wanted, f"{self.label.get(channel, channel)} got from {sender}: {got}, not {wanted}"

    def note(self, *words):
        self.trace.append(" ".join(str(self.label.get(word, word)) for word in words))

    def a_layer(self):
        return self.rng.randrange(len(self.layers))

    def a_channel(self):
        return self.rng.choice([*self.owner, *NORMAL])

    def message(self, sender):
        self.number += 1
        return {"type": "x", "n": self.number, "by": sender}

    def record(self, channel, message):
        if message["type"] == "x":
            self.observed[channel, message["by"]].append(message["n"])
        return message

    def pending(self, channel):
        return any(
            len(numbers) > len(self.observed.get(key, ()))
            for key, numbers in self.expected.items()
            if key[0] == channel
        )

    def reader(self, channel):
        """The layer that may receive from it."""
        return self.layers[self.owner.get(channel, 0)]

    async def new_channel(self, index=None):
        if len(self.owner) >= 3 * len(self.layers):
            return
        index = self.a_layer() if index is None else index
        channel = await self.layers[index].new_channel()
        assert channel not in self.owner
        self.label[channel] = f"channel-{len(self.owner)}-of-{index}"
        self.owner[channel] = index
        self.note(index, "new_channel", channel)

    async def group_add(self):
        index, group, channel = self.a_layer(), self.rng.choice(GROUPS), self.a_channel()
        if self.rng.random() < 0.7 and index in self.owner.values():
            channel = self.rng.choice([channel for channel, owner in self.owner.items() if owner == index])
        await self.settle(group, channel)
        self.note(index, "group_add", group, channel)
        await self.layers[index].group_add(group, channel)
        who = "own" if self.owner.get(channel) == index else self.makes[index]
        self.groups[group].setdefault(channel, set()).add(who)

    async def group_discard(self):
        index, group, channel = self.a_layer(), self.rng.choice(GROUPS), self.a_channel()
        if self.rng.random() < 0.7 and self.groups[group]:
            channel = self.rng.choice(list(self.groups[group]))
        added_by = self.groups[group].get(channel, set())
        owner = self.owner.get(channel)
        if self.makes[index] == "stock" and owner is not None and self.makes[owner] == "ours" and added_by - {"stock"}:
            return
        await self.settle(group, channel)
        self.note(index, "group_discard", group, channel)
        await self.layers[index].group_discard(group, channel)
        self.groups[group].pop(channel, None)
        if owner is not None and owner != index:
            await self.sync(index, channel)

    async def settle(self, group, channel):
        """All that was sent to the group so far has arrived at the channel's process."""
        owner = self.owner.get(channel)
        if owner is None or self.makes[owner] == "stock":
            return
        for sender in sorted(self.under_way.pop((group, owner), ())):
            await self.sync(sender, channel)

    async def sync(self, sender, channel):
        """Receives all that `sender` has sent to the channel so far."""
        self.number += 1
        mark = {"type": "sync", "n": self.number}
        await self.layers[sender].send(channel, mark)
        while self.record(channel, await take(self.reader(channel), channel)) != mark:
            pass

    async def send(self):
        index, channel = self.a_layer(), self.a_channel()
        message = self.message(index)
        self.note(index, "send", channel, message["n"])
        await self.layers[index].send(channel, message)
        self.expected[channel, index].append(message["n"])

    async def group_send(self):
        index, group = self.a_layer(), self.rng.choice(GROUPS)
        message = self.message(index)
        self.note(index, "group_send", group, message["n"])
        await self.layers[index].group_send(group, message)
        for owner in range(len(self.layers)):
            self.under_way[group, owner].add(index)
        for channel in self.groups[group]:
            self.expected[channel, index].append(message["n"])

    async def receive(self):
        waiting = [channel for channel in [*self.owner, *NORMAL] if self.pending(channel)]
        if not waiting:
            return
        channel = self.rng.choice(waiting)
        self.note("receive", channel)
        self.record(channel, await take(self.reader(channel), channel))

    async def receive_nothing(self):
        """With a time limit, where nothing can come."""
        index = self.a_layer()
        own = [channel for channel, owner in self.owner.items() if owner == index]
        if any(self.pending(channel) for channel in own):
            return
        self.note(index, "receive nothing", own[0])
        with pytest.raises(asyncio.TimeoutError):
            self.record(own[0], await take(self.layers[index], own[0], 0.03))

    async def flush(self):
        """When everything was read: what lies about then is nobody's."""
        index = self.a_layer()
        if self.makes[index] == "stock" and "ours" in self.makes:
            return
        await self.drain()
        self.note(index, "flush")
        await self.layers[index].flush()
        self.groups.clear()
        self.under_way.clear()
        for owner in range(len(self.layers)):
            await self.sync(index, next(channel for channel, other in self.owner.items() if other == owner))

    async def drain(self):
        """Every channel up to marks that all layers sent last."""
        self.note("drain")
        for channel in [*self.owner, *NORMAL]:
            self.number += 1
            marks = [{"type": "sync", "n": self.number, "by": index} for index in range(len(self.layers))]
            await asyncio.gather(*(layer.send(channel, mark) for layer, mark in zip(self.layers, marks)))
            while marks:
                message = self.record(channel, await take(self.reader(channel), channel))
                if message["type"] == "sync":
                    marks.remove(message)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", range(PROGRAMS))
@pytest.mark.parametrize("name", WORLDS)
async def test_random_program(layers, name, number):
    print(f"INTEROP_SEED={SEED}")
    # What a layer in memory has been told lives as long as its node, so that each program has one of its own.
    config = {"capacity": 100_000 + (number if name == "memory" else 0), **CONFIGS.get(name, {})}
    opened = [layers.open(make, node, **config) for make, node in WORLDS[name]]
    program = Program(random.Random(f"{SEED} {number}"), WORLDS[name], opened)
    try:
        await program.run()
    except BaseException:
        print("\n".join(program.trace))
        raise


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["ours", "memory"])
async def test_random_program_of_processes(layers, name):
    print(f"INTEROP_SEED={SEED}")
    config = {"capacity": 99_999, **CONFIGS.get(name, {})}
    opened = await asyncio.gather(*(layers.puppet(make, node, **config) for make, node in WORLDS[name]))
    program = Program(random.Random(f"{SEED} processes"), WORLDS[name], opened)
    try:
        await program.run()
    except BaseException:
        print("\n".join(program.trace))
        raise
