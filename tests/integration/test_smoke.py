# SPDX-License-Identifier: BSD-3-Clause
"""One request and one message through every layer."""

import urllib.request

from websockets.sync.client import connect


def test_http_request_is_answered(serve):
    server = serve("echo:application")
    with urllib.request.urlopen(server.url + "/hello?x=1", timeout=5) as response:
        assert response.status == 200
        assert response.read() == b"GET /hello x=1"
    server.access_has(rb'"GET /hello\?x=1" 200 14\n')


def test_websocket_message_comes_back(serve):
    server = serve("echo:application")
    with connect(server.ws_url + "/", compression=None) as websocket:
        websocket.send("héllo")
        assert websocket.recv(timeout=5) == "héllo"
        websocket.send(b"\x00\xff")
        assert websocket.recv(timeout=5) == b"\x00\xff"
