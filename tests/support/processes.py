"""Watching processes that are not ours from inside the loop."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rshell.aio import readable


async def gone(pid: int) -> None:
    """Wait until `pid` has ended; the caller has a deadline."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        # The number may still be that of a group or session, whose members live on.
        assert error.errno in (errno.ESRCH, errno.EINVAL), error
        return
    try:
        await readable(fd)
    finally:
        os.close(fd)


def is_running(pid: int) -> bool:
    """Whether `pid` lives and is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
