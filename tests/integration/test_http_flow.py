# SPDX-License-Identifier: BSD-3-Clause
"""Large bodies stay out of memory in both directions: the slower side sets the pace, others on the same worker are
served meanwhile."""

import socket
import threading
import time

from memory import MIB, Growth
from wire import Wire, dial, request

PIECE = bytes(range(256)) * 256
PROMPT = 1.0  # seconds, for a small request beside a large one


def moved(wire):
    """Bytes that the application has moved. The answer must come at once."""
    begin = time.monotonic()
    response = wire.ask(request("GET", "/moved"))
    assert time.monotonic() - begin < PROMPT
    return int(response.body)


def settled(wire):
    """What has moved once that has come to rest: three looks that see the same."""
    looks = []
    while len(looks) < 3 or len(set(looks[-3:])) > 1:
        looks.append(moved(wire))
        time.sleep(0.02)
    return looks[-1]


def upload(wire, size):
    for _ in range(size // len(PIECE)):
        wire.send(PIECE)


def test_upload_moves_at_the_pace_of_the_application(serve):
    size, step = 64 * MIB, 8 * MIB
    server = serve("flow:application", "-w", "1", measured=True)
    with dial(server) as wire, dial(server) as other:
        wire.sock.settimeout(30)
        moved(other)
        growth = Growth(server)
        wire.send(request("POST", "/upload", f"Content-Length: {size}"))
        sender = threading.Thread(target=upload, args=(wire, size))
        sender.start()
        for count in range(step, size, step):
            taken = int(other.ask(request("GET", f"/allow?{step}")).body)
            assert count <= taken < count + MIB, "no more than was allowed, but for the last event"
            assert moved(other) == taken
            assert growth.most() < MIB, "what the application does not take stays with the client"
        other.ask(request("GET", f"/allow?{step}"))
        sender.join()
        assert int(wire.response().body) == size
        assert wire.ask(request("GET", "/moved")).status == 200
        assert growth.most() < MIB


def test_upload_in_chunks_moves_at_the_pace_of_the_application(serve):
    server = serve("flow:application", "-w", "1", measured=True)
    chunk = b"%x\r\n%s\r\n" % (len(PIECE), PIECE)
    with dial(server) as wire, dial(server) as other:
        moved(other)
        growth = Growth(server)
        wire.send(request("POST", "/upload", "Transfer-Encoding: chunked"))
        sender = threading.Thread(target=lambda: [wire.send(chunk) for _ in range(256)] + [wire.send(b"0\r\n\r\n")])
        wire.sock.settimeout(30)
        sender.start()
        other.ask(request("GET", f"/allow?{4 * MIB}"))
        assert growth.most() < MIB
        other.ask(request("GET", f"/allow?{12 * MIB + 1}"))  # the last event is an empty one
        sender.join()
        assert int(wire.response().body) == 16 * MIB


def test_download_moves_at_the_pace_of_the_client(serve):
    size, step = 64 * MIB, 8 * MIB
    server = serve("flow:application", "-w", "1", measured=True)
    with dial(server) as wire, dial(server) as other:
        moved(other)
        growth = Growth(server)
        wire.send(request("GET", f"/download?{size}"))
        wire._until(b"\r\n\r\n", "a head")
        for _ in range(0, size, step):
            ahead = settled(other)
            assert ahead < size or size - ahead < step
            assert growth.most() < MIB, "what the client does not take stays with the application"
            received = len(wire.data)
            for _ in range(step // len(PIECE)):
                assert wire._exactly(len(PIECE)) == PIECE
            assert received < MIB
        assert wire.is_idle()
        assert growth.most() < MIB


def test_many_downloads_that_nobody_reads_do_not_hold_up_others(serve):
    server = serve("flow:application", "-w", "1", measured=True)
    wires = [dial(server) for _ in range(20)]
    with dial(server) as other:
        moved(other)
        growth = Growth(server)
        for wire in wires:
            wire.send(request("GET", f"/download?{64 * MIB}"))
        settled(other)
        assert growth.most() < 20 * 256 * 1024, "a window of each, no more"
    for wire in wires:
        wire.sock.close()


def test_pipelined_answers_that_nobody_reads_are_bounded(serve):
    """The next request is not read while answers wait; when they are taken, each is answered in its turn."""
    count, size = 400, len(PIECE)
    server = serve("flow:application", "-w", "1", measured=True)
    with server.keep(socket.socket()) as sock, dial(server) as other:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", server.port))
        wire = Wire(sock)
        moved(other)
        growth = Growth(server)
        wire.send(request("GET", f"/download?{size}") * count)
        assert settled(other) < count * size // 2
        assert growth.most() < MIB
        for _ in range(count):
            assert wire.response().body == PIECE
        assert wire.is_idle()
        assert growth.most() < MIB


def test_what_is_sent_beyond_the_content_length_does_not_hold_up_the_application(serve):
    """Nothing of it ever leaves for the client: the window must open all the same."""
    server = serve("flow:application", "-w", "1")
    with dial(server) as wire:
        assert wire.ask(request("GET", f"/overlong?{MIB}")).body == b"short"
        assert wire.is_idle()
