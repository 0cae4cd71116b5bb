# SPDX-License-Identifier: BSD-3-Clause
"""Clients of apps/rolling.py, for tests in which workers come and go under load."""

import contextlib
import threading

from rawws import CLOSE, TEXT, RawWebSocket, wait_until
from server import read_response

APP = "rolling:application"
GET = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"


def start_request(server, path):
    """A connection on which the request was sent and no answer read."""
    sock = server.connect()
    sock.sendall(GET % path.encode())
    return sock


def ask(sock, path="/"):
    """(status, process id that answered) of one more request on a connection."""
    sock.sendall(GET % path.encode())
    status, _, body, _ = read_response(sock)
    return status, int(body) if status == 200 else None


def get(server, path="/"):
    with server.connect() as sock:
        return ask(sock, path)


def pid_of(websocket):
    websocket.send(TEXT, b"pid")
    return int(websocket.receive()[1])


class Load:
    """Requests on kept and on new connections and messages on WebSockets, in threads, until stopped. `failures` is
    whatever is not an answer 200 or a close frame; `statuses` are the other answers."""

    def __init__(self, server, each=2):
        self.server = server
        self.answers = 0
        self.echoes = 0
        self.statuses = []
        self.codes = []
        self.failures = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        kinds = [self._kept, self._new, self._websocket]
        self.threads = [threading.Thread(target=self._run, args=(kind,)) for kind in kinds for _ in range(each)]
        for thread in self.threads:
            thread.start()

    def _run(self, kind):
        while not self.stopping.is_set():
            try:
                kind()
            except (OSError, AssertionError) as error:
                with self.lock:
                    self.failures.append(f"{kind.__name__}: {error!r}")

    def _count(self, status):
        with self.lock:
            if status == 200:
                self.answers += 1
            else:
                self.statuses.append(status)

    def _kept(self):
        with self.server.connect() as sock:
            status = 200
            while status == 200 and not self.stopping.is_set():  # the server closes behind any other answer
                status, _ = ask(sock)
                self._count(status)

    def _new(self):
        self._count(get(self.server)[0])

    def _websocket(self):
        with contextlib.closing(RawWebSocket(self.server, handshake=False)) as websocket:
            try:
                websocket.finish_handshake()
            except ConnectionError:
                if websocket.status is None:
                    raise
                self._count(websocket.status)
                return
            while not self.stopping.is_set():
                websocket.send(TEXT, b"load")
                opcode, payload = websocket.receive()
                if opcode == CLOSE:
                    with self.lock:
                        self.codes.append(int.from_bytes(payload[:2], "big"))
                    websocket.send(CLOSE, payload[:2])
                    return
                assert (opcode, payload) == (TEXT, b"load")
                with self.lock:
                    self.echoes += 1

    def goes_on(self, count=50, seconds=15):
        """Waits until so many more requests were answered, and some messages."""
        answers, echoes = self.answers + count, self.echoes + 2
        wait_until(lambda: self.answers >= answers and self.echoes >= echoes, seconds, f"{count} more answers")

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(15)
            assert not thread.is_alive(), "a client hangs"

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stop()
