# SPDX-License-Identifier: BSD-3-Clause
"""Messages and frames, both ways: sizes and their ceilings, pieces, broken frames, closes."""

import hashlib
import os

import pytest
from server import Channelsd
from ws_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closed,
    RawWebSocket,
    close_payload,
    events,
    frame,
    get,
)

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server():
    with Channelsd("ws_probe:application", "--edge-loops", 1) as server:
        yield server


def ws(server, path="/echo", **keywords):
    return RawWebSocket(("127.0.0.1", server.port), path, **keywords)


def digest_of(kind, data):
    return f"{kind} {len(data)} {hashlib.sha256(data).hexdigest()}"


# ---- content ----


@pytest.mark.parametrize("text", ["", "a", "héllo", "\x00", "日本語 🎉", "x" * 125, "x" * 126, "é" * 40000])
def test_text_comes_back(server, text):
    with ws(server) as client:
        client.text(text)
        assert client.message() == text


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 65537, 128 * 1024, MIB])
def test_bytes_come_back(server, size):
    data = os.urandom(size)
    with ws(server) as client:
        client.send(BINARY, data)
        assert client.message() == data


def test_event_has_only_the_key_that_applies(server):
    with ws(server, "/echo?id=keys") as client:
        client.text("a")
        client.send(BINARY, b"b")
        client.text("")
        client.send(BINARY)
        assert [client.message() for _ in range(4)] == ["a", b"b", "", b""]
    assert events(server, "keys", 5)[1:5] == [
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": {"bytes": "b"}},
        {"type": "websocket.receive", "text": ""},
        {"type": "websocket.receive", "bytes": {"bytes": ""}},
    ]


def test_messages_of_all_sizes_keep_their_order(server):
    sizes = [1, 70000, 0, 200000, 3, 65536, 100, 500000]
    with ws(server, "/digest") as client:
        for size in sizes:
            client.send(BINARY, b"z" * size)
        for size in sizes:
            assert client.message() == digest_of("bytes", b"z" * size)


def test_text_larger_than_a_record_is_split_within_a_character_and_joined(server):
    for shift in range(3):
        text = "a" * shift + "日" * 50000
        with ws(server) as client:
            client.text(text)
            assert client.message() == text


def test_message_byte_by_byte(server):
    with ws(server) as client:
        for byte in frame(TEXT, "één".encode()) + frame(PING, b"p") + frame(BINARY, b"\x00\xff"):
            client.sock.sendall(bytes([byte]))
        # The pong leaves when the ping is read, the echo when the application has sent it.
        got = [client.frame() for _ in range(3)]
        assert sorted(got) == sorted([(True, TEXT, "één".encode()), (True, PONG, b"p"), (True, BINARY, b"\x00\xff")])


# ---- ceilings ----


