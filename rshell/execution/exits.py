"""Seeing a process end without blocking the loop and without reaping it.

A pidfd becomes readable when its process ends, and the loop watches it like any other descriptor.
`waitid(..., WNOWAIT)` then tells how the process ended and leaves the zombie, whose number nobody
else can be given. Reaping is the owner's business. Where no pidfd is to be had (another system, an
old kernel, no descriptor left), a thread waits instead. Both are behind `ExitWatch` and differ in
nothing that a caller can see.

Hazards: with SIGCHLD ignored, which a server may inherit, the kernel reaps for us and the status
is lost; call `use_default_sigchld` at start. A program that reaps children it did not start
(`os.wait()`) steals statuses too; both read as 255. A closed watch never calls back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress

from rshell.values import ExitStatus

# What is said of a process whose status somebody else took; asyncio says the same.
LOST_STATUS = ExitStatus(code=255)

HAS_PIDFD = hasattr(os, "pidfd_open") and hasattr(os, "P_PIDFD")
_POLL_SECONDS = 0.02  # only where there is no pidfd


class ExitWatch:
    """Calls `callback(status)` once in `loop` when `popen` has ended; it is a zombie then.

    `pidfd=False` asks for the thread. Raises RuntimeError if no thread can be started either.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        popen: subprocess.Popen[bytes],
        callback: Callable[[ExitStatus], None],
        *,
        pidfd: bool = HAS_PIDFD,
    ) -> None:
        self._loop = loop
        self._popen = popen
        self._callback = callback
        self._fd = -1
        self._is_closed = False
        if pidfd:
            try:
                self._fd = os.pidfd_open(popen.pid)
                loop.add_reader(self._fd, self._readable)
                return
            except BaseException as error:
                self._release()
                if not isinstance(error, OSError):
                    raise  # else: no descriptor left, or a sandbox that forbids it
        # A daemon: a command that was left running must not keep this program from ending.
        threading.Thread(target=self._wait, name=f"wait {popen.pid}", daemon=True).start()

    def close(self) -> None:
        """Stop watching and release everything; may be called at any time, and again."""
        self._is_closed = True
        self._release()

    def _release(self) -> None:
        if self._fd >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        status = _look(os.P_PIDFD, self._fd, os.WNOHANG)
        if status is not None:
            self._tell(status)

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            status = _look(os.P_PID, self._popen.pid, 0) or LOST_STATUS
        else:
            status = ExitStatus.from_returncode(self._popen.wait())
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._tell, status)

    def _tell(self, status: ExitStatus) -> None:
        if not self._is_closed:
            self.close()
            self._callback(status)


def reap_soon(popen: subprocess.Popen[bytes], then: Callable[[], None]) -> None:
    """Reap `popen`, which was killed, in a thread, which calls `then` afterwards.

    For the ways out on which the loop may never run again.
    """

    def reap() -> None:
        popen.wait()
        then()

    threading.Thread(target=reap, name=f"reap {popen.pid}", daemon=True).start()


async def process_gone(pid: int, session: int) -> None:
    """Wait for the end of `pid`, a process of `session` that need not be our child.

    Returns early, at the latest after 20 ms, where that can't be watched: the caller looks
    again. Cancelling releases the descriptor.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):
        await asyncio.sleep(_POLL_SECONDS)
        return
    loop = asyncio.get_running_loop()
    try:
        # Asked after opening: the number may have become a stranger's.
        if os.getsid(pid) != session:
            return
        gone = asyncio.Event()
        loop.add_reader(fd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(fd)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)


def use_default_sigchld() -> None:
    """Undo an ignored SIGCHLD that this process inherited. For the main thread, at start."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _look(kind: int, number: int, flags: int) -> ExitStatus | None:
    """Return how the process ended and leave the zombie; None if it runs (with WNOHANG)."""
    try:
        result = os.waitid(kind, number, os.WEXITED | os.WNOWAIT | flags)
    except ChildProcessError:
        return LOST_STATUS
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus.from_returncode(-result.si_status)
