# SPDX-License-Identifier: BSD-3-Clause
"""RFC 6455 frame by frame: each row is what a client sends and all that the server answers, through a real application
that echoes. The sections follow those of the Autobahn test suite; bytes are written by hand from the RFC."""

import pytest
from server import APPS, Channelsd
from ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawWebSocket, close_payload, frame

MASK = b"\x37\xfa\x21\x3d"


@pytest.fixture(scope="module")
def server():
    with Channelsd("echo:application", "--edge-loops", 1, cwd=APPS) as server:
        yield server


def open_client(server):
    return RawWebSocket(("127.0.0.1", server.port))


def answers(client):
    """All frames until the server ends the connection."""
    got = []
    while True:
        got.append(client.frame())
        if got[-1][1] == CLOSE:
            assert client.data == b""
            assert client.ended()
            return got


def text(payload):
    return (True, TEXT, payload)


def binary(payload):
    return (True, BINARY, payload)


def pong(payload):
    return (True, PONG, payload)


END = frame(CLOSE, close_payload(1000))
ENDED = (True, CLOSE, close_payload(1000))


def check(server, sent, want, how="whole"):
    """Sends, ends with a normal close once all answers but the last came, and compares. Echoes of the application may
    be overtaken by pongs, which the server makes itself: kinds are compared apart."""
    with open_client(server) as client:
        if how == "whole":
            client.sock.sendall(sent)
        else:
            for byte in sent:
                client.sock.sendall(bytes([byte]))
        got = [client.frame() for _ in want]
        for kind in ((TEXT, BINARY), (PONG,)):
            assert [f for f in got if f[1] in kind] == [f for f in want if f[1] in kind]
        client.sock.sendall(END)
        assert answers(client) == [ENDED]


# ---- §5.7, the examples of the RFC, as the bytes that it prints ----


@pytest.mark.parametrize("how", ["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("sent", "want"),
    [
        pytest.param(
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [text(b"Hello")], id="a single-frame masked text message"
        ),
        pytest.param(
            b"\x01\x83" + MASK + b"\x7f\x9f\x4d" + b"\x80\x82" + MASK + b"\x5b\x95",
            [text(b"Hello")],
            id="a fragmented text message",
        ),
        pytest.param(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [pong(b"Hello")], id="a ping and its pong"),
        pytest.param(
            b"\x82\xfe\x01\x00\x00\x00\x00\x00" + b"\x61" * 256, [binary(b"a" * 256)], id="256 bytes in one frame"
        ),
    ],
)
def test_examples_of_section_5_7(server, sent, want, how):
    check(server, sent, want, how)


def test_64_kibibytes_in_one_frame(server):
    sent = b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"\x61" * 65536
    check(server, sent, [binary(b"a" * 65536)])


def test_server_writes_the_shortest_length_and_no_mask(server):
    with open_client(server) as client:
        for size, head in [
            (5, b"\x82\x05"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65535, b"\x82\x7e\xff\xff"),
            (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ]:
            client.send(BINARY, b"b" * size)
            data = b""
            while len(data) < len(head) + size:
                data += client.sock.recv(65536)
            assert data == head + b"b" * size


# ---- 1: framing ----


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65535, 65536])
def test_1_payloads(server, opcode, size):
    check(server, frame(opcode, b"*" * size), [(True, opcode, b"*" * size)])


def test_1_mask_of_zeros(server):
    check(server, frame(TEXT, b"plain", mask=b"\0\0\0\0"), [text(b"plain")])


# ---- 2: pings and pongs ----


