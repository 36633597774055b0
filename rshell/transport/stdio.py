"""A link over two pipes: the stdio of a child process, or our own.

What leads there, such as ssh, moves 32 KiB at a time; with asyncio's pipe transports, a link woke
for each of them. Here both directions leave a busy pipe alone for a millisecond at a time.

Hazard: a server on its own stdio must keep everything else away from descriptors 0 and 1;
`take_stdio` moves them, and a stray print can't damage the link.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import BinaryIO, cast

from rshell.errors import ConfigurationError
from rshell.execution.pipes import Lull, PipeSource, grow_pipe
from rshell.protocol.frames import Buffer
from rshell.transport.driver import Driver
from rshell.transport.sockets import join_small
from rshell.values import Bounds

_QUOTED = 200  # bytes of what comes first
_READ = 256 * 1024
_BLOCKS = 64  # in one write
_REST = 4  # reads, which is more than a kernel holds for a pipe
_USUAL_PIPE = 64 * 1024
# That of one that is busy, each fill of which costs two processes a switch. Who reads needs it all
# in a lull; but what is in it is before the next key.
_PIPE = 1024 * 1024


class PipeStream:
    """Frames on a pair of pipes, which are two directions with one end."""

    def __init__(self, driver: Driver, limits: Bounds) -> None:
        self._driver = driver
        self._limit = limits.transport_buffer
        self._loop = asyncio.get_running_loop()
        self._source: PipeSource | None = None
        self._fd = -1  # that we write to
        self._kept: deque[memoryview] = deque()
        self._size = 0  # of what is kept
        self._is_full = False  # so the driver waits for room
        self._is_listening = False  # for room in the pipe
        self._grow_to = _PIPE
        self._lull = Lull()
        self._resting: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_closing = False
        self._first = b""  # that came

    @property
    def foreign_words(self) -> str:
        """What came, quoted, where its beginning is not that of a frame; else ""."""
        # The length of what may come first has a zero for its first byte.
        return repr(self._first)[1:] if self._first[:1].strip(b"\0") else ""

    def connect(self, incoming: BinaryIO, outgoing: BinaryIO, first: bytes = b"") -> None:
        """Begin to use the two pipes, which are closed here: the stream has its own descriptors.

        `first` was read from `incoming` already. Raises ConfigurationError for what can't be
        waited for, and OSError.
        """
        with incoming, outgoing:
            fds = [pipe.fileno() for pipe in (incoming, outgoing)]
            if not all(_can_be_waited_for(fd) for fd in fds):
                raise ConfigurationError(
                    "a link needs pipes or sockets as standard input and output, not files "
                    "or /dev/null"
                )
            ours = [os.dup(fds[0])]
            try:
                ours.append(os.dup(fds[1]))
            except OSError:
                os.close(ours[0])
                raise
        for fd in ours:
            os.set_blocking(fd, False)
        try:
            # A terminal does not tell, and a socket that is both ends does where it is read.
            if not os.isatty(ours[1]) and not os.path.sameopenfile(*ours):
                self._loop.add_reader(ours[1], self._stop_writing)
            self._source = PipeSource(
                ours[0],
                self._take,
                self._end_of_reading,
                block=_READ,
                room=self._room_to_read,
                pipe_size=_PIPE,
            )
        except BaseException:
            self._loop.remove_reader(ours[1])
            for fd in ours:
                os.close(fd)
            raise
        self._fd = ours[1]
        self._driver.stream_opened(self)
        if not self._is_closing:
            self._driver.stream_ready()
            if first:
                self._take(first)

    # Reading.

    def _room_to_read(self) -> int:
        return 0 if self._is_paused else _READ

    def _take(self, data: bytes) -> None:
        if len(self._first) < _QUOTED:
            self._first += data[: _QUOTED - len(self._first)]
        self._driver.receive_data(memoryview(data))

    def _end_of_reading(self) -> None:
        self._driver.receive_eof()
        self.close()
        self._end_if_over()

    def _read_rest(self) -> None:
        """Take the last words of an end that has stopped reading: GOODBYE, as a rule."""
        source = self._source
        if source is None or source.is_closed or self._is_closing:
            return
        with suppress(OSError):  # nothing more, or an end of its own
            for _ in range(_REST):
                if not (data := os.read(source.fd, _READ)):
                    break
                self._take(data)

    def pause(self) -> None:
        """Leave what comes to the kernel."""
        self._is_paused = True

    def resume(self) -> None:
        """Read again."""
        self._is_paused = False
        if self._source is not None:
            self._source.resume()

    # Writing.

    def write(self, buffers: list[Buffer]) -> None:
        """Write all buffers, in order; what the kernel does not take is kept, uncopied."""
        if self._is_closing or self._fd < 0:
            return
        for buffer in join_small(buffers):
            self._kept.append(memoryview(buffer))
            self._size += len(buffer)
        if not self._is_listening and self._resting is None:
            self._write_kept()
            if self._kept and self._lull.is_on:
                self._rest()
            else:
                self._listen()
        self._is_full = self._is_full or self._size > self._limit // 2

    def room(self) -> int:
        """Return how many bytes may be written before the limit is reached."""
        return 0 if self._is_closing or self._fd < 0 else self._limit - self._size

    def _write_kept(self) -> int:
        """Write what the kernel takes; return how much that was."""
        before = self._size
        try:
            while self._kept:
                # A header of its own would be a packet of its own where the way leads through ssh.
                blocks = list(islice(self._kept, _BLOCKS))
                written = os.writev(self._fd, blocks)
                self._size -= written
                for block in blocks:
                    if written < len(block):
                        self._kept[0] = block[written:]
                        return before - self._size
                    written -= len(block)
                    self._kept.popleft()
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more
            self._loop.call_soon(self._stop_writing)
            self._kept.clear()
        return before - self._size

    def _listen(self) -> None:
        """Wait until the kernel takes more, or for nothing where nothing is kept."""
        if bool(self._kept) is not self._is_listening:
            self._is_listening = not self._is_listening
            if self._is_listening:
                self._loop.add_writer(self._fd, self._go_on)
            else:
                self._loop.remove_writer(self._fd)

    def _go_on(self) -> None:
        """Write on, for the kernel takes more or a lull is over."""
        self._resting = None
        written = self._write_kept()
        if written >= _USUAL_PIPE and self._grow_to:  # who reads was waiting for us
            grow_pipe(self._fd, self._grow_to)
            self._grow_to = 0
        if self._is_full and self._size <= self._limit // 4:
            self._is_full = False
            self._driver.stream_writable()
        if self._is_closing and not self._kept:
            self._close_writing()
        elif self._kept and self._lull.is_due(written, _PIPE, self._loop.time()):
            self._rest()
        else:
            self._listen()

    def _rest(self) -> None:
        """Leave the pipe alone for a lull."""
        self._stop_listening()
        self._resting = self._loop.call_later(Lull.SECONDS, self._go_on)

    def _stop_listening(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._is_listening:
            self._is_listening = False
            if not self._loop.is_closed():
                self._loop.remove_writer(self._fd)

    def _stop_writing(self) -> None:
        """Take the end of who reads; the other direction follows."""
        self._read_rest()
        self.abort()

    def _close_writing(self) -> None:
        if self._fd >= 0:
            self._stop_listening()
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._end_if_over()

    # The end.

    def close(self) -> None:
        """Write what is kept, then close."""
        if not self._is_closing:
            self._is_closing = True
            self._close_reading()
            if not self._kept:
                self._close_writing()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        self._kept.clear()
        self._size = 0
        self._close_reading()
        self._close_writing()

    def _close_reading(self) -> None:
        if self._source is not None:
            self._source.close()

    def _end_if_over(self) -> None:
        if self._source is not None and self._source.is_closed and self._fd < 0:
            self._source = None
            self._loop.call_soon(self._driver.stream_lost, None)


def _can_be_waited_for(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Return our stdin and stdout for a link, and point 0 at /dev/null and 1 at stderr."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return cast(BinaryIO, os.fdopen(incoming, "rb", 0)), cast(
        BinaryIO, os.fdopen(outgoing, "wb", 0)
    )
