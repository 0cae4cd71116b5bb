# SPDX-License-Identifier: BSD-3-Clause
"""What may stand between a program and its Redis: a way that is slow, narrow, stuck, or cut."""

import asyncio
import socket
import struct
import threading


class RedisProxy:
    """`with RedisProxy(port) as proxy:` forwards proxy.port to that port of this host.

    delay: seconds that each piece travels, each way (pieces travel side by side, as on a long line).
    piece: bytes that go on at once; the rest follows in pieces of that size. 0: as they come.
    rewrite: (bytes, other bytes) of what the server says, when one piece of it has them whole.
    They may be changed at any time. `bytes_in` and `bytes_out` count what clients sent and got.
    """

    def __init__(self, target, delay=0.0, piece=0, rewrite=(b"\0", b"\0")):
        self.target = target
        self.rewrite = rewrite
        self.delay = delay
        self.piece = piece
        self.bytes_in = self.bytes_out = 0
        self._open = threading.Event()
        self._open.set()
        self._writers = set()
        self._tasks = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_):
        self.release()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def connections(self):
        """How many clients are connected."""
        return len(self._writers) // 2

    def hold(self):
        """Nothing goes on until release()."""
        self._open.clear()

    def release(self):
        self._open.set()

    def cut(self):
        """Resets every connection; new ones are taken. Returns when it is done."""
        done = threading.Event()

        def reset():
            for writer in self._writers:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(reset)
        assert done.wait(10), "the proxy hangs"

    async def _run(self):
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader, writer):
        if self._end.is_set():
            writer.transport.abort()
            return
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)

        def ended(_):  # also one that was cancelled before it began
            self._tasks.discard(task)
            writer.transport.abort()

        task.add_done_callback(ended)

    async def _serve(self, reader, writer):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # as if this port were that one: not listening
            return
        writers = {writer, back}
        self._writers |= writers
        try:
            await asyncio.gather(self._forward(reader, back, True), self._forward(there, writer, False))
        except OSError:
            pass  # the other side is told by closing it
        finally:
            self._writers -= writers
            back.transport.abort()

    async def _forward(self, reader, writer, is_request):
        line = asyncio.Queue(1000)
        pump = asyncio.ensure_future(self._deliver(line, writer))
        try:
            while data := await reader.read(65536):
                if is_request:
                    self.bytes_in += len(data)
                else:
                    self.bytes_out += len(data)
                    data = data.replace(*self.rewrite)
                put = asyncio.ensure_future(line.put((self._loop.time() + self.delay, data)))
                await asyncio.wait([put, pump], return_when=asyncio.FIRST_COMPLETED)
                if pump.done():
                    put.cancel()
                    break
            await line.put(None)
            await pump
        finally:
            pump.cancel()
        # The end of one way is the end of both here: Redis knows no half-closed connections.
        writer.transport.abort()
        raise ConnectionResetError

    async def _deliver(self, line, writer):
        while item := await line.get():
            due, data = item
            while (left := due - self._loop.time()) > 0:
                await asyncio.sleep(left)
            size = self.piece or len(data)
            for at in range(0, len(data), size):
                while not self._open.is_set():
                    await asyncio.sleep(0.005)
                if writer.transport.is_closing():
                    raise ConnectionResetError
                writer.write(data[at : at + size])
                await writer.drain()
                if self.piece:
                    await asyncio.sleep(0)
