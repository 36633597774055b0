"""Our own stdin, stdout and stderr: kept open, and written to by one writer.

Hazards: a descriptor that others share may be non-blocking, take a part of what it is given, or
take nothing for ever. What a program of ours has to say must never decide how the program ends:
`tell` gives it up, and raises nothing.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

_PIECE = select.PIPE_BUF  # bytes that a pipe which says that it is ready takes without waiting
_NAMES = ("stdin", "stdout", "stderr")


def keep_standard_descriptors() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr.

    A socket of ours would take the number otherwise, and the command's output be written to it;
    and Python, which has no `sys.stderr` then, prints on stdout what was meant for it.
    """
    for fd, name in enumerate(_NAMES):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest that is free, which is `fd`.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", closefd=False))


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, as long as it takes. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            wait_ready(fd, select.POLLOUT)  # somebody else made it non-blocking


def wait_ready(fd: int, what: int, seconds: float | None = None) -> bool:
    """Wait until a descriptor is ready for `what` (POLLIN, POLLOUT), failed, or time is over.

    Returns whether it is.
    """
    poll = select.poll()
    poll.register(fd, what)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def tell(text: str, fd: int = 2) -> bool:
    """Write lines for people to stderr, or to `fd`; return whether all of them were taken.

    What a full disk, a reader that has gone, or one that takes nothing now leaves is dropped.
    Nothing is raised.
    """
    rest = memoryview(text.encode(errors="backslashreplace") + b"\n")
    with suppress(OSError):
        while rest and wait_ready(fd, select.POLLOUT, 0.0):
            rest = rest[os.write(fd, rest[:_PIECE]) :]
    return not rest
