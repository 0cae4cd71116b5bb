# SPDX-License-Identifier: BSD-3-Clause
"""Records, which are arrays of msgpack, over one socket of one event loop: what both protocols of this package have in common.

In: everything the socket holds (at most READ_MAX) is fed to one unpacker and dispatched in the same loop turn. Who takes
the records out stops when the unpacker has told as many bytes as were fed: to ask it for one more raises an exception,
which costs as much as a record. Out: the records of a loop turn collect in one packer and leave in one system call at the
start of the next. While the socket is full they collect further: how much that can become is for the protocol to bound.
"""

import msgpack

READ_MAX = 256 * 1024  # bytes of one read
# A packer's buffer never shrinks by itself; one that grew beyond this is replaced.
KEEP_MAX = 1024 * 1024


def make_unpacker(record_max):
    """For records of at most `record_max` bytes."""
    return msgpack.Unpacker(
        raw=False,
        use_list=False,
        read_size=READ_MAX,
        max_buffer_size=READ_MAX + record_max,
        max_str_len=record_max,
        max_bin_len=record_max,
        max_array_len=record_max,
        max_map_len=0,
        max_ext_len=0,
    )


class RecordStream:
    """Subclasses bring _dispatch(), which takes the records out of _unpacker; _flush(), which calls _send(); _end(reason) for
    a socket that is gone, with END_OF_FILE when the other side has closed it; and violated(error) for records that break the
    protocol."""

    __slots__ = (
        "_backlog",  # bytes of earlier turns that the socket did not take
        "_buffer",
        "_fd",
        "_fed",  # bytes that _unpacker was fed since it was made, to compare with its tell()
        "_packer",
        "_socket",
        "_unpacker",
        "loop",
        "pack",  # appends a record; an error in it would lose the records before, so all content is checked first
        "scheduled",  # a flush will come without schedule()
    )

    def _attach(self, sock):
        """Takes over a connected socket that does not block."""
        self._socket = sock
        self._fd = sock.fileno()
        self._buffer = memoryview(bytearray(READ_MAX))

    def _clear(self, record_max):
        """Forgets what was on its way in both directions."""
        self._backlog = b""
        self.scheduled = False
        self._unpacker = make_unpacker(record_max)
        self._fed = 0
        self._new_packer()

    def _new_packer(self):
        self._packer = msgpack.Packer(autoreset=False)
        self.pack = self._packer.pack

    # Out

    def put(self, record):
        """Queues one record."""
        self.pack(record)
        if not self.scheduled:
            self.schedule()

    def schedule(self):
        self.scheduled = True
        self.loop.call_soon(self._flush)

    def _send(self):
        """One system call with what is queued; what the socket does not take becomes the backlog."""
        view = self._packer.getbuffer()
        size = len(view)
        if not size:
            view.release()
            return
        try:
            sent = self._socket.send(view)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            view.release()
            self._end(f"cannot write: {error}")
            return
        if sent < size:
            self._backlog = bytes(view[sent:])
            # What is put from now on waits for the socket, not for the next turn.
            self.scheduled = True
            self.loop.add_writer(self._fd, self._writable)
        view.release()
        if size > KEEP_MAX:
            self._new_packer()
        else:
            self._packer.reset()

    def _writable(self):
        try:
            sent = self._socket.send(self._backlog)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"cannot write: {error}")
            return
        self._backlog = self._backlog[sent:] if sent < len(self._backlog) else b""
        if not self._backlog:
            self.loop.remove_writer(self._fd)
            self._flush()

    # In

    def _readable(self):
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"cannot read: {error}")
            return
        if not count:
            self._end(self.END_OF_FILE)
            return
        try:
            self._fed += count
            self._unpacker.feed(self._buffer[:count])
            self._dispatch()
        except Exception as error:
            self.violated(error)
