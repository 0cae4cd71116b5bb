# SPDX-License-Identifier: BSD-3-Clause
"""A WebSocket application for tests: the path says how it behaves, `id` in the query under which name it keeps a record
of what happened. Over HTTP: /wait?id=&count= answers with the record as JSON once it has that many entries, /open?id=
opens a gate at which the application of that id waits, /ping answers at once."""

import asyncio
import hashlib
import json
from urllib.parse import parse_qs

records = {}
changed = None
gates = {}


def plain(value):
    """What an event or scope holds, as JSON: bytes as {"bytes": latin-1 text}, its first 256."""
    if isinstance(value, bytes):
        return {"bytes": value[:256].decode("latin-1")}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, list):
        return [plain(item) for item in value]
    assert value is None or isinstance(value, (str, int, bool)), type(value)
    return value


def record(id, entry):
    records.setdefault(id, []).append(entry)
    news().set()


def news():
    global changed
    if changed is None:
        changed = asyncio.Event()
    return changed


def gate(id):
    return gates.setdefault(id, asyncio.Event())


async def http(scope, receive, send):
    query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode()).items()}
    body = b"pong"
    if scope["path"] == "/open":
        gate(query["id"]).set()
    elif scope["path"] == "/wait":
        while len(records.get(query["id"], ())) < int(query["count"]):
            news().clear()
            await news().wait()
        body = json.dumps(records[query["id"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


class Peer:
    """receive() and send() that keep the record."""

    def __init__(self, scope, receive, send):
        self.scope = scope
        self.query = {
            key: values[-1] for key, values in parse_qs(scope["query_string"].decode(), keep_blank_values=True).items()
        }
        self.id = self.query.get("id")
        self._receive = receive
        self._send = send

    def note(self, entry):
        if self.id is not None:
            record(self.id, entry)

    async def receive(self):
        event = await self._receive()
        self.note(plain(event))
        return event

    async def send(self, kind, **keys):
        """Sends, and keeps the name of what is raised; True if nothing was."""
        try:
            await self._send({"type": kind, **keys})
        except Exception as error:
            self.note({"raised": type(error).__name__, "os_error": isinstance(error, OSError), "text": str(error)})
            return False
        return True

    async def accept(self, **keys):
        await self.receive()
        await self.send("websocket.accept", **keys)

    async def until_disconnect(self):
        while (await self.receive())["type"] != "websocket.disconnect":
            pass


async def show_scope(peer):
    await peer.accept()
    await peer.send("websocket.send", text=json.dumps(plain(peer.scope)))
    await peer.until_disconnect()


async def echo(peer):
    await peer.accept()
    while (event := await peer.receive())["type"] == "websocket.receive":
        await peer.send(**_echo_of(event))


def _echo_of(event):
    return {"kind": "websocket.send", **{key: value for key, value in event.items() if key != "type"}}


async def digest(peer):
    """Answers each message with its kind, length and SHA-256."""
    await peer.accept()
    while (event := await peer._receive())["type"] == "websocket.receive":
        kind = "text" if event.get("text") is not None else "bytes"
        data = event[kind].encode() if kind == "text" else event[kind]
        await peer.send("websocket.send", text=f"{kind} {len(data)} {hashlib.sha256(data).hexdigest()}")
    peer.note(plain(event))


async def choose(peer):
    subprotocol = peer.query.get("subprotocol")
    headers = [tuple(h.encode("latin-1").split(b"=", 1)) for h in peer.query.get("headers", "").split("|") if h]
    await peer.receive()
    if not await peer.send("websocket.accept", subprotocol=subprotocol, headers=headers):
        await peer.send("websocket.accept")
    await peer.until_disconnect()


async def close(peer):
    await peer.accept()
    keys = {}
    if "code" in peer.query:
        keys["code"] = int(peer.query["code"])
    if "reason" in peer.query:
        keys["reason"] = peer.query["reason"]
    if not await peer.send("websocket.close", **keys):
        await peer.send("websocket.close", code=4000)
    await peer.until_disconnect()


async def reject(peer):
    await peer.receive()
    await peer.send("websocket.close", code=4001, reason="no")
    await peer.receive()


async def deny(peer):
    await peer.receive()
    pieces = peer.query.get("body", "").split("|")
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"full")]
    await peer.send("websocket.http.response.start", status=int(peer.query.get("status", 429)), headers=headers)
    for number, piece in enumerate(pieces):
        more = number + 1 < len(pieces)
        await peer.send("websocket.http.response.body", body=piece.encode(), more_body=more)
        if more and "gate" in peer.query:
            await gate(f"{peer.id}-{number}").wait()
    await peer.receive()


async def raise_before(peer):
    await peer.receive()
    raise RuntimeError("before accept")


async def raise_after(peer):
    await peer.accept()
    raise RuntimeError("after accept")


async def return_before(peer):
    await peer.receive()


async def return_after(peer):
    await peer.accept()


async def silent(peer):
    await peer.receive()
    await peer.receive()


async def late_accept(peer):
    await gate(peer.id).wait()
    await peer.accept()
    await _echo_rest(peer)


async def _echo_rest(peer):
    while (event := await peer.receive())["type"] == "websocket.receive":
        await peer.send(**_echo_of(event))


async def gated(peer):
    """Reads nothing until its gate is open, then tells when `count` messages, each its own number, were all there."""
    await peer.accept()
    await gate(peer.id).wait()
    count = int(peer.query["count"])
    for number in range(count):
        event = await peer._receive()
        if event.get("bytes", b"")[:8] != b"%08d" % number:
            peer.note({"wrong": plain({"number": number, "event": event})})
            return
    peer.note({"complete": count})
    await peer.send("websocket.send", text="complete")
    await peer.until_disconnect()


async def pour(peer):
    """Sends `count` messages of `size` bytes, each beginning with its number; notes when the sends are through."""
    await peer.accept()
    size = int(peer.query["size"])
    for number in range(int(peer.query["count"])):
        if not await peer.send("websocket.send", bytes=(b"%08d" % number).ljust(size, b".")):
            break
    peer.note({"sent": number + 1})
    await peer.until_disconnect()


async def send_late(peer):
    """Waits for the disconnect, then sends; what is raised leaves the application."""
    await peer.accept()
    await peer.until_disconnect()
    await peer.send("websocket.send", text="late")
    await peer.send("websocket.close")
    await peer._send({"type": "websocket.send", "text": "later"})


async def close_then_send(peer):
    await peer.accept()
    await peer.send("websocket.close", code=4002)
    await peer.send("websocket.send", text="late")
    await peer.send("websocket.close")
    await peer.until_disconnect()
    await peer._send({"type": "websocket.send", "text": "later"})


async def slow_receive(peer):
    """Takes what came only once its gate is open."""
    await peer.accept()
    await peer.send("websocket.send", text="accepted")
    await gate(peer.id).wait()
    await peer.until_disconnect()


async def wrong_sends(peer):
    await peer.receive()
    await peer.send("websocket.send", text="too early")
    await peer.send("websocket.accept")
    await peer.send("websocket.accept")
    await peer.send("websocket.http.response.start", status=200)
    await peer.send("websocket.nonsense")
    await peer.send("websocket.send")
    await peer.send("websocket.send", text="a", bytes=b"b")
    await peer.send("websocket.send", text=b"bytes")
    await peer.send("websocket.send", bytes="text")
    await peer.send("websocket.send", text="\ud800")
    await peer.send("websocket.close", code=1005)
    await peer.send("websocket.close", code="1000")
    await peer.send("websocket.send", text="still alive")
    await peer.until_disconnect()


ways = {
    "/scope": show_scope,
    "/echo": echo,
    "/digest": digest,
    "/choose": choose,
    "/close": close,
    "/reject": reject,
    "/deny": deny,
    "/raise-before": raise_before,
    "/raise-after": raise_after,
    "/return-before": return_before,
    "/return-after": return_after,
    "/silent": silent,
    "/late-accept": late_accept,
    "/gated": gated,
    "/pour": pour,
    "/send-late": send_late,
    "/close-then-send": close_then_send,
    "/slow-receive": slow_receive,
    "/wrong-sends": wrong_sends,
}


async def application(scope, receive, send):
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        way = ways.get(scope["path"], show_scope)
        await way(Peer(scope, receive, send))
    else:
        raise NotImplementedError(scope["type"])
