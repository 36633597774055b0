"""The children of this process: those that it has started, and those that others have left it.

As the first process of a container, or as a subreaper, this process becomes the parent of every
orphan, and whoever is not waited for stays a zombie. `reap_strangers` waits for all that have
ended and were not started here; the statuses of our own stay theirs.

Hazard: it must know every child that this process starts while it is called again and again. So
it is for `rshell-server` alone: the children of a program that embeds a server are the
program's. Whoever starts a process there notes it until it is reaped.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AT_ONCE = 1_000  # reaped in one look: what else waits for the loop must not wait for long

_started: dict[int, subprocess.Popen[bytes]] = {}


def note_started(popen: subprocess.Popen[bytes]) -> None:
    """Note a child that is ours to reap."""
    _started[popen.pid] = popen


def note_reaped(popen: subprocess.Popen[bytes]) -> None:
    """Forget a child that was reaped. Its number may be another's by now, who stays noted."""
    if _started.get(popen.pid) is popen:
        del _started[popen.pid]


def reap_strangers() -> None:
    """Reap each child that has ended and that nobody noted."""
    for _ in range(_AT_ONCE):
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        if found.si_pid in _started:
            break  # which would be found again and again, and hides the others
        _reap(found.si_pid)
    for pid in _children():
        if pid not in _started:
            _reap(pid)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def _children() -> list[int]:
    """Return all children of this process, none where the system does not tell."""
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended
            found += map(int, file.read_text().split())
    return found


@contextmanager
def reaping_strangers(seconds: float) -> Iterator[None]:
    """Look for such children every `seconds` while the block lasts, in the running loop."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def look() -> None:
        timers[:] = [loop.call_later(seconds, look)]
        reap_strangers()

    timers.append(loop.call_later(seconds, look))
    try:
        yield
    finally:
        timers[0].cancel()
