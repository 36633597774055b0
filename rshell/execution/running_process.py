"""One running process, the leader of its own session and group, until it is reaped.

The end of the leader is seen while it still is a zombie. As long as it is not reaped, its number
is nobody else's, and a signal to the group `pid` hits no stranger. The zombie is kept while `end()`
works on the group, and reaped at once otherwise. Reaping sets `Popen.returncode` and nothing else
does: it is the one thing to ask before a signal.

Hazards: what the leader started and left behind when it exited by itself is not ours to end; it
lives on, as after ssh. A process in an uninterruptible wait (a dead network file system) ends
only when the kernel lets it: `end()` waits for that.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress

from rshell.aio import timeout
from rshell.execution.exits import HAS_PIDFD, ExitWatch, process_gone, reap_soon
from rshell.execution.reaper import kill_sessions, members, signal_group, signal_member
from rshell.execution.reaper_client import Reaper
from rshell.values import ExitStatus

_HANG_UP_AGAIN = 0.5  # seconds


class RunningProcess:
    """A process started by `spawn`, and all that it starts in its session.

    `exit_status` is how the leader ended, None while it runs.
    Everything it holds is released when the leader ends; `close()` is for the ways out on which
    nobody waits for that. Not thread-safe; belongs to the loop that it was made in.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        *,
        terminal: bool = False,
        reaper: Reaper | None = None,
        pidfd: bool = HAS_PIDFD,
    ) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._terminal = terminal
        self._reaper = reaper
        self._loop = asyncio.get_running_loop()
        self.exit_status: ExitStatus | None = None
        self._exited = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._closed = False
        self._ending = 0  # calls of end() at work: the zombie is kept for them
        if reaper is not None:
            reaper.add(self.pid)
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
            reap_soon(self._popen, self._on_reaped_elsewhere)

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

    def _on_reaped_elsewhere(self) -> None:
        """Pass on the status that the reaping thread saw. Runs in that thread."""
        status = ExitStatus.from_returncode(self._popen.returncode)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._on_exit, status)

    def _reap_if_free(self) -> None:
        if self.exit_status is not None and not self._ending and self._owns_number():
            self._reap()

    def _reap(self) -> None:
        self._forget()
        self._popen.wait()  # a zombie: returns at once

    def _forget(self) -> None:
        # Before reaping, while the number still is its own.
        if self._reaper is not None:
            self._reaper.remove(self.pid)
