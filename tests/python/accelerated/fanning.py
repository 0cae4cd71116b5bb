# SPDX-License-Identifier: BSD-3-Clause
"""channelsd.layer, and handlers marked @channelsd.fanout: each client gets the same messages in the same order, whether
a handler runs once for all or once for each."""

import asyncio
import gc
import weakref

import msgpack
from members import Json, Text, leave, made, members, message, scenario, scenario_of, told
from world import nap

import channelsd


@scenario_of(
    text=message("shared", 1),
    bytes=message("raw", bytes=b"\x01\x02"),
    mapping=message("mapping", 2),
    several=message("several", 3),
    nothing=message("nothing"),
    static=message("static"),
    breaks=message("breaks"),
    wrong=message("wrong"),
    copies=message("spoils", 4, list=[]),
    empty=message("echoes", content=""),
    no_bytes=message("echoes", content=b""),
    no_messages=message("echoes", content=[]),
    some_empty=message("echoes", content=["a", "", "b"]),
    large=message("echoes", content="ä" * 40_000),
    large_among_others=message("echoes", content=["a", "b" * 70_000, "c"]),
    largest=message("echoes", content="x" * 65_536),
    quick=message("quick", 5),
    slow=message("slow", 6),
    slow_breaks=message("slow_breaks"),
    unknown=message("nobody"),
    underscore=message("_shared"),
    dotted={"type": "sha.red", "n": 0},
    no_type={"n": 1},
    type_of_another_kind={"type": 5},
    plain=message("plain", 7),
)
async def one_message(world, event):
    """Whatever a handler returns, and whatever arrives."""
    clients = await members(world, made(world))
    world.node.group("all", event)
    await told(world, clients)
    world.private.update(runs=Text.runs, shared=list(world.shared))
    world.node.group("all", message("shared", 9))
    await told(world, clients)
    await leave(world, clients)


@scenario
async def json_consumers(world):
    clients = await members(world, made(world, Json))
    world.node.group("all", message("shared", "ä"), message("plain", 2), message("shared", 3))
    await told(world, clients)
    await leave(world, clients)


@scenario
async def handlers_run_once_for_all_that_wait(world):
    clients = await members(world, made(world), 5)
    world.shared.clear()
    for n in range(3):
        world.node.group("all", message("shared", n))
    await told(world, clients)
    world.private.update(runs=Text.runs, shared=world.shared)
    await leave(world, clients)


@scenario_of(shared_first=True, plain_first=False)
async def marked_and_others_in_one_turn(world, shared_first):
    clients = await members(world, made(world))
    kinds = ("shared", "plain") if shared_first else ("plain", "shared")
    for n in range(4):
        for kind in kinds:
            world.node.group("all", message(kind, n))
    await told(world, clients)
    world.node.group("all", message("slow", 1), message("shared", 2), message("quick", 3), message("plain", 4))
    await told(world, clients)
    await leave(world, clients)


@scenario_of(shared="shared", slow="slow", quick="quick")
async def one_of_them_is_in_a_handler(world, kind):
    consumer = made(world)
    clients = await members(world, consumer)
    clients[1].send("wait")
    await told(world, clients)
    for n in range(3):
        world.node.group("all", message(kind, n))
    await told(world, clients, "while it waits")
    consumer.gate.set()
    await told(world, clients, "later")
    world.node.group("all", message(kind, 3))
    await told(world, clients)
    await leave(world, clients)


@scenario
async def a_handler_that_waits_has_its_result_from_the_same_run(world):
    consumer = made(world)
    clients = await members(world, consumer)
    clients[1].send("wait")
    await told(world, clients)
    world.node.group("all", message("shared", 1))
    await world.settle()
    consumer.gate.set()
    await told(world, clients)
    world.private.update(runs=Text.runs)
    await leave(world, clients)


@scenario_of(client_first=True, layer_first=False)
async def a_message_of_the_client_in_the_same_turn(world, client_first):
    clients = await members(world, made(world))
    if client_first:
        clients[0].send("a")
    world.node.group("all", message("shared", 1))
    clients[0].send("b")
    world.node.group("all", message("shared", 2), message("plain", 3))
    await world.settle()
    # Which of the two sources comes first is open once both have something; what each has keeps its order.
    out = [item[1] for item in clients[0].out()]
    world.note([text for text in out if text.startswith("got")], [text for text in out if not text.startswith("got")])
    await told(world, clients[1:])
    await leave(world, clients)


@scenario
async def a_client_that_does_not_read(world):
    clients = await members(world, made(world))
    window = clients[1].session.unsent
    for n in range(5):
        world.node.group("all", message("echoes", n, content=str(n) * 30_000))
        await world.settle()
    await told(world, clients, "window full")
    for client in clients:
        world.put([7, client.id, 90_000])
    await told(world, clients, "credit")
    world.put([7, clients[1].id, 60_000])
    world.node.group("all", message("shared", 6))
    await told(world, clients)
    world.note(window, [client.session.unsent for client in clients])
    await leave(world, clients)


@scenario
async def a_window_that_has_room_for_one_of_two(world):
    clients = await members(world, made(world))
    world.node.group("all", message("echoes", content="a" * 40_000))
    await world.settle()
    world.node.group("all", message("echoes", content=["b" * 30_000, "c"]))
    await told(world, clients)
    world.put(*([7, client.id, 70_000] for client in clients))
    await told(world, clients, "credit")
    await leave(world, clients)


@scenario
async def more_than_the_capacity(world):
    consumer = made(world)
    clients = await members(world, consumer)
    clients[0].send("wait")
    await world.settle()
    for n in range(12):
        world.node.group("all", message("shared", n))
        await world.settle()
    consumer.gate.set()
    await told(world, clients)
    await leave(world, clients)


