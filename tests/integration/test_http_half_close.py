# SPDX-License-Identifier: BSD-3-Clause
"""A client that shuts its own side when the answer is under way still gets the rest of it."""

import contextlib
import socket

BYTES = 12 * 1024 * 1024


def test_rest_of_an_answer_goes_out_after_the_client_shut_its_side(serve):
    server = serve("large:application")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /?%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % BYTES)
        got = 0
        # In steps until the application is through, which the access log tells: what is left waits in the server.
        told = False
        while not told:
            for _ in range(64):
                got += len(client.recv(4096))
            with contextlib.suppress(AssertionError):
                told = bool(server.access_has(rb'"GET /', seconds=0.05))
        assert got < BYTES
        client.shutdown(socket.SHUT_WR)
        while chunk := client.recv(65536):
            got += len(chunk)
    assert got > BYTES
