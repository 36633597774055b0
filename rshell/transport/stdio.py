"""A link over two pipes: the stdio of a child process, or our own.

asyncio's pipe transports carry the bytes. A child is started in our own session, where it may ask
for a password on the terminal, but deaf to SIGINT: Ctrl-C is for the remote command, and must not
cut the link that carries it.

Hazard: a server on its own stdio must keep everything else away from descriptors 0 and 1;
`take_stdio` moves them, and a stray print can't damage the link.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, cast

from rshell.errors import ConfigurationError, ConnectError
from rshell.transport.driver import Driver
from rshell.transport.sockets import FrameWriter
from rshell.values import Bounds

_QUOTED = 200  # bytes of what comes first
_READ = 64 * 1024
_REST = 16  # reads, which is what the kernel holds for a pipe
_PIPE = 256 * 1024
_F_SETPIPE_SZ = 1031  # of Linux; Python knows it from 3.10 on
_DEAF = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"]


class PipeStream(FrameWriter, asyncio.Protocol):
    """Frames on a pair of pipes. Both transports report to this one protocol."""

    def __init__(self, driver: Driver, limits: Bounds) -> None:
        super().__init__(driver, limits)
        self._reading: asyncio.ReadTransport | None = None
        self._open = 2
        self._first = b""  # that came

    @property
    def foreign_words(self) -> str:
        """What came, quoted, where its beginning is not that of a frame; else ""."""
        # The length of what may come first has a zero for its first byte.
        return repr(self._first)[1:] if self._first[:1].strip(b"\0") else ""

    async def connect(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        """Begin to use the two pipes, which this stream closes in the end."""
        loop = asyncio.get_running_loop()
        try:
            for pipe in (incoming, outgoing):
                _widen(pipe.fileno())
                # asyncio takes any device, and stumbles over /dev/null later.
                if stat.S_ISCHR(os.fstat(pipe.fileno()).st_mode) and not pipe.isatty():
                    raise ValueError("a device that can't be waited for")
            writing, _ = await loop.connect_write_pipe(lambda: self, outgoing)
            self._write_to(writing)
            self._reading, _ = await loop.connect_read_pipe(lambda: self, incoming)
        except BaseException as error:
            # Whatever asyncio has begun to close; cancelled, it may have neither pipe by now.
            if self._transport is not None:
                self._transport.abort()
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
        if len(self._first) < _QUOTED:
            self._first += data[: _QUOTED - len(self._first)]
        self._driver.receive_data(memoryview(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of one pipe; the other one follows."""
        self._open -= 1
        if self._open:
            self._read_rest()
            self.close()
        else:
            self._driver.stream_lost(exc)

    def _read_rest(self) -> None:
        """Take the last words of an end that has stopped reading: GOODBYE, as a rule."""
        reading = self._reading
        if reading is None or reading.is_closing() or self._is_closing:
            return
        fd = reading.get_extra_info("pipe").fileno()
        with suppress(OSError):  # nothing more, or an end of its own
            for _ in range(_REST):
                if not (data := os.read(fd, _READ)):
                    break
                self.data_received(data)

    # What the driver calls.

    def pause(self) -> None:
        """Leave what comes to the kernel."""
        if self._reading is not None:
            self._reading.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._reading is not None:
            self._reading.resume_reading()

    def close(self) -> None:
        """Write what is kept, then close."""
        if not self._is_closing:
            self._is_closing = True
            if self._reading is not None:
                self._reading.close()
            if self._transport is not None:
                self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        if self._reading is not None:
            self._reading.close()
        # Python 3.11 runs into an error when it aborts a pipe whose closing is under way.
        writing = self._transport
        if writing is not None and (not writing.is_closing() or writing.get_write_buffer_size()):
            writing.abort()


def _widen(fd: int) -> None:
    """Have a pipe hold more than 64 KiB: each fill of it costs two processes a switch.

    But not much more: what is in it is before the next key.
    """
    with suppress(OSError):  # no pipe, no such system, or this user has enough of them
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE)


def start_child(argv: Sequence[str], *, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Start a program whose stdio will carry a link. Raises ConnectError.

    Its stderr is ours, or subprocess.PIPE. The caller waits for it.
    """
    from rshell.execution.inheritance import given_environment
    from rshell.execution.spawn import restore_names

    program = shutil.which(argv[0])
    if program is None:
        number = errno.EACCES if os.access(argv[0], os.F_OK) else errno.ENOENT
        raise ConnectError(f"can't start {argv[0]!r}: {os.strerror(number)}")
    # A shell has it ignore SIGINT: if we did so ourselves meanwhile, a Ctrl-C that comes in this
    # moment would be lost.
    environment = given_environment(os.environ)
    command = [*restore_names(environment, [program]), program, *argv[1:]]
    try:
        return subprocess.Popen(
            [*_DEAF, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env=environment,
        )
    except OSError as error:
        raise ConnectError(f"can't start {argv[0]!r}: {error.strerror or error}") from error


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
