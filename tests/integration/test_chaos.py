# SPDX-License-Identifier: BSD-3-Clause
"""Many clients that do anything at all, on plain sockets, against an application with every bad habit, while workers are
killed and stopped: afterwards the server is as it was before.

Who does what follows from $CHAOS_SEED, which is printed; when, from the machine. $CHAOS_SECONDS makes it longer, to hunt
with a sanitizer build."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
import sys

from memory import FREE_AT_ONCE, MIB, rss_bytes
from rawws import file_count, frame, wait_until
from rawws import request as handshake
from server import APPS, read_response
from wire import chunked, request

sys.path.insert(0, str(APPS))
from chaos import HTTP, WEBSOCKET

SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 32)
SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))
ACTORS = 50
# Of the edge: spare memory of two loops, and what the allocator keeps. ThreadSanitizer needs more for itself.
GROWTH_MAX = float(os.environ.get("CHAOS_GROWTH_MIB", "48")) * MIB
OPTIONS = (
    "--workers=2",
    "--edge-loops=2",
    "--proxy-headers",
    "--http-timeout=1",
    "--header-timeout=0.5",
    "--body-timeout=0.5",
    "--keep-alive-timeout=0.5",
    "--send-timeout=1",
    "--ping-interval=0.3",
    "--ping-timeout=0.5",
    "--websocket_connect_timeout=0.3",
    "--application-close-timeout=0.5",
    "--worker-timeout=3",
    "--max-body-size=300000",
    "--websocket-max-message-size=200000",
)


def mutate(rng, data):
    """Some bytes changed, dropped or doubled."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        change = rng.randrange(3)
        if change == 0:
            data[at] = rng.randrange(256)
        elif change == 1:
            del data[at : at + rng.randint(1, 8)]
        else:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        if not data:
            data += b"\r\n"
    return bytes(data)


def a_path(rng, habits):
    return f"/{rng.randrange(1 << 20)}/{rng.choice(list(habits))}"


def a_request(rng):
    """Any request, most of them good ones."""
    method = rng.choice(["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS"])
    lines = []
    if rng.random() < 0.2:
        lines.append(f"X-Forwarded-For: {rng.choice(['192.0.2.7', 'unknown', '[::1]:9', ','])}")
    if rng.random() < 0.1:
        lines.append("Connection: close")
    if rng.random() < 0.1:
        lines.append(f"X-Long: {'x' * rng.choice([1000, 60_000, 70_000])}")
    version = rng.choice(["1.1", "1.1", "1.1", "1.0"])
    target = a_path(rng, HTTP) + rng.choice(["", "", "?a=%20", "?" + "q" * 300])
    content = bytes(rng.choice([0, 1, 100, 16_384, 100_000, 400_000]))
    if method in ("GET", "HEAD") and rng.random() < 0.9:
        content = b""
    if content and version == "1.1" and rng.random() < 0.4:
        size = rng.choice([7, 1000, 65_536])
        lines += ["Transfer-Encoding: chunked", *rng.choice([[], ["Expect: 100-continue"]])]
        pieces = [content[at : at + size] for at in range(0, min(len(content), 200 * size), size)]
        return request(method, target, *lines, version=version) + chunked(*pieces)
    return request(method, target, *lines, body=content, version=version)


TEXTS = [text.encode() for text in ("", "x", "é" * 50, "y" * 5000, "z" * 70_000)]
SIZES = [0, 125, 126, 65_535, 65_536, 150_000]
CLOSES = [b"", b"\x03\xe8bye", b"\x03", b"\x00\x00", b"\x03\xe8\xff"]
BAD = [b"\x81\x01x", b"\xc1\x80abcd", b"\x83\x80abcd", frame(1, b"\xff"), frame(0, b"no message")]
FRAMES = [
    *[lambda rng: frame(1, rng.choice(TEXTS))] * 4,
    *[lambda rng: frame(2, bytes(rng.choice(SIZES)))] * 2,
    lambda rng: frame(9, bytes(rng.randrange(126))) * rng.choice([1, 200]),
    lambda rng: frame(1, b"in ", fin=False) + frame(9) + frame(0, b"parts \xc3", fin=False) + frame(0, b"\xa9"),
    lambda rng: frame(8, rng.choice(CLOSES)),
    lambda rng: rng.choice(BAD),
    lambda rng: b"\x82\xff" + struct.pack("!Q", rng.choice([1 << 20, 1 << 62, 1 << 63])) + b"mask" + bytes(1000),
    lambda rng: frame(2, b"m", fin=False) * rng.choice([1, 300]),
]


def a_frame(rng):
    """Any frame, most of them good ones."""
    return rng.choice(FRAMES)(rng)


