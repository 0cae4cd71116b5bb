# SPDX-License-Identifier: BSD-3-Clause
"""The node's side of docs/layer-protocol.md with the memory backend, for tests of single behaviours: a thread that serves
a unix socket, keeps what peers sent, and misbehaves when told to. Every wait ends with a failure after TIMEOUT seconds."""

import asyncio
import contextlib
import os
import selectors
import socket
import threading
from collections import deque

import msgpack

TIMEOUT = 10

(HELLO, OPEN, SEND, GROUP_SEND, JOIN, LEAVE, GROUP_ADD, GROUP_DISCARD, RECEIVE, CANCEL) = range(10)
(TAKEN, RETURN, MAILBOX, ACCEPTED, DROPPED, FLUSH, PING, GROUPS, STATS, LISTEN) = range(10, 20)
N_HELLO, OPENED, REPLY, DELIVER, MESSAGE, ADD, DISCARD, FLUSHED = range(8)

FULL, INVALID, UNAVAILABLE, TIMED_OUT, CLOSED, UNSUPPORTED, FAILED = range(1, 8)

NODE = "0123456789abcdef" * 2

# backend, serializer, prefix, expiry, group_expiry, capacity, capacities, timeout in ms
SETTINGS = ["memory", "msgpack", "asgi", 60, 86400, 100, [], 2000]


def within(awaitable, seconds=5):
    return asyncio.wait_for(awaitable, seconds)


class Peer:
    def __init__(self, node, sock, number):
        self.node = node
        self.socket = sock
        self.number = number
        self.id = f"{number:012x}d"
        self.what = None
        self.pid = None
        self.layers = {}  # index -> config
        self.bases = {}  # base -> index
        self.groups = set()
        self.untaken = {}  # req -> (channel, body)
        self.records = []
        self.unpacker = msgpack.Unpacker(raw=False, max_buffer_size=1 << 28)

    def put(self, *records):
        self.socket.setblocking(True)
        with contextlib.suppress(OSError):
            self.socket.sendall(b"".join(msgpack.packb(record) for record in records))
        self.socket.setblocking(False)


