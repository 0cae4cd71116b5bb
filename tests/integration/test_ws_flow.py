# SPDX-License-Identifier: BSD-3-Clause
"""Flow control: who does not read is not fed, costs a bounded amount of memory, and disturbs nobody else."""

import socket
import struct
import threading
import time

import pytest
from server import Channelsd
from ws_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    events,
    frame,
    get,
    handshake,
    rss_bytes,
)

MIB = 1024 * 1024


@pytest.fixture
def server():
    with Channelsd("ws_probe:application", "--edge-loops", 1, measured=True) as server:
        yield server


def ws(server, path="/echo", **keywords):
    return RawWebSocket(("127.0.0.1", server.port), path, **keywords)


class Memory:
    """How much the edge and its worker grow. Buffers that they keep are there before: one client of each kind was."""

    def __init__(self, server):
        for data in (b"", b"w" * 300000, b"w" * MIB):
            with ws(server) as client:
                client.send(BINARY, data[:-1], fin=False)
                client.send(CONTINUATION, data[-1:])
                assert client.message() == data
        self.pids = [server.pid, *server.worker_pids()]
        self.before = self._now()

    def _now(self):
        return [rss_bytes(pid) for pid in self.pids]

    def growth(self):
        return max(now - before for now, before in zip(self._now(), self.before))


