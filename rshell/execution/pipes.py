"""A command's pipes and terminal, read and written without blocking the loop.

A source listens only while its owner has room, reads once each time it is called, and hands on
what it read: the kernel's pipe is the only buffer. A pipe is grown when a read shows that it was
full, and not before. A user may hold 64 MiB in pipes by default, after which each new pipe is a
page or two, and a thousand idle commands must not hold a mebibyte each.

Where the other end moves small pieces at a time, being woken for each one costs more than moving
it. A pipe through which they come is therefore left alone for a millisecond (`Lull`).

Hazards:
- A background child may keep the write end open for ever. The end of a command's output is what
  is in the pipe when the leader has exited, not the end of file.
- A terminal holds more than FIONREAD tells: the kernel keeps output that did not fit into the
  line discipline. It is read until nothing is there, up to a bound, in case a child goes on.
- A pty's master reports EIO, not an end of file, once no slave is open.
- Source and sink own their descriptor and close it; for both ends of one pty, `os.dup` it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import sys
from collections.abc import Callable

from rshell.terminal.pty import bytes_waiting

# `fcntl` names it from Python 3.10 on.
_F_SETPIPE_SZ = 1031
_TERMINAL_READ = 2048  # bytes; whoever has so much at once has more, as a rule
_USUAL_PIPE = 64 * 1024
TERMINAL_DRAIN = 1024 * 1024  # more than a kernel keeps for one terminal
_WRITE_BLOCK = 256 * 1024
_SOON = 0.004  # seconds between two pieces of a stream
_PIECE = 4096  # bytes; what moves less at a time is no bulk
_WORTH = 64 * 1024  # bytes that a lull should gain
_VAIN = 16, 1024  # pieces without a lull, after the first that gained nothing and at most


def output_pipe() -> tuple[int, int]:
    """Make a pipe that we read: (our end, non-blocking; the command's end, blocking).

    Both are close-on-exec. Raises OSError when there are no descriptors left.
    """
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return ours, theirs


def input_pipe() -> tuple[int, int]:
    """Make a pipe that we write: (the command's end, blocking; our end, non-blocking).

    Both are close-on-exec. Raises OSError when there are no descriptors left.
    """
    theirs, ours = os.pipe()
    os.set_blocking(ours, False)
    return theirs, ours


class Lull:
    """Says when to leave a pipe alone: bulk data moves in pieces, and they come one by one.

    A lull that gains nothing, for whoever is at the other end waits for us, is not tried again
    for some pieces, and for twice as many each time. `is_on` says whether the last one was due.
    """

    SECONDS = 0.001  # an event loop knows no less

    def __init__(self) -> None:
        self._at = float("-inf")
        self._least = float("inf")  # of the pieces that were not waited for
        self.is_on = False
        self._without = 0
        self._vain = _VAIN[0]

    def is_due(self, size: int, most: int, now: float) -> bool:
        """Whether to wait, after `size` bytes of `most` were moved at `now`, in seconds."""
        is_soon = now - self._at < _SOON
        self._at = now
        if not self.is_on:
            self._least = min(self._least, size)
        elif size < max(_WORTH, 2 * self._least):
            self._least = float("inf")
            self._without = self._vain
            self._vain = min(2 * self._vain, _VAIN[1])
        else:
            self._vain = _VAIN[0]
        self._without = max(0, self._without - 1)
        self.is_on = is_soon and _PIECE <= size < most and not self._without
        return self.is_on


class PipeSource:
    """Reads the non-blocking descriptor `fd` of a pipe or a pty's master, and owns it.

    `on_data(bytes)` gets at most min(`block`, `room()`) bytes at a time; `on_end()` is called
    once, after the last of them, when `fd` is closed already. While `room()` is 0 or less
    nothing is read, until `resume()`. `fd` is -1 once the end was reached or `close()` called. A
    busy pipe is grown to `pipe_size` bytes if the system lets us. Starts at once in the running
    loop.
    """

    def __init__(
        self,
        fd: int,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        *,
        block: int,
        room: Callable[[], int],
        pipe_size: int = 1024 * 1024,
    ) -> None:
        self.bytes_read = 0
        self.held_open = False
        self.fd = fd
        self._on_data = on_data
        self._on_end = on_end
        self._block = block
        self._room = room
        self._terminal = os.isatty(fd)
        self._grow_to = 0 if self._terminal else pipe_size
        self._loop = asyncio.get_running_loop()
        self._listening = False
        self._lull = Lull()
        self._resting: asyncio.TimerHandle | None = None
        self._left = -1  # bytes still to be drained; -1 before drain_then_end()
        self._draining = False
        self._listen()

    @property
    def is_closed(self) -> bool:
        """Whether the end was reached or `close()` called."""
        return self.fd < 0

    def waiting(self) -> int:
        """Return how many bytes are in the pipe and not yet read; 0 once it is closed."""
        return bytes_waiting(self.fd) if self.fd >= 0 else 0

    def is_readable(self) -> bool:
        """Whether something can be read now; for a terminal, more exact than `waiting`.

        Output passes from a terminal to us by a worker of the kernel's, which poll waits for.
        """
        return self.fd >= 0 and _look(self.fd)[0]

    def resume(self) -> None:
        """Say that there may be room again. May call `on_data` and `on_end` when draining."""
        if self.fd < 0:
            return
        if self._left >= 0:
            self._drain()
        else:
            self._listen()

    def drain_then_end(self) -> None:
        """Hand on what is in the pipe now, and then end, although a child may hold it open.

        To be called when the leader has exited. Does all that there is room for before it
        returns, and the rest on `resume()`. Afterwards `held_open` tells whether somebody still
        held the other end; with a slave kept open by ourselves it always says so.
        """
        if self.fd < 0 or self._left >= 0:
            return
        self._left = TERMINAL_DRAIN if self._terminal else bytes_waiting(self.fd)
        self._stop()
        self._drain()

    def close(self) -> None:
        """Release the descriptor; neither callback comes afterwards. May be called again."""
        if self.fd >= 0:
            self._stop()
            os.close(self.fd)
            self.fd = -1
            # Their owner holds this source, and what is over is not to wait for a collector.
            self._on_data, self._on_end, self._room = _ignore, _nothing, _no_room

    def _listen(self) -> None:
        if not self._listening and self._resting is None and self._room() > 0:
            self._loop.add_reader(self.fd, self._readable)
            self._listening = True

    def _stop(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._listening:
            self._listening = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self.fd)

    def _readable(self) -> None:
        size = min(self._block, self._room())
        if size <= 0:
            self._stop()
            return
        before = self.bytes_read
        self._take(size)
        if self._terminal or not self._listening:
            return
        if self._lull.is_due(self.bytes_read - before, size, self._loop.time()):
            self._stop()
            self._resting = self._loop.call_later(Lull.SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._resting = None
        self._listen()

    def _drain(self) -> None:
        if self._draining:
            return  # on_data called resume(): the loop below goes on by itself
        self._draining = True
        try:
            while self.fd >= 0:
                readable, hung_up = _look(self.fd)
                # Once every writer is gone, what is there is finite, and all of it is ours.
                if not hung_up and (not readable or self._left <= 0):
                    self.held_open = True
                    self._finish()
                    return
                size = min(self._block, self._room())
                if not readable:
                    size = 1  # only the end of file is there, which needs no room
                if not hung_up:
                    size = min(size, self._left)
                if size <= 0:
                    return
                before = self.bytes_read
                self._take(size)
                if self.fd >= 0 and self.bytes_read == before:
                    self.held_open = True  # promised data and gave none: nothing more is there
                    self._finish()
                self._left = max(0, self._left - (self.bytes_read - before))
        finally:
            self._draining = False

    def _take(self, size: int) -> None:
        """Read once and hand it on, or finish."""
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: no slave is open any more
        if not data:
            self._finish()
            return
        if self._terminal and len(data) >= _TERMINAL_READ:
            data = self._read_on(data, size)
        self.bytes_read += len(data)
        if self._grow_to and len(data) >= _USUAL_PIPE:
            grow_pipe(self.fd, self._grow_to)
            self._grow_to = 0
        self._on_data(data)

    def _read_on(self, data: bytes, size: int) -> bytes:
        """Add what a busy terminal has ready, `size` bytes in all: it gives 4 KiB at a time."""
        parts, total = [data], len(data)
        while len(data) >= _TERMINAL_READ and total < size and _look(self.fd)[0]:
            try:
                data = os.read(self.fd, size - total)
            except OSError:
                break  # the next look finds its end
            parts.append(data)
            total += len(data)
        return b"".join(parts)

    def _finish(self) -> None:
        on_end = self._on_end
        self.close()
        on_end()


def _ignore(data: bytes) -> None:
    """Take data for nobody."""


def _nothing() -> None:
    """Take the end for nobody."""


def _no_room() -> int:
    return 0


class PipeSink:
    """Writes to the non-blocking descriptor `fd` of a pipe or a pty's master, and owns it.

    A pipe whose reader has emptied it while we waited is grown to `pipe_size` bytes.
    """

    def __init__(self, fd: int, *, pipe_size: int = 1024 * 1024) -> None:
        self._fd = fd
        self._grow_to = pipe_size
        self._waiter: asyncio.Future[None] | None = None
        self._rest = memoryview(b"")

    async def write(self, data: bytes | memoryview) -> None:
        """Return when all of `data` is in the pipe. One writer at a time.

        Raises BrokenPipeError when the reader is gone or `close()` was called. Cancelling leaves
        an unknown part written.
        """
        if self._waiter is not None:
            raise RuntimeError("another task is writing to this pipe")
        self._rest = memoryview(data)
        has_waited = False
        try:
            while self._rest:
                if self._fd < 0:
                    raise BrokenPipeError("the pipe is closed")
                try:
                    written = os.write(self._fd, self._rest[:_WRITE_BLOCK])
                except BlockingIOError:
                    await self._writable()
                    has_waited = True
                    continue
                except OSError as error:
                    raise BrokenPipeError("the command no longer reads its input") from error
                self._rest = self._rest[written:]
                if has_waited and self._grow_to and written >= _USUAL_PIPE:
                    grow_pipe(self._fd, self._grow_to)
                    self._grow_to = 0
        finally:
            self._rest = memoryview(b"")

    def take_back(self) -> bytes:
        """Return what a `write` at work has not written; that write then ends."""
        rest, self._rest = bytes(self._rest), memoryview(b"")
        if self._waiter is not None:
            _resolve(self._waiter)
        return rest

    def close(self) -> None:
        """Close the descriptor: the command reads its end of file. May be called again.

        A `write` at work fails with BrokenPipeError.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._waiter is not None:
            loop = self._waiter.get_loop()
            if not loop.is_closed():
                loop.remove_writer(fd)
                if not self._waiter.done():
                    self._waiter.set_result(None)
        os.close(fd)

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        fd = self._fd
        waiter = self._waiter = loop.create_future()
        loop.add_writer(fd, _resolve, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            # If close() was faster, the number may be another descriptor's by now.
            if self._fd == fd:
                loop.remove_writer(fd)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _look(fd: int) -> tuple[bool, bool]:
    """Return whether `fd` has data (or an error) to read, and whether all writers are gone."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    events = poll.poll(0)
    mask = events[0][1] if events else 0
    hung_up = bool(mask & (select.POLLHUP | select.POLLERR))
    return bool(mask & select.POLLIN), hung_up


def grow_pipe(fd: int, size: int) -> None:
    """Grow what may be a pipe; a refusal (the user's limit, another system) costs only speed."""
    if sys.platform == "linux":
        try:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, size)
        except OSError:
            pass
