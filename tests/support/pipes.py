"""Pipes for what reads and writes in a thread of its own.

Hazard: such a thread can't be stopped. Where the numbers of a closed pipe are given out again, it
may read, or write, in the next test's.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_lowest = 200


@contextmanager
def lasting_pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe whose two numbers are never used again; close what is still open of it."""
    global _lowest
    low = os.pipe()
    ends = []
    for fd in low:
        ends.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _lowest))
        _lowest = ends[-1] + 1
        os.close(fd)
    read, write = ends
    try:
        yield read, write
    finally:
        for fd in (write, read):
            try:
                os.close(fd)
            except OSError as error:  # the test has closed it
                assert error.errno == errno.EBADF
