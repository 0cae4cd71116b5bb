# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of the link protocol, version 1 (docs/link-protocol.md). Sizes are bytes."""

VERSION = 1

RECORD_MAX = 256 * 1024
PAYLOAD_MAX = 64 * 1024
WINDOW_BYTES = 64 * 1024
WINDOW_MESSAGES = 128

# Credit is given when this much has come together, or IDLE bytes once nothing more is queued.
CREDIT_BYTES = 32 * 1024
CREDIT_MESSAGES = 64
CREDIT_IDLE_BYTES = 16 * 1024

# Ids in one SEND_MANY: nine bytes each at most, so that a message of PAYLOAD_MAX has room beside them in RECORD_MAX.
MANY_MAX = 20_000

# Header names and values of one response. A START record carries them with up to PAYLOAD_MAX of body, so they must
# leave room for it in RECORD_MAX.
HEADERS_MAX = 128 * 1024
HEADERS_COUNT_MAX = 512


class FromEdge:
    """Operations that the edge sends."""

    HELLO = 0
    HTTP = 1
    BODY = 2
    WEBSOCKET = 3
    RECEIVE = 4
    PART = 5
    DISCONNECT = 6
    CREDIT = 7
    BEAT = 8
    SHUTDOWN = 9


class ToEdge:
    """Operations that the worker sends."""

    READY = 0
    START = 1
    BODY = 2
    ACCEPT = 3
    SEND = 4
    PART = 5
    CLOSE = 6
    CREDIT = 7
    BEAT = 8
    END = 9
    SEND_MANY = 10


class ProtocolError(Exception):
    """The edge sent what the protocol does not allow; the link ends."""


# Bytes of messages after which the records of a turn do not wait for its end.
EARLY_SIZE = 64 * 1024