@scenario_of(in_the_handler=True, in_the_background=False)
async def one_that_has_closed(world, in_handler):
    async def receive(self, text_data=None, bytes_data=None):
        if in_handler:
            await self.close(4000)
        else:
            self.task = asyncio.ensure_future(self.close(4000))

    clients = await members(world, made(world, receive=receive))
    clients[1].send("close")
    await world.settle()
    world.node.group("all", message("shared", 1), message("plain", 2))
    await told(world, clients)
    await leave(world, clients)


@scenario_of(before=True, behind=False)
async def one_that_leaves_in_the_same_turn(world, before):
    clients = await members(world, made(world))
    if before:
        clients[1].disconnect()
    world.node.group("all", message("shared", 1))
    if not before:
        clients[1].disconnect()
    world.node.group("all", message("shared", 2))
    await world.settle()
    # To a client that is gone nobody sends; what was on its way before is on its way.
    await told(world, [clients[0], clients[2]])
    await leave(world, [clients[0], clients[2]])


@scenario
async def one_that_is_killed(world):
    clients = await members(world, made(world))
    clients[1].session.kill()
    world.node.group("all", message("shared", 1))
    await told(world, [clients[0], clients[2]])
    await leave(world, [clients[0], clients[2]])


@scenario
async def one_that_has_not_accepted(world):
    async def connect(self):
        await self.gate.wait()
        await self.accept()

    async def connect_waiting(self):
        pass

    consumer = made(world, connect=connect)
    clients = await members(world, consumer, 2)
    world.node.group("all", message("shared", 1))
    await told(world, clients)
    consumer.gate.set()
    await told(world, clients)
    await leave(world, clients)
    # This one has returned from connect() without an answer.
    clients = await members(world, made(world, connect=connect_waiting), 2)
    world.node.group("all", message("shared", 1))
    await told(world, clients)


@scenario
async def to_one_channel_only(world):
    clients = await members(world, made(world))
    for name in list(world.node.own.queues):
        world.node.one(name, message("shared", 1))
    world.node.one("specific.nobody", message("shared", 2))
    await told(world, clients)
    await leave(world, clients)


@scenario
async def to_groups_that_have_members_in_common(world):
    clients = await members(world, made(world, groups=("all", "some")))
    world.node.own.deliver(None, ["all", "some", "none"], [], msgpack.packb(message("shared", 1)))
    await told(world, clients)
    await leave(world, clients)


@scenario_of(broken=b"\xc1", list=b"\x90", cut=b"\x81\xa4type")
async def what_does_not_decode(world, body):
    clients = await members(world, made(world))
    world.node.own.deliver(None, ["all"], [], body)
    await told(world, clients)
    world.node.group("all", message("shared", 1))
    await told(world, clients)
    await leave(world, clients)


@scenario
async def messages_before_the_consumer_asks(world):
    """new_channel() and the first event are turns apart."""

    class Early(made(world)):
        async def __call__(self, scope, receive, send):
            new_channel = world.node.new_channel

            async def noting():
                name = await new_channel()
                for n in range(3):
                    world.node.one(name, message("shared", n))
                return name

            world.node.new_channel = noting
            try:
                await super().__call__(scope, receive, send)
            finally:
                world.node.new_channel = new_channel

    async def connect(self):
        await self.accept()

    Early.connect = connect
    clients = await members(world, Early, 1)
    await told(world, clients)
    await leave(world, clients)


@scenario
async def a_handler_that_takes_members_out(world):
    """While they are walked through."""
    consumer = made(world)

    def drops(event):
        for name in list(world.node.own.queues)[-1:]:
            world.node.own.forget(name)
        return "dropped"

    consumer.drops = channelsd.fanout(drops)
    consumer.drops.__set_name__(consumer, "drops")
    clients = await members(world, consumer, 4)
    world.node.group("all", message("drops"))
    await world.settle()
    world.note("first", clients[0].out())
    for client in clients:
        client.out()
    await leave(world, clients)


@scenario
async def a_member_whose_channel_is_read_by_somebody_else(world):
    clients = await members(world, made(world), 1)
    name = next(iter(world.node.own.queues))
    world.node.group("all", message("shared", 1))
    await world.settle()
    taker = asyncio.ensure_future(world.node.receive(name))
    await nap()
    world.node.group("all", message("shared", 2), message("shared", 3))
    await world.settle()
    world.note("taken", (await taker)["n"] if taker.done() else taker.cancel())
    await told(world, clients)
    await leave(world, clients)


@scenario
async def hundreds_come_and_go(world):
    """Nothing is left of them, and they need no garbage collector."""
    living = weakref.WeakSet()

    async def connect(self):
        living.add(self)
        await self.accept()

    world.app = made(world, connect=connect).as_asgi()
    gc.collect()
    gc.disable()
    try:
        for n in range(4):
            clients = [world.open() for _ in range(100)]
            await world.settle()
            world.node.group("all", message("shared", n), message("plain", n))
            await world.settle()
            world.note(sum(len(client.out()) for client in clients))
            for client in clients:
                client.disconnect()
            await world.settle()
        world.trace = [note for note in world.trace if note[0] != "application returned"]
        world.note("alive", len(living))
    finally:
        gc.enable()


@scenario
async def full_is_told(world):
    """A message that had no room is counted; the node is told in its time."""
    consumer = made(world)
    clients = await members(world, consumer, 1)
    clients[0].send("wait")
    await world.settle()
    name = next(iter(world.node.own.queues))
    for n in range(11):
        world.node.own.deliver(n, [], [name], msgpack.packb(message("shared", n)))
    world.note([record[-1] for record in world.node.connection.told])
    consumer.gate.set()
    await told(world, clients)
    await leave(world, clients)
