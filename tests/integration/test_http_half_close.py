# SPDX-License-Identifier: BSD-3-Clause
"""A client that shuts its own side when the answer is under way still gets the rest of it."""

import contextlib
import socket
import time

import pytest

# On a unix socket the kernel holds little, so that a part of the answer waits in the server.
BYTES = 512 * 1024
STEP = 8 * 1024


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_rest_of_an_answer_goes_out_after_the_client_shut_its_side(serve, tmp_path, connection):
    path = str(tmp_path / "server.sock")
    server = serve("large:application", "-u", path, tcp=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(b"GET /?%d HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n" % (BYTES, connection))
        got = 0
        # In steps until the application is through, which the access log tells.
        told = False
        while not told:
            got += len(client.recv(STEP))
            with contextlib.suppress(AssertionError):
                told = bool(server.access_has(rb'"GET /', seconds=0.05))
        assert got < BYTES
        client.shutdown(socket.SHUT_WR)
        while chunk := client.recv(65536):
            got += len(chunk)
    assert got > BYTES


def test_client_that_shuts_its_side_behind_its_request_gets_the_answer(serve):
    server = serve("large:application")
    with server.connect() as client:
        client.sendall(b"GET /?20 HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n" + bytes(20))


def test_client_that_shuts_its_side_may_take_a_long_answer_slowly(serve, tmp_path):
    """Longer than an answer that does not come is awaited for it."""
    path = str(tmp_path / "server.sock")
    serve("large:application", "-u", path, tcp=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(b"GET /?%d HTTP/1.1\r\nHost: x\r\n\r\n" % (2 * BYTES))
        client.shutdown(socket.SHUT_WR)
        got = 0
        begin = time.monotonic()
        while time.monotonic() - begin < 1.5:
            got += len(client.recv(STEP))
            time.sleep(0.05)
        assert got < BYTES
        while chunk := client.recv(65536):
            got += len(chunk)
    assert got > 2 * BYTES


def test_application_hears_of_a_client_that_left_while_it_works(serve):
    server = serve("large:application")
    with server.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        server.access_has(r"waiting\n")
    server.access_has(r"http\.disconnect\n", seconds=3)
