# SPDX-License-Identifier: BSD-3-Clause
"""What the layer raises beside channels.exceptions.ChannelFull, and the exception for each code of an answer."""


class ChannelLayerUnavailable(ConnectionError):
    """The node, or the Redis behind it, cannot be reached. `maybe_sent`: whether the call may have had its effect all the
    same; without it, it may be repeated."""

    def __init__(self, text, maybe_sent=False):
        super().__init__(text)
        self.maybe_sent = maybe_sent


class ChannelLayerTimeout(TimeoutError):
    """No answer in time: it is not known whether the message was sent."""

    maybe_sent = True


class ChannelLayerRefused(TypeError, ValueError):
    """A name, a message or a setting that the node does not take."""


class ChannelLayerUnsupported(NotImplementedError):
    """Not with this backend."""


class ChannelLayerError(RuntimeError):
    """Anything else that the node could not do; the text is its own."""


# Codes of REPLY (docs/layer-protocol.md), and two of this side.
FULL, INVALID, UNAVAILABLE, TIMED_OUT, CLOSED, UNSUPPORTED, FAILED = range(1, 8)
LOST = -1  # the connection ended before the answer
NO_ANSWER = -2  # the node itself did not answer in time

_OF_CODE = {
    INVALID: ChannelLayerRefused,
    UNAVAILABLE: ChannelLayerUnavailable,
    TIMED_OUT: ChannelLayerTimeout,
    CLOSED: ChannelLayerUnavailable,
    UNSUPPORTED: ChannelLayerUnsupported,
    NO_ANSWER: ChannelLayerTimeout,
}


def error_of(code, value, name=None):
    """The exception for an answer that is not 0. `name`: the channel that would be full."""
    if code == FULL:
        from channels.exceptions import ChannelFull

        return ChannelFull(name)
    if code == LOST:
        return ChannelLayerUnavailable(value, maybe_sent=True)
    return _OF_CODE.get(code, ChannelLayerError)(value or f"the channel layer's node answered with code {code}")
