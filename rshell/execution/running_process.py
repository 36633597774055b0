"""One running process, the leader of its own session and group, until it is reaped.

An `ExitWatch` sees the end of the leader while it still is a zombie: a pidfd becomes readable when
its process ends, and `waitid(..., WNOWAIT)` tells how it ended and leaves the zombie. Where no
pidfd is to be had (another system, an old kernel, no descriptor left), a thread waits instead, and
a caller sees no difference.

As long as the leader is not reaped, its number is nobody else's, and a signal to the group `pid`
hits no stranger. The zombie is kept while `end()` works on the group, and reaped at once otherwise.
Reaping sets `Popen.returncode` and nothing else does: it is the one thing to ask before a signal.

Hazards:
- What the leader started and left behind when it exited by itself is not ours to end; it lives
  on, as after ssh. A process in an uninterruptible wait (a dead network file system) ends only
  when the kernel lets it: `end()` waits for that.
- With SIGCHLD ignored, which a server may inherit, the kernel reaps for us and the status is lost;
  call `use_default_sigchld` at start. A program that reaps children it did not start
  (`os.wait()`) steals statuses too; both read as 255. A closed watch never calls back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from rshell.aio import readable, timeout
from rshell.execution.children import note_reaped, note_started
from rshell.execution.reaper import kill_sessions, members, signal_group, signal_member
from rshell.values import ExitStatus

# What is said of a process whose status somebody else took; asyncio says the same.
LOST_STATUS = ExitStatus(code=255)

HAS_PIDFD = hasattr(os, "pidfd_open") and hasattr(os, "P_PIDFD")
_POLL_SECONDS = 0.02  # only where there is no pidfd
_HANG_UP_AGAIN = 0.5  # seconds


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
        self._callback = _ignore  # its owner holds this watch
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
            callback = self._callback
            self.close()
            callback(status)


def _ignore(status: ExitStatus) -> None:
    """Take a status for nobody."""


class RunningProcess:
    """A process started by `spawn`, and all that it starts in its session.

    `exit_status` is how the leader ended, None while it runs. `forget(pid)` is called right before
    the leader is reaped.
    Everything it holds is released when the leader ends; `close()` is for the ways out on which
    nobody waits for that. Not thread-safe; belongs to the loop that it was made in.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        *,
        terminal: bool = False,
        forget: Callable[[int], None] | None = None,
        pidfd: bool = HAS_PIDFD,
    ) -> None:
        note_started(popen)
        self.pid = popen.pid
        self._popen = popen
        self._terminal = terminal
        self._forgetting = forget
        self._loop = asyncio.get_running_loop()
        self.exit_status: ExitStatus | None = None
        self._exited = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._closed = False
        self._ending = 0  # calls of end() at work: the zombie is kept for them
        try:
            self._watch = ExitWatch(self._loop, popen, self._on_exit, pidfd=pidfd)
        except BaseException:
            kill_sessions([self.pid])
            self._reap()
            raise

    def __repr__(self) -> str:
        return f"<RunningProcess {self.pid} {self.exit_status or 'running'}>"

    async def wait(self) -> ExitStatus:
        """Wait for the leader's end and return how it ended.

        Any number of tasks may wait; cancelling one changes nothing for the process or others.
        """
        await self._exited.wait()
        assert self.exit_status is not None
        return self.exit_status

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call `callback()` once when the leader has ended; at once if it has already."""
        if self.exit_status is None:
            self._callbacks.append(callback)
        else:
            callback()

    def signal_group(self, signum: int) -> bool:
        """Send `signum` to the leader's group; False if it is over or not ours to signal."""
        if not self._owns_number():
            return False
        return signal_group(self.pid, signum)

    def followers(self) -> list[int]:
        """Return what lives in the leader's session beside it. Empty where there is no /proc."""
        if not self._owns_number():
            return []
        return [pid for pid in members({self.pid}) if pid != self.pid]

    def signal_followers(self, pids: Iterable[int], signum: int) -> None:
        """Send `signum` to those of `pids` that still are followers."""
        if self._owns_number():
            for pid in pids:
                signal_member(pid, {self.pid}, signum)

    async def end(self, grace: float) -> None:
        """End the whole session: politely, then after `grace` seconds by SIGKILL.

        Returns when the leader has ended and the rest of its session is gone or was sent SIGKILL.
        Returns at once if the leader was reaped before; its background processes are left alone
        then. Cancelling sends the SIGKILL at once. May be called several times; the shortest
        grace wins.
        """
        if not self._owns_number():
            return
        self._ending += 1
        gone = False
        try:
            with suppress(TimeoutError):
                async with timeout(grace):
                    await self._ask_to_end()
                    await self._session_gone()
                    gone = True
        finally:
            if not gone and self._owns_number():
                kill_sessions([self.pid])
            self._ending -= 1
            self._reap_if_free()
        await self._exited.wait()

    def close(self) -> None:
        """Release everything at once; a leader that still runs is killed with its session.

        Neither blocks nor raises, also while the loop is closing: a thread reaps then.
        """
        if self._closed or self._popen.returncode is not None:
            return
        self._closed = True
        self._watch.close()
        kill_sessions([self.pid])
        if self.exit_status is not None:
            self._reap()
        else:
            self._forget()
            threading.Thread(target=self._reap_here, name=f"reap {self.pid}", daemon=True).start()

    def _owns_number(self) -> bool:
        """Whether `pid` can't be a stranger's: it is not reaped, and no thread is about to."""
        return not self._closed and self._popen.returncode is None

    async def _ask_to_end(self) -> None:
        """Ask the group politely and wait for the leader's end, for ever if it declines."""
        signal_group(self.pid, signal.SIGTERM)
        while self.exit_status is None:
            if self._terminal:
                # An interactive shell ignores SIGTERM; on SIGHUP it ends its jobs and itself.
                signal_group(self.pid, signal.SIGHUP)
            # A stopped process would take none of these.
            signal_group(self.pid, signal.SIGCONT)
            # A bash that is just about to read its prompt may sleep through the first one.
            with suppress(TimeoutError):
                async with timeout(_HANG_UP_AGAIN if self._terminal else None):
                    await self._exited.wait()

    async def _session_gone(self) -> None:
        """Ask what the leader has left, in groups of its own, and wait for its end.

        A shell hangs up its jobs, but not every time: bash leaves them when SIGHUP finds it in
        PROMPT_COMMAND.
        """
        for pid in members({self.pid}):
            for number in (signal.SIGHUP if self._terminal else signal.SIGTERM, signal.SIGCONT):
                signal_member(pid, {self.pid}, number)
        while left := members({self.pid}):
            await process_gone(left[0], self.pid)

    def _on_exit(self, status: ExitStatus) -> None:
        self._watch.close()
        self.exit_status = status
        self._reap_if_free()
        self._exited.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _reap_here(self) -> None:
        """Reap what was killed and pass on its status. Runs in a thread of its own."""
        status = ExitStatus.from_returncode(self._popen.wait())
        note_reaped(self._popen)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._on_exit, status)

    def _reap_if_free(self) -> None:
        if self.exit_status is not None and not self._ending and self._owns_number():
            self._reap()

    def _reap(self) -> None:
        self._forget()
        self._popen.wait()  # a zombie: returns at once
        note_reaped(self._popen)

    def _forget(self) -> None:
        # Before reaping, while the number still is its own.
        if self._forgetting is not None:
            self._forgetting(self.pid)


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
    try:
        # Asked after opening: the number may have become a stranger's.
        if os.getsid(pid) != session:
            return
        await readable(fd)
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
