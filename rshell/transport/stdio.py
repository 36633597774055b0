"""A link over two pipes: the stdio of a child process, or our own.

asyncio's pipe transports carry the bytes. A child is started in our own session, where it may ask
for a password on the terminal, but deaf to SIGINT: Ctrl-C is for the remote command, and must not
cut the link that carries it.

Hazard: a server on its own stdio must keep everything else away from descriptors 0 and 1;
`take_stdio` moves them, and a stray print can't damage the link.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Sequence
from typing import BinaryIO, cast

from rshell.errors import ConfigurationError, ConnectError
from rshell.protocol.frames import Buffer
from rshell.transport.driver import Driver
from rshell.transport.sockets import join_small
from rshell.values import Bounds


class PipeStream(asyncio.Protocol):
    """Frames on a pair of pipes. Both transports report to this one protocol."""

    def __init__(self, driver: Driver, limits: Bounds) -> None:
        self._driver = driver
        self._limit = limits.transport_buffer
        self._reading: asyncio.ReadTransport | None = None
        self._writing: asyncio.WriteTransport | None = None
        self._is_closing = False
        self._open = 2

    async def connect(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        """Begin to use the two pipes, which this stream closes in the end."""
        loop = asyncio.get_running_loop()
        try:
            for pipe in (incoming, outgoing):
                # asyncio takes any device, and stumbles over /dev/null later.
                if stat.S_ISCHR(os.fstat(pipe.fileno()).st_mode) and not pipe.isatty():
                    raise ValueError("a device that can't be waited for")
            writing, _ = await loop.connect_write_pipe(lambda: self, outgoing)
            self._writing = writing
            self._writing.set_write_buffer_limits(high=self._limit // 2, low=self._limit // 4)
            self._reading, _ = await loop.connect_read_pipe(lambda: self, incoming)
        except BaseException as error:
            # Whatever asyncio has begun to close; cancelled, it may have neither pipe by now.
            if self._writing is not None:
                self._writing.abort()
            incoming.close()
            outgoing.close()
            if isinstance(error, ValueError):
                raise ConfigurationError(
                    "a link needs pipes or sockets as standard input and output, not files "
                    "or /dev/null"
                ) from error
            raise
        self._driver.stream_opened(self)
        self._driver.stream_ready()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """`connect` keeps the transports."""

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        self._driver.receive_data(memoryview(data))

    def eof_received(self) -> bool | None:
        """Take the end of the incoming pipe."""
        self._driver.receive_eof()
        return None

    def resume_writing(self) -> None:
        """Refill the outgoing pipe."""
        self._driver.stream_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of one pipe; the other one follows."""
        self._open -= 1
        if self._open:
            self.close()
        else:
            self._driver.stream_lost(exc)

    # What the driver calls.

    def write(self, buffers: list[Buffer]) -> None:
        """Write all buffers, in order."""
        if self._writing is not None and not self._is_closing:
            for buffer in join_small(buffers):
                self._writing.write(buffer)

    def room(self) -> int:
        """Return how many bytes may be written before the limit is reached."""
        if self._writing is None or self._is_closing:
            return 0
        return self._limit - self._writing.get_write_buffer_size()

    def close(self) -> None:
        """Write what is kept, then close."""
        if not self._is_closing:
            self._is_closing = True
            if self._reading is not None:
                self._reading.close()
            if self._writing is not None:
                self._writing.close()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        if self._reading is not None:
            self._reading.close()
        # Python 3.11 runs into an error when it aborts a pipe whose closing is under way.
        writing = self._writing
        if writing is not None and (not writing.is_closing() or writing.get_write_buffer_size()):
            writing.abort()


def start_child(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program whose stdio will carry a link. Raises ConnectError.

    Its stderr is ours. The caller waits for it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    except OSError as error:
        raise ConnectError(f"can't start {argv[0]!r}: {error.strerror or error}") from error
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, before)


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