class Node:
    """`with Node(path) as node:`; `layer` 0 is all that peers share here, whatever settings they give."""

    def __init__(self, path, settings=None, answers=None):
        self.path = str(path)
        self.settings = settings or list(SETTINGS)
        self.answers = dict(answers or {})  # operation -> (code, text), or None: no answer at all
        self.peers = []
        self.all_peers = []
        self.records = []  # (peer, record), in order
        self.waiting = {}  # channel -> deque of (peer, req)
        self.queues = {}  # channel -> deque of bodies
        self._changed = threading.Condition()
        self._listener = None
        self._thread = None
        self._wake = None
        self._jobs = deque()
        self._count = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._wake = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, args=(self._listener, self._wake[1]), daemon=True)
        self._thread.start()

    def stop(self):
        """As a node that is killed."""
        if self._thread is None:
            return
        self._do(self._end)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()
        self._thread = None
        for sock in self._wake:
            sock.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _end(self):
        self._stopping = True

    def serve(self, sock):
        """Takes the node's end of a pair, as a worker's."""
        self._do(lambda: self._accept(sock))

    def _do(self, job):
        self._jobs.append(job)
        self._wake[0].send(b"x")

    def do(self, job):
        """Runs `job` in the node's thread and waits for it."""
        done = threading.Event()

        def run():
            job()
            done.set()

        self._do(run)
        assert done.wait(TIMEOUT)

    # What tests ask

    def wait_for(self, what, count=1):
        """Returns the records (peer, record) with operation `what`, once there are `count` of them."""

        def found():
            return [(peer, record) for peer, record in self.records if record[0] == what]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, TIMEOUT), (what, count, self.records)
            return found()

    async def seen(self, what, count=1):
        """The same for a test that is a coroutine."""
        return await asyncio.to_thread(self.wait_for, what, count)

    def ops(self, what):
        return [record for _, record in self.records if record[0] == what]

    def wait_peers(self, count):
        """Returns when that many are connected."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.peers) == count, TIMEOUT), len(self.peers)

    def cut(self, peer=None):
        """Closes the connection of one peer, or of all."""
        self.do(lambda: [self._gone(one) for one in ([peer] if peer else list(self.peers))])

    def put(self, peer, *records):
        self.do(lambda: peer.put(*records))

    def handle(self, peer, record):
        """Answers late what `answers` has left without an answer."""
        self.do(lambda: self._handle(peer, *record))

    def group(self, group):
        return [peer for peer in self.peers if group in peer.groups]

    # The thread

    def _run(self, listener, wake):
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._selector.register(wake, selectors.EVENT_READ, wake)
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.data is None:
                    with contextlib.suppress(OSError):
                        self._accept(listener.accept()[0])
                elif key.data is wake:
                    for _ in wake.recv(4096):
                        self._jobs.popleft()()
                elif key.data.socket.fileno() >= 0:
                    self._read(key.data)
        for peer in list(self.peers):
            self._gone(peer)
        listener.close()
        self._selector.close()

    def _accept(self, sock):
        self._count += 1
        peer = Peer(self, sock, self._count)
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, peer)
        with self._changed:
            self.peers.append(peer)
            self.all_peers.append(peer)
            self._changed.notify_all()

    def _gone(self, peer):
        if peer not in self.peers:
            return
        self._selector.unregister(peer.socket)
        peer.socket.close()
        for waiting in self.waiting.values():
            for entry in [entry for entry in waiting if entry[0] is peer]:
                waiting.remove(entry)
        for channel, body in peer.untaken.values():
            self._offer(channel, body, front=True)
        with self._changed:
            self.peers.remove(peer)
            self._changed.notify_all()

    def _read(self, peer):
        try:
            data = peer.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(peer)
            return
        peer.unpacker.feed(data)
        for record in peer.unpacker:
            with self._changed:
                self.records.append((peer, record))
                self._changed.notify_all()
            peer.records.append(record)
            if record[0] in self.answers and record[0] != HELLO:
                answer = self.answers[record[0]]
                if answer is not None:
                    peer.put([REPLY, record[2], *answer])
                continue
            self._handle(peer, *record)

    def _handle(self, peer, op, *items):
        if op == HELLO:
            version, peer.pid, peer.what = items
            peer.put([N_HELLO, self.answers.get(HELLO, 1), os.getpid()])
            return
        if op == LISTEN:
            return
        if op == PING:
            peer.put([REPLY, items[0], 0, None])
            return
        layer, *items = items
        getattr(self, "_" + _NAMES[op])(peer, layer, *items)

    def _open(self, peer, layer, req, config, bases):
        peer.layers[layer] = config
        base = bases[0] if bases else f"specific.{NODE}!{peer.id}"
        for one in bases or [base]:
            peer.bases[one] = layer
        peer.put([OPENED, layer, req, base, self.settings])

    def _owner(self, channel):
        for peer in self.peers:
            if channel[:-19] in peer.bases:
                return peer
        return None

    def _offer(self, channel, body, front=False):
        waiting = self.waiting.get(channel)
        if waiting:
            peer, layer, req = waiting.popleft()
            peer.untaken[req] = (channel, body)
            peer.put([MESSAGE, layer, req, body])
        elif front:
            self.queues.setdefault(channel, deque()).appendleft(body)
        else:
            self.queues.setdefault(channel, deque()).append(body)

    def _send(self, peer, layer, req, channel, body):
        code = 0
        owner = self._owner(channel)
        if owner is not None:
            owner.put([DELIVER, owner.bases[channel[:-19]], None, [], [channel], body])
        elif "!" not in channel:
            if len(self.queues.get(channel, ())) >= self.settings[5]:
                code = FULL
            else:
                self._offer(channel, body)
        peer.put([REPLY, req, code, "full" if code else None])

    def _group_send(self, peer, layer, req, group, body):
        for member in self.group(group):
            member.put([DELIVER, 0, None, [group], [], body])
        peer.put([REPLY, req, 0, None])

    def _join(self, peer, layer, req, group):
        peer.groups.add(group)
        peer.put([REPLY, req, 0, None])

    def _leave(self, peer, layer, req, group):
        peer.groups.discard(group)
        peer.put([REPLY, req, 0, None])

    def _group_add(self, peer, layer, req, group, channel):
        owner = self._owner(channel)
        if owner is not None:
            owner.groups.add(group)
            owner.put([ADD, owner.bases[channel[:-19]], group, channel])
        peer.put([REPLY, req, 0, None])

    def _group_discard(self, peer, layer, req, group, channel):
        owner = self._owner(channel)
        if owner is not None and owner is not peer:
            owner.put([DISCARD, owner.bases[channel[:-19]], group, channel])
        if req is not None:
            peer.put([REPLY, req, 0, None])

    def _receive(self, peer, layer, req, channel):
        self.waiting.setdefault(channel, deque()).append((peer, layer, req))
        queue = self.queues.get(channel)
        if queue:
            self._offer(channel, queue.popleft())

    def _cancel(self, peer, layer, req):
        for waiting in self.waiting.values():
            for entry in [entry for entry in waiting if entry[0] is peer and entry[2] == req]:
                waiting.remove(entry)

    def _taken(self, peer, layer, req):
        peer.untaken.pop(req)

    def _return(self, peer, layer, req):
        channel, body = peer.untaken.pop(req)
        self._offer(channel, body, front=True)

    def _mailbox(self, peer, layer, req, prefix):
        base = f"{prefix}.{NODE}!{peer.id}"
        peer.bases[base] = layer
        peer.put([REPLY, req, 0, base])

    def _accepted(self, peer, layer, ticket, full):
        pass

    def _dropped(self, peer, layer, count, channel):
        pass

    def _flush(self, peer, layer, req):
        self.queues.clear()
        for one in self.peers:
            one.groups.clear()
            for index in one.layers:
                one.put([FLUSHED, index])
        peer.put([REPLY, req, 0, None])


_NAMES = {
    OPEN: "open",
    SEND: "send",
    GROUP_SEND: "group_send",
    JOIN: "join",
    LEAVE: "leave",
    GROUP_ADD: "group_add",
    GROUP_DISCARD: "group_discard",
    RECEIVE: "receive",
    CANCEL: "cancel",
    TAKEN: "taken",
    RETURN: "return",
    MAILBOX: "mailbox",
    ACCEPTED: "accepted",
    DROPPED: "dropped",
    FLUSH: "flush",
}
