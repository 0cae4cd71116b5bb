# SPDX-License-Identifier: BSD-3-Clause
"""A node whose peers come, talk and die at random, beside a model of what it must know: every message arrives where it
should and nowhere else, whoever has died meanwhile. The seed is the test's name; with a sanitized binary a leak or an
overrun fails the end of the server."""

import bisect
import collections
import contextlib
import random
import time

import layer_peer as lp
import msgpack
import pytest
from layer_peer import LayerServe, body

CAPACITY = 5
DEATHS = 3  # with a message, after which it is dropped
SUSPECTS = 64  # messages whose deaths the node remembers
GROUPS = [f"room-{i}" for i in range(6)]
QUEUES = [f"jobs-{i}" for i in range(3)]
PEERS = 24
STEPS = 5000


class Chaos:
    def __init__(self, node, seed):
        self.node = node
        self.random = random.Random(seed)
        self.observer = node.peer()  # never dies
        self.living = []
        self.members = collections.defaultdict(set)
        self.queues = {name: [] for name in QUEUES}  # (number, message), the oldest first
        self.untaken = {}  # peer -> (queue, req, (number, message))
        self.deaths = {}  # number of a message -> peers that died with it
        self.number = 0
        self.counts = collections.Counter()

    # ---- what may happen ----

    def connect(self):
        if len(self.living) == PEERS:
            return
        peer = self.node.peer()
        peer.own_group = f"own-{self.counts['connected']}"
        self.counts["connected"] += 1
        peer.done(lp.JOIN, peer.own_group)
        self.members[peer.own_group].add(peer)
        self.living.append(peer)

    def join(self):
        peer, group = self.someone(), self.random.choice(GROUPS)
        peer.done(lp.JOIN, group)
        self.members[group].add(peer)

    def leave(self):
        peer, group = self.someone(), self.random.choice(GROUPS)
        peer.done(lp.LEAVE, group)
        self.members[group].discard(peer)

    def group_send(self):
        group, message = self.random.choice(GROUPS), self.message()
        self.someone().done(lp.GROUP_SEND, group, message)
        self.counts["group_sent"] += 1
        for peer in self.members[group]:
            assert peer.take(lambda r: r[0] == lp.DELIVER) == [lp.DELIVER, 0, None, [group], [], message]
        self.counts["delivered"] += len(self.members[group])

    def send(self):
        sender, receiver, message = self.someone(), self.someone(), self.message()
        req = sender.ask(lp.SEND, 0, receiver.channel(), message)
        delivered = receiver.take(lambda r: r[0] == lp.DELIVER)
        assert delivered[3:] == [[], [receiver.channel()], message]
        self.counts["delivered"] += 1
        code = self.random.choice([lp.DONE, lp.FULL])
        if sender is not receiver and self.random.random() < 0.1:
            self.die(receiver)  # who cannot say no has accepted
            code = lp.DONE
        else:
            receiver.write(lp.ACCEPTED, 0, delivered[2], code == lp.FULL)
        assert sender.take(lambda r: r[:2] == [lp.REPLY, req])[2] == code
        self.counts["sent" if code == lp.DONE else "full"] += 1

    def put(self):
        name, message = self.random.choice(QUEUES), self.message()
        held = sum(queue == name for queue, _, _ in self.untaken.values())
        code, _ = self.someone().call(lp.SEND, name, message)
        if code == lp.FULL:
            assert len(self.queues[name]) + held >= CAPACITY
            self.counts["full"] += 1
        else:
            assert code == lp.DONE and len(self.queues[name]) < CAPACITY
            self.queues[name].append((self.number, message))
            self.counts["sent"] += 1

    def receive(self):
        name = self.random.choice(QUEUES)
        peers = [peer for peer in self.living if peer not in self.untaken]
        if not peers or not self.queues[name]:
            return
        peer = self.random.choice(peers)
        req = peer.ask(lp.RECEIVE, 0, name)
        first = self.queues[name].pop(0)
        assert peer.take(lambda r: r[0] == lp.MESSAGE) == [lp.MESSAGE, 0, req, first[1]]
        self.untaken[peer] = (name, req, first)
        self.counts["delivered"] += 1

    def settle(self):
        """Whoever has a message says what became of it."""
        for peer, (name, req, numbered) in list(self.untaken.items()):
            taken = self.random.random() < 0.7
            peer.write(lp.TAKEN if taken else lp.RETURN, 0, req)
            peer.done(lp.PING)
            if taken:
                self.deaths.pop(numbered[0], None)
            else:
                bisect.insort(self.queues[name], numbered)
            del self.untaken[peer]

    def wait_in_vain(self):
        """A RECEIVE that is taken back, or whose peer dies over it."""
        empty = [name for name in QUEUES if not self.queues[name]]
        if empty:
            peer = self.someone()
            req = peer.ask(lp.RECEIVE, 0, self.random.choice(empty))
            if self.random.random() < 0.5:
                peer.write(lp.CANCEL, 0, req)
                peer.done(lp.PING)
            else:
                self.die(peer)

    def greet_badly(self):
        peer = self.node.peer(hello=False)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sock.sendall(
                self.random.choice([b"", b"\x94", b"GET / HTTP/1.1\r\n\r\n", msgpack.packb([lp.PING, 1])])
            )
        peer.close()

    def die(self, peer=None):
        """In one of many ways; returns when the node knows."""
        peer = peer or self.someone()
        half = msgpack.packb([lp.GROUP_SEND, 0, 1, GROUPS[0], b"\x80" * 5000])
        last = self.random.choice([b"", b"\xc1", half[: self.random.randrange(len(half))], b"\x91\x63"])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sock.sendall(last)
        peer.close()
        self.living.remove(peer)
        for members in self.members.values():
            members.discard(peer)
        if peer in self.untaken:
            name, _, numbered = self.untaken.pop(peer)
            if not self.is_deadly(numbered[0]):
                bisect.insort(self.queues[name], numbered)  # where it was
        deadline = time.monotonic() + 10
        while peer.own_group in self.observer.groups():
            assert time.monotonic() < deadline, "the node has forgotten a peer's end"

    # ---- helpers ----

    def is_deadly(self, number):
        """Counts the death of a peer that had this message."""
        deaths = self.deaths[number] = self.deaths.get(number, 0) + 1
        if deaths == DEATHS:
            del self.deaths[number]
            self.counts["dropped_deadly"] += 1
        elif len(self.deaths) > SUSPECTS:
            del self.deaths[next(iter(self.deaths))]
        return deaths == DEATHS

    def someone(self):
        while len(self.living) < 2:
            self.connect()
        return self.random.choice(self.living)

    def message(self):
        self.number += 1
        return body(number=self.number, filler=b"x" * self.random.choice([0, 10, 1000, 70000]))

    def check(self):
        assert self.observer.groups() == {name: 1 for name, peers in self.members.items() if peers}
        for peer in self.living:
            assert peer.nothing_waits(), "a message went where it should not"

    def run(self):
        weights = {
            self.connect: 10,
            self.join: 14,
            self.leave: 8,
            self.group_send: 20,
            self.send: 14,
            self.put: 12,
            self.receive: 12,
            self.settle: 3,
            self.wait_in_vain: 3,
            self.greet_badly: 2,
            self.die: 7,
        }
        for step in self.random.choices(list(weights), list(weights.values()), k=STEPS):
            step()
            if self.random.random() < 0.02:
                self.check()
        self.check()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_peers_do_at_random_is_what_the_node_knows(tmp_path, seed):
    with LayerServe(tmp_path / "layer.sock", "--layer-config", f'{{"capacity": {CAPACITY}}}') as node:
        chaos = Chaos(node, seed)
        chaos.run()
        stats = chaos.observer.stats()
        for name in ("group_sent", "sent", "full", "delivered", "dropped_deadly"):
            assert stats[name] == chaos.counts[name], name
        assert stats["dropped_full"] == stats["dropped_expired"] == 0
        for peer in list(chaos.living):
            chaos.die(peer)
        assert chaos.observer.groups() == {}
        for name, queue in chaos.queues.items():
            for _, message in queue:
                req = chaos.observer.ask(lp.RECEIVE, 0, name)
                assert chaos.observer.read() == [lp.MESSAGE, 0, req, message]
        assert chaos.observer.nothing_waits()
