"""Our own stdin, stdout and stderr: kept open, and written to by one writer.

What is done here works before there is an event loop and after it, and where there is no room left
for a thread. `streams.py` has what waits meanwhile.

Hazards: a descriptor that others share may be non-blocking, take a part of what it is given, or
take nothing for ever. What a program of ours has to say must never decide how the program ends:
`tell` and `say` give it up, and raise nothing.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO

from rshell.errors import RshellError
from rshell.terminal.output import printable

_SAID_WITHIN = 2.0  # seconds; a reader of stderr that is stuck keeps nobody
_PIECE = select.PIPE_BUF  # bytes that a pipe which says that it is ready takes without waiting
_LINE = 16 * 1024
_NAMES = ("stdin", "stdout", "stderr")


class StreamError(RshellError, OSError):
    """Our own stdin or stdout, descriptor `fd`, failed. `errno` is the system's."""

    def __init__(self, fd: int, error: OSError) -> None:
        why = error.strerror or str(error)
        text = f"can't read stdin: {why}" if fd == 0 else f"can't write stdout: {why}"
        super().__init__(text)
        self.errno = error.errno


def keep_standard_descriptors() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr.

    A socket of ours would take the number otherwise, and the command's output be written to it;
    and Python, which has no `sys.stderr` then, prints on stdout what was meant for it.
    """
    for fd, name in enumerate(_NAMES):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(_open_nothing(), True)  # the lowest that is free, which is `fd`
        if getattr(sys, name) is None:
            try:
                stream: TextIO = os.fdopen(fd, "r" if fd == 0 else "w", closefd=False)
            except OSError:
                stream = io.StringIO()
            setattr(sys, name, stream)


def _open_nothing() -> int:
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:  # a root without devices; this takes the number, and fails when it is used
        return os.open("/", os.O_RDONLY)


def write_some(fd: int, data: memoryview | bytes) -> int:
    """Write a part of `data`, waiting until the descriptor takes one; return its size.

    Raises OSError.
    """
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            wait_ready(fd, select.POLLOUT)  # somebody else made it non-blocking


def read_some(fd: int, size: int) -> bytes:
    """Read what there is, `size` bytes at most; b"" at the end. Raises OSError."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            wait_ready(fd, select.POLLIN)


def read_line() -> str:
    """Read the first line of stdin, or a few KiB of one without an end. Raises StreamError."""
    line = b""
    try:
        while b"\n" not in line and len(line) < _LINE and (block := read_some(0, _LINE)):
            line += block
    except OSError as error:
        raise StreamError(0, error) from error
    return line.partition(b"\n")[0].decode(errors="replace")


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, as long as it takes. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[write_some(fd, view) :]


def wait_ready(fd: int, what: int, seconds: float | None = None) -> bool:
    """Wait until a descriptor is ready for `what` (POLLIN, POLLOUT), failed, or time is over.

    Returns whether it is.
    """
    poll = select.poll()
    poll.register(fd, what)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def print_text(text: str) -> None:
    """Print a line on stdout. Raises BrokenPipeError where nobody reads, and StreamError."""
    print_bytes(text.encode(_encoding(1), "backslashreplace") + b"\n")


def print_bytes(data: bytes) -> None:
    """Print bytes on stdout. Raises as `print_text` does."""
    try:
        write_all(1, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StreamError(1, error) from error


def line_of_ours(text: str) -> bytes:
    """Return a line that says something of ours, and is safe to show."""
    return f"rshell: {printable(text)}\n".encode(_encoding(2), "backslashreplace")


def say(text: str) -> None:
    """Say something on stderr, in a line that is safe to show; a reader may be slow to take it."""
    tell(f"rshell: {printable(text)}", seconds=_SAID_WITHIN)


def tell(text: str, fd: int = 2, *, seconds: float = 0.0) -> bool:
    """Write lines for people to stderr, or to `fd`; return whether all of them were taken.

    What a full disk, a reader that has gone, or one that takes nothing for `seconds` leaves is
    dropped. Nothing is raised.
    """
    rest = memoryview(text.encode(_encoding(fd), "backslashreplace") + b"\n")
    with suppress(OSError):
        while rest and wait_ready(fd, select.POLLOUT, seconds):
            rest = rest[os.write(fd, rest[:_PIECE]) :]
    return not rest


def _encoding(fd: int) -> str:
    stream = getattr(sys, _NAMES[fd]) if fd < len(_NAMES) else None
    return getattr(stream, "encoding", None) or "utf-8"
