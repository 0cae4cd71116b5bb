# SPDX-License-Identifier: BSD-3-Clause
"""The pace at which WebSockets are closed when the server ends: a handful at once, a crowd one after the other."""

import selectors
import signal
import time

from rawws import CLOSE, RawWebSocket

GOING_AWAY = 1001


def close_moments(websockets, began):
    """When each got its close frame (1001, answered), in seconds since `began`."""
    moments = []
    with selectors.DefaultSelector() as selector:
        for websocket in websockets:
            selector.register(websocket.socket, selectors.EVENT_READ, websocket)
        while selector.get_map():
            ready = selector.select(15)
            assert ready, f"{len(selector.get_map())} were never closed"
            for key, _ in ready:
                opcode, payload = key.data.receive()
                assert (opcode, payload) == (CLOSE, GOING_AWAY.to_bytes(2, "big") + b"server shutdown")
                moments.append(time.monotonic() - began)
                key.data.send(CLOSE, payload[:2])
                selector.unregister(key.fileobj)
                key.data.close()
    return moments


def end(server, websockets):
    websockets[-1].echo(b"accepted")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    return began, close_moments(websockets, began)


def test_handful_is_closed_at_once(serve):
    server = serve("echo:application", "--graceful-timeout", 30)
    websockets = [RawWebSocket(server) for _ in range(8)]
    began, moments = end(server, websockets)
    assert max(moments) < 1
    assert server.wait_exit(5) == 0
    assert time.monotonic() - began < 3


def test_crowd_is_closed_within_half_of_the_grace_and_not_at_once(serve):
    server = serve("echo:application", "--graceful-timeout", 8, "--edge-loops", 1)
    websockets = [RawWebSocket(server) for _ in range(400)]
    _, moments = end(server, websockets)
    assert max(moments) < 4
    assert max(moments) - min(moments) > 1  # 400 take two seconds
    busiest = max(sum(1 for m in moments if tenth / 10 <= m < tenth / 10 + 0.3) for tenth in range(40))
    assert busiest < len(moments) / 2
    assert server.wait_exit(5) == 0


def test_crowd_is_closed_faster_when_the_grace_is_short(serve):
    server = serve("echo:application", "--graceful-timeout", 2, "--edge-loops", 1)
    websockets = [RawWebSocket(server) for _ in range(400)]
    _, moments = end(server, websockets)
    assert max(moments) < 1.8  # one second is the plan
    assert server.wait_exit(5) == 0
    assert b"app.drain" not in server.stderr.data