class Actor:
    """One client after the other, until the time is over."""

    def __init__(self, server, number, deadline):
        self.rng = random.Random(f"{SEED} {number}")
        self.port = server.port
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()
        self.lives = 0
        self.sock = None

    async def run(self):
        lives = [
            self.ask,
            self.ask,
            self.pipeline,
            self.half,
            self.broken,
            self.slowly,
            self.flood,
            self.deaf,
            self.idle,
        ]
        lives += [self.websocket] * 5 + [self.half_websocket]
        while self.loop.time() < self.deadline:
            life = self.rng.choice(lives)
            self.sock = socket.socket()
            self.sock.setblocking(False)
            if self.rng.random() < 0.2:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await self.loop.sock_connect(self.sock, ("127.0.0.1", self.port))
                await asyncio.wait_for(life(), self.rng.choice([0.02, 0.1, 0.1, 0.3, 1.5]))
            self.leave()
            self.lives += 1

    def leave(self):
        """By the end of the stream, or by a reset."""
        if self.rng.random() < 0.4:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def read(self, count):
        """At least so many bytes, or to the end. Returns the last piece."""
        piece = b"-"
        while count > 0 and piece:
            piece = await self.loop.sock_recv(self.sock, 65536)
            count -= len(piece)
        return piece

    async def ask(self):
        for _ in range(self.rng.randint(1, 5)):
            await self.send(a_request(self.rng))
            if not await self.read(1):
                return
        if self.rng.random() < 0.3:
            self.sock.shutdown(socket.SHUT_WR)
            await self.read(MIB)

    async def pipeline(self):
        await self.send(b"".join(a_request(self.rng) for _ in range(self.rng.randint(2, 20))))
        await self.read(self.rng.choice([0, 1, 10_000, 10 * MIB]))

    async def half(self):
        data = a_request(self.rng)
        await self.send(data[: self.rng.randrange(len(data))])
        await self.read(self.rng.choice([0, 0, 1]))

    async def broken(self):
        await self.send(mutate(self.rng, a_request(self.rng)))
        await self.read(self.rng.choice([0, 1, MIB]))

    async def slowly(self):
        data = a_request(self.rng)
        step = max(1, len(data) // 20)
        for at in range(0, len(data), step):
            await self.send(data[at : at + step])
            await asyncio.sleep(self.rng.choice([0, 0.005, 0.05]))
        await self.read(1)

    async def flood(self):
        data = self.rng.choice([a_request(self.rng), bytes(65536), b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 100])
        while True:
            await self.send(data)

    async def deaf(self):
        await self.send(request("GET", "/stream") * 3)
        await asyncio.sleep(self.rng.choice([0.1, 1.5]))

    async def idle(self):
        await self.read(1)

    async def websocket(self):
        await self.send(handshake(a_path(self.rng, WEBSOCKET)))
        if self.rng.random() < 0.8:
            await self.read(1)
        for _ in range(self.rng.choice([0, 1, 5, 50])):
            data = a_frame(self.rng)
            await self.send(mutate(self.rng, data) if self.rng.random() < 0.05 else data)
            if self.rng.random() < 0.3:
                await self.read(1)
        end = self.rng.randrange(4)
        if end == 0:
            await self.send(frame(8, b"\x03\xe8"))
        elif end == 1:
            self.sock.shutdown(socket.SHUT_WR)
        if end < 3:
            await self.read(self.rng.choice([1, MIB]))

    async def half_websocket(self):
        data = handshake("/echo") + frame(1, b"x" * 300)
        await self.send(data[: self.rng.randrange(len(data))])
        await self.read(self.rng.choice([0, 1]))


async def harm_workers(server, deadline):
    """Kills and stops workers. After the first few it is patient: a worker that dies young is not replaced at once."""
    rng = random.Random(f"{SEED} workers")
    loop = asyncio.get_running_loop()
    harmed = 0
    while True:
        await asyncio.sleep(min(rng.uniform(0.4, 1.2) if harmed < 4 else rng.uniform(3, 9), deadline - loop.time()))
        if loop.time() >= deadline:
            return
        pids = server.worker_pids()
        if not pids:
            continue
        pid = rng.choice(pids)
        harmed += 1
        with contextlib.suppress(ProcessLookupError):
            if harmed % 2:
                os.kill(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(0.3)
                os.kill(pid, signal.SIGCONT)


async def riot(server):
    deadline = asyncio.get_running_loop().time() + SECONDS
    actors = [Actor(server, number, deadline) for number in range(ACTORS)]
    await asyncio.gather(harm_workers(server, deadline), *(actor.run() for actor in actors))
    return sum(actor.lives for actor in actors)


def assert_serves(server):
    with server.connect() as sock:
        sock.sendall(request("GET", "/echo", "Connection: close"))
        status, _, content, _ = read_response(sock)
    assert (status, content) == (200, b"0")


def is_idle(server, folder):
    """Whether no application runs in any worker."""
    counts = [folder / str(pid) for pid in server.worker_pids()]
    return all(count.read_text() == "0" for count in counts if count.exists())


def test_server_is_after_a_riot_as_it_was_before(serve, tmp_path):
    print(f"CHAOS_SEED={SEED}")
    server = serve("chaos:application", *OPTIONS, env={"CHAOS_DIR": str(tmp_path), **FREE_AT_ONCE})
    files = file_count(server.pid)
    for _ in range(20):
        assert_serves(server)
    memory = rss_bytes(server.pid)
    lives = asyncio.run(riot(server))
    assert server.process.poll() is None, server.stderr.text()
    assert_serves(server)
    wait_until(lambda: len(server.worker_pids()) == 2, 30, "both workers")
    wait_until(lambda: file_count(server.pid) == files, 10, "no connection left")
    wait_until(lambda: is_idle(server, tmp_path), 10, "no application left")
    assert_serves(server)
    grown = rss_bytes(server.pid) - memory
    print(f"lives={lives} grown={grown / MIB:.1f} MiB")
    assert grown < GROWTH_MAX
    assert lives > ACTORS
