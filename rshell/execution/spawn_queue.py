"""Taking turns at starting processes, so that a hundred at once don't hold up the loop.

Strategy: starting one blocks for most of a millisecond, so each pass of the loop starts one at
most, and the loop reads and writes between two. A start that finds its turn free takes it
without a switch of tasks: commands one after another pay for one `call_soon` each.

Hazards: the number of processes is counted from the moment a start queues, so a flood of opens
can't queue more than may run. A task that is cancelled after it was given its turn passes it on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection

from rshell.errors import SpawnError
from rshell.execution.reaper_client import Reaper
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import NOT_EXECUTABLE, Command, spawn


class SpawnQueue:
    """At most `limit` processes at once, and one start in a pass of the loop.

    `reaper`, if given, is told of every process. One for a whole server.
    """

    def __init__(self, limit: int, *, reaper: Reaper | None = None) -> None:
        self._limit = limit
        self._reaper = reaper
        self._taken = False  # this pass has had its start, or it is promised to a waiter
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._count = 0

    @property
    def count(self) -> int:
        """The processes that run and those that wait for their turn."""
        return self._count

    async def spawn(
        self,
        command: Command,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        pass_fds: Collection[int] = (),
        terminal: bool = False,
    ) -> RunningProcess:
        """Start `command` when its turn comes; everything else is as with `spawn.spawn`.

        The descriptors must stay open until this returns. Raises SpawnError at once with status
        126 if `limit` processes run already. Cancelling before the turn starts nothing.
        """
        if self._count >= self._limit:
            raise SpawnError(
                NOT_EXECUTABLE,
                f"{self._count} commands run already, as many as this server allows",
            )
        self._count += 1
        try:
            await self._turn()
            process = spawn(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                terminal=terminal,
                reaper=self._reaper,
            )
        except BaseException:
            self._count -= 1
            raise
        process.on_exit(self._one_less)
        return process

    def _one_less(self) -> None:
        self._count -= 1

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if self._taken:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._pass_on()
                raise
        self._taken = True
        # Runs in the next pass, after the loop has looked at its descriptors.
        loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken = False