def flood(client, message, most):
    """Sends copies of `message` until the socket takes no more for a quarter of a second. Returns how many were taken
    whole; the rest of one that was begun is sent by finish()."""
    client.sock.settimeout(0.25)
    data = memoryview(message * max(1, 65536 // len(message)))
    sent = 0
    try:
        while sent < most:
            sent += client.sock.send(data[sent % len(data) :])
    except TimeoutError:
        client.sock.settimeout(10)
        return sent
    raise AssertionError(f"{sent} bytes were taken from a client that nobody reads")


def assert_others_are_served_fast(server):
    slowest = 0
    for _ in range(20):
        start = time.monotonic()
        with ws(server) as other:
            other.text("quick")
            assert other.message() == "quick"
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 0.5


def test_application_that_reads_nothing_bounds_its_clients_and_gets_all_at_last(server):
    """Twenty clients flood; what is on the way of each is bounded, and when the application reads, all of it comes."""
    assert_others_are_served_fast(server)
    memory = Memory(server)
    size = 4000
    clients = []
    try:
        for number in range(20):
            clients.append(ws(server, f"/gated?id=flood-{number}&count=3000"))
        sent = [0] * len(clients)
        messages = b"".join(frame(BINARY, (b"%08d" % i).ljust(size, b".")) for i in range(3000))

        def send_all(number):
            clients[number].sock.sendall(messages)
            sent[number] = len(messages)

        senders = [threading.Thread(target=send_all, args=(number,)) for number in range(len(clients))]
        for sender in senders:
            sender.start()
        assert_others_are_served_fast(server)
        assert sum(sent) == 0  # nobody got rid of 12 MB
        assert memory.growth() < 12 * MIB
        for number in range(len(clients)):
            get(server, f"/open?id=flood-{number}")
        for number, client in enumerate(clients):
            client.sock.settimeout(20)
            assert client.message() == "complete", events(server, f"flood-{number}", 2)
        for sender in senders:
            sender.join()
        assert memory.growth() < 16 * MIB
    finally:
        for client in clients:
            client.sock.close()


def test_empty_messages_to_an_application_that_reads_nothing_are_bounded(server):
    memory = Memory(server)
    with ws(server, "/gated?id=empty&count=1") as client:
        assert flood(client, frame(BINARY), 32 * MIB) > 128 * 6
        assert memory.growth() < 4 * MIB
        assert_others_are_served_fast(server)
        get(server, "/open?id=empty")
        events(server, "empty", 2)


@pytest.mark.parametrize("end", ["close", "shut its side", "reset"])
def test_what_a_client_sent_before_it_left_comes_to_an_application_that_reads_late(server, end):
    """All of it, beyond what its window takes, and the code of the close frame."""
    count = 300
    id = end.replace(" ", "-")
    with ws(server, f"/slow-receive?id={id}") as client:
        assert client.message() == "accepted"
        messages = b"".join(frame(TEXT, b"%d" % number) for number in range(count))
        client.sock.sendall(messages + frame(CLOSE, b"\x0f\xa1bye"))
        if end == "shut its side":
            client.sock.shutdown(socket.SHUT_WR)
        elif end == "reset":
            time.sleep(0.3)  # it takes back what is on the way
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end != "shut its side":
            client.sock.close()
        time.sleep(0.3)  # by then the end has come
        get(server, f"/open?id={id}")
        got = events(server, id, count + 2)
    assert [event["text"] for event in got[1:-1]] == [str(number) for number in range(count)]
    assert got[-1] == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}


def test_client_that_leaves_input_behind_is_told_to_an_application_that_never_reads():
    """After the time that an application may go on without its client."""
    with Channelsd("ws_probe:application", "--application-close-timeout", 1) as server:
        client = ws(server, "/slow-receive?id=never")
        assert client.message() == "accepted"
        client.sock.sendall(frame(TEXT, b"m") * 300)
        client.sock.close()
        server.access_has(r"WSDISCONNECT /slow-receive", seconds=5)
        server.log_has(r"took too long to shut down and was killed", seconds=5)


def test_client_that_does_not_read_suspends_the_application_and_gets_all_at_last(server):
    memory = Memory(server)
    count, size = 500, 100000
    with ws(server, f"/pour?id=pour&count={count}&size={size}", receive_buffer=65536) as client:
        assert_others_are_served_fast(server)
        assert len(events(server, "pour", 1)) == 1  # it is still sending
        assert memory.growth() < 6 * MIB
        for number in range(count):
            message = client.message()
            assert len(message) == size
            assert int(message[:8]) == number
        assert events(server, "pour", 2)[1] == {"sent": count}
        assert memory.growth() < 8 * MIB


def test_many_clients_that_do_not_read_are_bounded(server):
    memory = Memory(server)
    clients = []
    try:
        for number in range(20):
            clients.append(ws(server, f"/pour?id=idle-{number}&count=500&size=100000", receive_buffer=4096))
        assert_others_are_served_fast(server)
        assert memory.growth() < 20 * MIB
    finally:
        for client in clients:
            client.sock.close()
    for number in range(20):
        assert events(server, f"idle-{number}", 2)[1]["os_error"]


def test_pongs_that_nobody_reads_are_bounded(server):
    memory = Memory(server)
    with ws(server, receive_buffer=4096) as client:
        flood(client, frame(PING, b"p" * 125), 64 * MIB)
        assert memory.growth() < 4 * MIB
        assert_others_are_served_fast(server)


def test_empty_messages_that_nobody_reads_are_bounded(server):
    """They use no window, but they do not keep others from being served, and the client's queue has its ceiling."""
    memory = Memory(server)
    with ws(server, "/pour?id=void&count=100000000&size=0", receive_buffer=4096) as client:
        assert client.status == 101
        for _ in range(5):
            assert_others_are_served_fast(server)
        assert memory.growth() < 4 * MIB
    assert events(server, "void", 2)[1]["os_error"]


def test_a_million_empty_continuation_frames_cost_nothing(server):
    memory = Memory(server)
    with ws(server) as client:
        client.send(TEXT, b"begin ", fin=False)
        program = frame(CONTINUATION, fin=False) * 10000
        for _ in range(100):
            client.sock.sendall(program)
        client.send(CONTINUATION, b"end")
        assert client.message() == "begin end"
    assert memory.growth() < 2 * MIB


def test_message_of_a_mebibyte_in_fragments_of_a_byte_is_bounded(server):
    """Each fragment is a byte to hold, not an object of forty."""
    memory = Memory(server)
    clients = [ws(server, "/digest") for _ in range(3)]
    try:
        for client in clients:
            client.send(BINARY, b"b", fin=False)
            program = frame(CONTINUATION, b"b", fin=False) * 4000
            for _ in range(50):
                client.sock.sendall(program)
            client.send(PING, b"through")
        for client in clients:
            assert client.frame() == (True, PONG, b"through")
        assert memory.growth() < 6 * MIB
        for client in clients:
            client.send(CONTINUATION, b"b")
            assert client.message().startswith("bytes 200002 ")
    finally:
        for client in clients:
            client.sock.close()


def test_segments_of_a_byte(server):
    with ws(server, open=False) as client:
        for byte in handshake("/echo"):
            client.sock.sendall(bytes([byte]))
        client.read_opened()
        for byte in frame(TEXT, b"x" * 300) + frame(BINARY, b"y" * 200) + frame(PING, b"z" * 125):
            client.sock.sendall(bytes([byte]))
        got = [client.frame() for _ in range(3)]
        assert sorted(got) == sorted([(True, TEXT, b"x" * 300), (True, BINARY, b"y" * 200), (True, PONG, b"z" * 125)])


def test_echo_of_a_client_that_sends_all_before_it_reads(server):
    """Both directions fill up: nothing is lost and nothing deadlocks once the client reads."""
    with ws(server) as client:
        count, size = 400, 30000

        def send():
            for i in range(count):
                client.send(BINARY, (b"%08d" % i).ljust(size, b"-"))

        sender = threading.Thread(target=send)
        sender.start()
        for i in range(count):
            message = client.message()
            assert (int(message[:8]), len(message)) == (i, size)
        sender.join()


def test_hundred_clients_that_leave_in_the_middle_of_messages_leave_nothing(server):
    memory = Memory(server)
    for _ in range(5):
        clients = [ws(server) for _ in range(20)]
        for client in clients:
            client.send(BINARY, b"x" * 60000, fin=False)
            client.sock.sendall(frame(CONTINUATION, b"", length=100000)[:14] + b"y" * 1000)
        for client in clients:
            client.drop()
    assert_others_are_served_fast(server)
    assert memory.growth() < 10 * MIB