def test_message_of_one_mebibyte_and_one_byte_more(server):
    with ws(server, "/digest?id=ceiling") as client:
        client.send(TEXT, b"t" * MIB)
        assert client.message() == digest_of("text", b"t" * MIB)
        client.sock.sendall(frame(TEXT, b"t" * 100, length=MIB + 1))
        assert client.closing() == (1009, "frame too big")
        assert client.ended()
    assert events(server, "ceiling", 2)[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def test_fragments_over_the_ceiling_of_a_message_are_refused_by_their_header(server):
    with ws(server) as client:
        client.send(TEXT, b"t" * (MIB - 1), fin=False)
        client.send(CONTINUATION, b"t", fin=False)
        client.send(CONTINUATION, b"", fin=False)
        client.sock.sendall(frame(CONTINUATION, b"", length=1)[:6])
        assert client.closing() == (1009, "message too big")


def test_client_that_goes_on_sending_still_reads_why_it_was_refused(server):
    """A close with unread input behind it would be a reset that takes the close frame with it."""
    with ws(server) as client:
        client.sock.sendall(frame(BINARY, b"b" * (MIB + 1)))
        assert client.closing() == (1009, "frame too big")
        assert client.ended()


@pytest.mark.parametrize(
    ("options", "passes", "refused"),
    [
        (["--websocket-max-message-size", "1000"], [[1000], [400, 600]], [[1001], [400, 601]]),
        (["--websocket-max-frame-size", "1000"], [[1000], [1000, 1000]], [[1001], [1000, 1001]]),
        (
            ["--websocket-max-frame-size", "10", "--websocket-max-message-size", "20"],
            [[10], [10, 10]],
            [[11], [10, 10, 1]],
        ),
        (["--websocket-max-message-size", "0", "--websocket-max-frame-size", "0"], [[3 * MIB], [MIB, MIB]], []),
        (["--websocket-max-message-size", "0"], [[MIB], [MIB, MIB]], [[MIB + 1]]),
    ],
)
def test_ceiling_options(serve, options, passes, refused):
    server = serve("ws_probe:application", *options)
    for sizes in passes:
        with ws(server, "/digest") as client:
            send_fragments(client, sizes)
            assert client.message() == digest_of("bytes", b"b" * sum(sizes))
    for sizes in refused:
        with ws(server, "/digest") as client:
            send_fragments(client, sizes)
            assert client.closing()[0] == 1009


def send_fragments(client, sizes):
    for number, size in enumerate(sizes):
        client.send(CONTINUATION if number else BINARY, b"b" * size, fin=number == len(sizes) - 1)


# ---- fragments ----


def test_control_frames_between_fragments_are_answered_at_once(server):
    with ws(server) as client:
        client.send(TEXT, b"one ", fin=False)
        client.send(PING, b"first")
        assert client.frame() == (True, PONG, b"first")
        client.send(CONTINUATION, b"", fin=False)
        client.send(PONG, b"unasked")
        client.send(CONTINUATION, b"two", fin=False)
        client.send(PING)
        assert client.frame() == (True, PONG, b"")
        client.send(CONTINUATION)
        assert client.message() == "one two"


def test_fragments_of_a_byte_make_one_message(server):
    data = os.urandom(20000)
    program = b"".join(
        frame(CONTINUATION if i else BINARY, data[i : i + 1], fin=i == len(data) - 1) for i in range(len(data))
    )
    with ws(server, "/digest") as client:
        client.sock.sendall(program)
        assert client.message() == digest_of("bytes", data)


def test_character_split_over_fragments(server):
    encoded = "日🎉".encode()
    with ws(server) as client:
        for i in range(len(encoded)):
            client.send(CONTINUATION if i else TEXT, encoded[i : i + 1], fin=i == len(encoded) - 1)
        assert client.message() == "日🎉"


# ---- broken frames ----


@pytest.mark.parametrize(
    ("why", "sent", "code"),
    [
        ("unmasked", frame(TEXT, b"a", mask=None), 1002),
        ("rsv1", frame(TEXT, b"a", rsv=4), 1002),
        ("rsv2", frame(TEXT, b"a", rsv=2), 1002),
        ("rsv3", frame(PING, b"a", rsv=1), 1002),
        ("opcode 3", frame(3, b"a"), 1002),
        ("opcode 7", frame(7, b"a"), 1002),
        ("opcode 11", frame(11, b"a"), 1002),
        ("opcode 15", frame(15, b"a"), 1002),
        ("ping of 126", frame(PING, b"a" * 126), 1002),
        ("ping in fragments", frame(PING, b"a", fin=False), 1002),
        ("close in fragments", frame(CLOSE, close_payload(1000), fin=False), 1002),
        ("continuation of nothing", frame(CONTINUATION, b"a"), 1002),
        ("text within a message", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        ("length in 16 bits for 125", frame(TEXT, b"a" * 125, form=16), 1002),
        ("length in 64 bits for 65535", frame(TEXT, b"a" * 65535, form=64), 1002),
        ("length of 2^63", frame(TEXT, b"", length=1 << 63, form=64), 1002),
        ("bad utf-8", frame(TEXT, b"\xff"), 1007),
        ("surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("overlong", frame(TEXT, b"\xc0\xaf"), 1007),
        ("above U+10FFFF", frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
        ("text ends within a character", frame(TEXT, b"\xe6\x97"), 1007),
        ("close of one byte", frame(CLOSE, b"\x03"), 1002),
        ("close reason not utf-8", frame(CLOSE, close_payload(1000, b"\xff")), 1007),
        ("close of 126", frame(CLOSE, close_payload(1000, b"a" * 124)), 1002),
    ],
)
def test_broken_frame_gets_a_close_frame_with_its_code(server, why, sent, code):
    with ws(server, f"/echo?id=broken-{why.replace(' ', '-')}") as client:
        client.sock.sendall(sent)
        got, reason = client.closing()
        assert (got, bool(reason)) == (code, True)
        assert client.ended()
    last = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert events(server, f"broken-{why.replace(' ', '-')}", 2)[-1] == last


def test_bad_utf8_is_told_before_the_message_ends(server):
    with ws(server) as client:
        client.send(TEXT, b"good \xce\xba", fin=False)
        client.send(CONTINUATION, b"\xe1\xbd", fin=False)
        # Within an unfinished frame of which the rest never comes.
        client.sock.sendall(frame(CONTINUATION, b"\xf5" + b"x" * 100)[:20])
        assert client.closing()[0] == 1007


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_code_that_may_not_be_sent_is_answered_with_1002(server, code):
    with ws(server) as client:
        client.close(code)
        assert client.closing()[0] == 1002


# ---- closes of the client ----


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_is_echoed_and_told(server, code):
    with ws(server, f"/echo?id=close-{code}") as client:
        client.close(code, "why é".encode())
        assert client.closing() == (code, "why é")
        assert client.ended()
    assert events(server, f"close-{code}", 2)[1] == {"type": "websocket.disconnect", "code": code, "reason": "why é"}


def test_close_with_the_longest_reason(server):
    with ws(server) as client:
        client.close(1000, b"r" * 123)
        assert client.closing() == (1000, "r" * 123)


def test_close_without_a_code_is_1005_to_the_application(server):
    with ws(server, "/echo?id=no-code") as client:
        client.send(CLOSE)
        assert client.closing() == (None, "")
        assert client.ended()
    assert events(server, "no-code", 2)[1] == {"type": "websocket.disconnect", "code": 1005, "reason": ""}


@pytest.mark.parametrize("how", ["reset", "end of stream"])
def test_loss_of_tcp_is_1006_to_the_application(server, how):
    client = ws(server, f"/echo?id=lost-{how.split()[0]}")
    client.text("a")
    assert client.message() == "a"
    if how == "reset":
        client.drop()
    else:
        client.sock.close()
    last = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert events(server, f"lost-{how.split()[0]}", 3)[2] == last


def test_messages_before_a_close_are_delivered_first(server):
    with ws(server, "/slow-receive?id=before-close") as client:
        assert client.message() == "accepted"
        program = b"".join(frame(TEXT, str(i).encode()) for i in range(100))
        client.sock.sendall(program + frame(CLOSE, close_payload(4000)))
        assert client.closing() == (4000, "")
        assert client.ended()
    get(server, "/open?id=before-close")
    got = events(server, "before-close", 102)
    assert [event.get("text") for event in got if event["type"] == "websocket.receive"] == [str(i) for i in range(100)]


def test_what_stands_behind_a_close_frame_is_ignored(server):
    with ws(server, "/echo?id=behind-close") as client:
        client.sock.sendall(frame(CLOSE, close_payload(1000)) + frame(TEXT, b"late") + frame(3, b"bad"))
        assert client.closing() == (1000, "")
        assert client.ended()
    assert len(events(server, "behind-close", 2)) == 2


def test_client_that_closes_while_the_application_sends(server):
    with ws(server, "/pour?id=close-in-pour&size=10000&count=1000000") as client:
        for _ in range(20):
            client.message()
        client.close(4005, b"enough")
        with pytest.raises(Closed):
            while True:
                client.frame()
    connect, raised, sent, end = events(server, "close-in-pour", 4)
    assert raised["os_error"]
    assert end == {"type": "websocket.disconnect", "code": 4005, "reason": "enough"}


# ---- the application's messages ----


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536, 65537, 300000])
def test_message_of_the_application_arrives_whole(server, size):
    with ws(server, f"/pour?size={size}&count=3") as client:
        for number in range(3):
            assert client.message() == (b"%08d" % number).ljust(size, b".")