@pytest.mark.parametrize("how", ["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("sent", "want"),
    [
        pytest.param(frame(PING), [pong(b"")], id="2.1"),
        pytest.param(frame(PING, b"Hello, world!"), [pong(b"Hello, world!")], id="2.2"),
        pytest.param(frame(PING, bytes([0, 0xFF, 0xFE, 0xFD])), [pong(bytes([0, 0xFF, 0xFE, 0xFD]))], id="2.3"),
        pytest.param(frame(PING, b"\xfe" * 125), [pong(b"\xfe" * 125)], id="2.4"),
        pytest.param(frame(PONG), [], id="2.7 unasked pong"),
        pytest.param(frame(PONG, b"unasked"), [], id="2.8 unasked pong"),
        pytest.param(frame(PONG, b"x") + frame(PING, b"y"), [pong(b"y")], id="2.9"),
        pytest.param(
            b"".join(frame(PING, b"%d" % i) for i in range(10)), [pong(b"%d" % i) for i in range(10)], id="2.10"
        ),
    ],
)
def test_2_pings(server, sent, want, how):
    check(server, sent, want, how)


# ---- 3, 4, 5, 7: what is broken ----


BROKEN = [
    *(("3 rsv %d" % rsv, frame(TEXT, b"small frame", rsv=rsv), 1002) for rsv in range(1, 8)),
    ("3 rsv of a ping", frame(PING, b"x", rsv=1), 1002),
    ("3 rsv of a close", frame(CLOSE, rsv=7), 1002),
    *(("4 opcode %d" % opcode, frame(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *(("4 opcode %d with payload" % opcode, frame(opcode, b"x"), 1002) for opcode in (3, 11)),
    ("2.5 ping of 126", frame(PING, b"\xfe" * 126), 1002),
    ("2.5 pong of 126", frame(PONG, b"\xfe" * 126), 1002),
    ("5.1 ping in two", frame(PING, b"one", fin=False) + frame(CONTINUATION, b"two"), 1002),
    ("5.2 pong in two", frame(PONG, b"one", fin=False) + frame(CONTINUATION, b"two"), 1002),
    ("5.9 continuation of nothing", frame(CONTINUATION, b"x"), 1002),
    ("5.10 continuation of nothing, not the last", frame(CONTINUATION, b"x", fin=False), 1002),
    ("5.18 two beginnings", frame(TEXT, b"one", fin=False) + frame(TEXT, b"two"), 1002),
    ("5.18 two beginnings of two kinds", frame(TEXT, b"one", fin=False) + frame(BINARY, b"two"), 1002),
    ("unmasked text", frame(TEXT, b"x", mask=None), 1002),
    ("unmasked close", frame(CLOSE, close_payload(1000), mask=None), 1002),
    ("length not the shortest, 16 bits", frame(BINARY, b"x" * 125, form=16), 1002),
    ("length not the shortest, 64 bits", frame(BINARY, b"x" * 126, form=64), 1002),
    ("length with the highest bit", frame(BINARY, length=1 << 63, form=64), 1002),
    ("7.3.2 close of one byte", frame(CLOSE, b"\x03"), 1002),
    ("7.3.6 close of 126", frame(CLOSE, close_payload(1000, b"*" * 124)), 1002),
    ("7.5 reason not UTF-8", frame(CLOSE, close_payload(1000, b"\xce\xba\xff")), 1007),
    *(
        ("7.9 close code %d" % code, frame(CLOSE, close_payload(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
]


@pytest.mark.parametrize("how", ["whole", "byte by byte"])
@pytest.mark.parametrize(("sent", "code"), [pytest.param(sent, code, id=why) for why, sent, code in BROKEN])
def test_broken_frames_fail_the_connection_with_a_code(server, sent, code, how):
    with open_client(server) as client:
        if how == "whole":
            client.sock.sendall(sent)
        else:
            try:
                for byte in sent:
                    client.sock.sendall(bytes([byte]))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was refused before its end
        got = answers(client)
    assert [f[1] for f in got] == [CLOSE]
    assert int.from_bytes(got[0][2][:2], "big") == code


def test_broken_frame_behind_messages_leaves_their_order(server):
    """What the application had before is echoed or not, but never out of order and never behind the close."""
    with open_client(server) as client:
        client.sock.sendall(b"".join(frame(TEXT, b"%d" % i) for i in range(5)) + frame(3))
        got = answers(client)
    assert got[-1][2][:2] == close_payload(1002)
    assert got[:-1] == [text(b"%d" % i) for i in range(len(got) - 1)]


# ---- 5: fragments ----


@pytest.mark.parametrize("how", ["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("sent", "want"),
    [
        pytest.param(frame(TEXT, b"frag1", fin=False) + frame(CONTINUATION, b"frag2"), [text(b"frag1frag2")], id="5.3"),
        pytest.param(
            frame(TEXT, b"frag1", fin=False) + frame(PING, b"ping") + frame(CONTINUATION, b"frag2"),
            [pong(b"ping"), text(b"frag1frag2")],
            id="5.6 ping between",
        ),
        pytest.param(
            b"".join(
                [
                    frame(TEXT, b"f1", fin=False),
                    frame(CONTINUATION, b"f2", fin=False),
                    frame(PING, b"p1"),
                    frame(CONTINUATION, b"f3", fin=False),
                    frame(CONTINUATION, b"f4", fin=False),
                    frame(PING, b"p2"),
                    frame(CONTINUATION, b"f5"),
                ]
            ),
            [pong(b"p1"), pong(b"p2"), text(b"f1f2f3f4f5")],
            id="5.19 pings between",
        ),
        pytest.param(
            frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION), [text(b"")], id="6.1.2 empty"
        ),
        pytest.param(
            frame(TEXT, fin=False) + frame(CONTINUATION, b"middle", fin=False) + frame(CONTINUATION),
            [text(b"middle")],
            id="6.1.3 empty at both ends",
        ),
        pytest.param(
            frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xfe"), [binary(b"\xff\xfe")], id="binary"
        ),
    ],
)
def test_5_fragments(server, sent, want, how):
    check(server, sent, want, how)


# ---- 6: UTF-8 ----


VALID = [
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\x00",
    "\x7f",
    "\x80",
    "߿",
    "ࠀ",
    "\ud7ff",
    "\ue000",
    "�",
    "￿",
    "\U00010000",
    "\U0010ffff",
    "￾￿\U0001fffe",  # noncharacters are characters here
    "\u200b",
    "a\u0308",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # 6.3.1
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0 ",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xed\xad\xbf",
    b"\xed\xae\x80\xed\xb0\x80",
    b"\xfe",
    b"\xff",
    b"\xf5\x80\x80\x80",
    b"\xc3\x28",
    b"\xe2\x82\x28",
    b"\xf0\x9f\x28\x80",
]
CUT = [b"\xce", b"\xe1\xbd", b"\xf0\x9f\x8e", b"ok\xc3"]


@pytest.mark.parametrize("content", [value.encode() for value in VALID])
def test_6_valid_utf8(server, content):
    check(server, frame(TEXT, content), [text(content)])
    pieces = [frame(CONTINUATION if i else TEXT, content[i : i + 1], fin=False) for i in range(len(content))]
    check(server, b"".join(pieces) + frame(CONTINUATION), [text(content)])


@pytest.mark.parametrize("content", INVALID + CUT)
@pytest.mark.parametrize("how", ["whole", "fragments of a byte"])
def test_6_invalid_utf8(server, content, how):
    if how == "whole":
        sent = frame(TEXT, content)
    else:
        pieces = [frame(CONTINUATION if i else TEXT, content[i : i + 1], fin=False) for i in range(len(content))]
        sent = b"".join(pieces) + frame(CONTINUATION)
    with open_client(server) as client:
        client.sock.sendall(sent)
        got = answers(client)
    assert [(f[1], f[2][:2]) for f in got] == [(CLOSE, close_payload(1007))]


@pytest.mark.parametrize("content", INVALID)
def test_6_4_invalid_utf8_fails_before_its_message_ends(server, content):
    with open_client(server) as client:
        client.sock.sendall(frame(TEXT, content + b"more", length=1000))
        got = answers(client)
    assert [(f[1], f[2][:2]) for f in got] == [(CLOSE, close_payload(1007))]


# ---- 7: closes ----


@pytest.mark.parametrize(
    ("payload", "want"),
    [
        pytest.param(b"", b"", id="7.3.1 empty"),
        pytest.param(close_payload(1000), close_payload(1000), id="7.3.3"),
        pytest.param(close_payload(1000, b"Hello World!"), close_payload(1000, b"Hello World!"), id="7.3.4"),
        pytest.param(close_payload(1000, b"*" * 123), close_payload(1000, b"*" * 123), id="7.3.5"),
        *(
            pytest.param(close_payload(code), close_payload(code), id=f"7.7 code {code}")
            for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
        ),
    ],
)
def test_7_closes_are_echoed(server, payload, want):
    with open_client(server) as client:
        client.send(CLOSE, payload)
        assert answers(client) == [(True, CLOSE, want)]


@pytest.mark.parametrize(
    "behind", [frame(CLOSE, close_payload(1001)), frame(TEXT, b"late"), frame(PING, b"late"), frame(3), b"\xff" * 300]
)
def test_7_1_what_follows_a_close_is_ignored(server, behind):
    with open_client(server) as client:
        client.sock.sendall(END + behind)
        assert answers(client) == [ENDED]


def test_7_1_6_close_behind_a_large_message(server):
    with open_client(server) as client:
        client.sock.sendall(frame(TEXT, b"B" * 262144) + END + frame(PING))
        got = [client.frame()]
        while got[-1][1] != CLOSE:
            got.append(client.frame())
        assert got[-1] == ENDED
        assert client.ended()


def test_7_close_within_a_fragmented_message(server):
    with open_client(server) as client:
        client.sock.sendall(frame(TEXT, b"half", fin=False) + END)
        assert answers(client) == [ENDED]


# ---- 9: sizes and pieces ----


@pytest.mark.parametrize("size", [65536, 262144, 1048576])
@pytest.mark.parametrize("piece", [1000, 4096, 65536])
def test_9_large_messages_in_fragments(server, size, piece):
    data = bytes(range(256)) * (size // 256)
    with open_client(server) as client:
        for at in range(0, size, piece):
            client.send(CONTINUATION if at else BINARY, data[at : at + piece], fin=at + piece >= size)
        assert client.message() == data


# ---- 10: a message cut by the network ----


def test_10_frame_in_segments_of_1300_bytes(server):
    program = frame(TEXT, b"*" * 65536)
    with open_client(server) as client:
        for at in range(0, len(program), 1300):
            client.sock.sendall(program[at : at + 1300])
        assert client.message() == "*" * 65536
