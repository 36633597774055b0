"""Our own stdin, stdout and stderr, which may be files, pipes or terminals, and may block.

Strategy: each descriptor that is used gets a thread that blocks in its place. Making them
non-blocking instead would change them for every other process that shares them, such as the
shell that started us, and files can't be waited for at all.

Hazard: a thread that is blocked in a read can't be stopped. The threads are daemons, and the
program ends over their heads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import select
import threading

BLOCK = 240 * 1024
_AHEAD = 2  # blocks read before anybody asked
_BEHIND = 4 * BLOCK  # bytes handed to the writer and not yet written
_PIPE = 1024 * 1024
_LAST_SECONDS = 2.0
_PIECE = 16 * 1024  # of a block that a terminal is given at once: it may be slow, and we leave


class InputDescriptor:
    """Reads blocks from a descriptor. Nothing is read before the first call of `read`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._permits = threading.Semaphore(_AHEAD)
        self._thread: threading.Thread | None = None
        self._ended = False

    async def read(self) -> bytes:
        """Return the next block, b"" at the end and ever after. Cancelling loses nothing."""
        if self._ended:
            return b""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        block = await self._blocks.get()
        self._ended = not block
        self._permits.release()
        return block

    def _work(self) -> None:
        grow_pipe(self._fd)
        block = b"."
        while block:
            self._permits.acquire()
            try:
                block = _read_waiting(self._fd)
            except OSError:
                block = b""  # closed, or a terminal that has gone: its end
            try:
                self._loop.call_soon_threadsafe(self._blocks.put_nowait, block)
            except RuntimeError:
                return  # the loop has ended


class OutputDescriptor:
    """Writes blocks to a descriptor, in order."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._blocks: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pending = 0
        self._handed = self._written = 0  # bytes; the latter is the thread's to count
        self._given_up = 0  # how often what waited then was given up
        self._error: OSError | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def pending(self) -> int:
        """How many bytes were handed on and not written, for ever after an error."""
        return self._handed - self._written

    async def write(self, block: bytes) -> None:
        """Hand on `block`, waiting while much is unwritten.

        Raises the OSError of an earlier write, BrokenPipeError when nobody reads any more.
        """
        while self._pending >= _BEHIND and self._error is None:
            await self._change()
        if self._error is not None:
            raise self._error
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._pending += len(block)
        self._handed += len(block)
        self._blocks.put((self._given_up, block))

    async def drain(self) -> None:
        """Wait until all is written. Raises as `write` does."""
        while self._pending and self._error is None:
            await self._change()
        if self._error is not None:
            raise self._error

    async def finish(self, last: bytes = b"") -> None:
        """Write what waits and then `last`, 2 s for each: who is slower, or has gone, goes without.

        For the ways out on which something must not be overtaken by what was handed on before.
        What could not be written by then will not be. A slow reader so still gets `last`.
        """
        await self._try_to_write(b"")
        if last:
            await self._try_to_write(last)

    async def _try_to_write(self, block: bytes) -> None:
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                if block:
                    await self.write(block)
                await self.drain()
        except (TimeoutError, OSError):
            self._given_up += 1

    def _work(self) -> None:
        grow_pipe(self._fd)
        size = _PIECE if os.isatty(self._fd) else BLOCK
        while True:
            since, block = self._blocks.get()
            error: OSError | None = None
            view = memoryview(block)
            while view and since == self._given_up:
                try:
                    written = os.write(self._fd, view[:size])
                    self._written += written
                    view = view[written:]
                except BlockingIOError:
                    _wait(self._fd, select.POLLOUT)  # somebody else made it non-blocking
                except OSError as caught:
                    error = caught
                    break
            try:
                self._loop.call_soon_threadsafe(self._note, len(block), error)
            except RuntimeError:
                return  # the loop has ended
            if error is not None:
                return

    def _note(self, size: int, error: OSError | None) -> None:
        self._pending -= size
        self._error = error
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = self._loop.create_future()
        await asyncio.shield(self._changed)  # another task may wait for it, too


def grow_pipe(fd: int) -> None:
    """Ask for a larger pipe where `fd` is one; fewer turns move the same bytes."""
    command = getattr(fcntl, "F_SETPIPE_SZ", None)
    if command is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, command, _PIPE)


def _read_waiting(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, BLOCK)
        except BlockingIOError:
            _wait(fd, select.POLLIN)  # somebody else made it non-blocking


def _wait(fd: int, what: int) -> None:
    poll = select.poll()
    poll.register(fd, what)
    poll.poll()
