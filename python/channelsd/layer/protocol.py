# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of the layer protocol, version 1 (docs/layer-protocol.md). Sizes are bytes."""

VERSION = 1

BODY_MAX = 16 * 1024 * 1024
RECORD_MAX = BODY_MAX + 64 * 1024
LAYERS_MAX = 64
BASES_MAX = 64
RECEIVES_MAX = 65536
REST_CHARS = 19  # what a peer appends to a base


class ToNode:
    """Operations that a peer sends."""

    HELLO = 0
    OPEN = 1
    SEND = 2
    GROUP_SEND = 3
    JOIN = 4
    LEAVE = 5
    GROUP_ADD = 6
    GROUP_DISCARD = 7
    RECEIVE = 8
    CANCEL = 9
    TAKEN = 10
    RETURN = 11
    MAILBOX = 12
    ACCEPTED = 13
    DROPPED = 14
    FLUSH = 15
    PING = 16
    GROUPS = 17
    STATS = 18
    LISTEN = 19


class FromNode:
    """Operations that the node sends."""

    HELLO = 0
    OPENED = 1
    REPLY = 2
    DELIVER = 3
    MESSAGE = 4
    ADD = 5
    DISCARD = 6
    FLUSHED = 7


class ProtocolError(Exception):
    """The node sent what the protocol does not allow; the connection ends."""


def check_hello(record):
    """Raises ProtocolError if the node speaks another version."""
    if record[1] != VERSION:
        raise ProtocolError(
            f"the node speaks version {record[1]} of the layer protocol, this package version {VERSION}: "
            "install the same release of channelsd for both"
        )
