"""A job that runs: its process, its output on the way to the disk, and its end.

Strategy: callbacks move the output from the pipes into the log; nothing waits, since the disk
always has room or drops. The end is that of the kind `process`: the leader's exit, and what
was in its pipes at that moment. Nobody's channel is needed for any of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from rshell.channels.job.log import LogWriter
from rshell.channels.job.messages import JobInfo
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.execution.pipes import PipeSource
from rshell.execution.running_process import RunningProcess
from rshell.values import Bounds


class RunningJob:
    """Owns the log and the pipes, `{stream: descriptor}`, of a process that was just started.

    `on_end(info)` is called once, when all is known and everything released.
    """

    def __init__(
        self,
        info: JobInfo,
        process: RunningProcess,
        pipes: dict[int, int],
        log: LogWriter,
        limits: Bounds,
        on_end: Callable[[JobInfo], None],
    ) -> None:
        self._info = info
        self._process = process
        self._log = log
        self._limits = limits
        self._on_end = on_end
        self._began = time.monotonic()
        self._ended_by = ""
        self._changed: asyncio.Future[None] | None = None
        self._sources = [
            PipeSource(
                fd,
                partial(self._write, stream),
                self._source_ended,
                block=limits.read_block,
                room=lambda: limits.read_block,
                pipe_size=limits.pipe,
            )
            for stream, fd in pipes.items()
        ]
        process.on_exit(self._exited)

    @property
    def info(self) -> JobInfo:
        """What is known of it now."""
        if self.is_over:
            return self._info
        counts = self._log.counts
        duration = time.monotonic() - self._began
        return self._info.replace(duration=duration, stdout=counts[STDOUT], stderr=counts[STDERR])

    @property
    def is_over(self) -> bool:
        """Whether it has ended and its output is complete."""
        return self._info.state != "running"

    async def wait_change(self) -> None:
        """Wait for more output or the end; returns at once when it is over. Safe to cancel."""
        if self.is_over:
            return
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def wait(self) -> JobInfo:
        """Wait for the end and return what is known then. Safe to cancel."""
        while not self.is_over:
            await self.wait_change()
        return self._info

    async def end(self, reason: str) -> None:
        """End it: SIGTERM, SIGKILL after the grace. `reason` is kept as `ended_by`.

        Returns when it is over. Cancelling sends the SIGKILL at once.
        """
        if self._process.exit_status is None and not self._ended_by:
            self._ended_by = reason
        await self._process.end(self._limits.kill_grace)
        await self.wait()

    def _write(self, stream: int, data: bytes) -> None:
        self._log.write(stream, data)
        self._notify()

    def _exited(self) -> None:
        for source in self._sources:
            source.drain_then_end()
        self._source_ended()

    def _source_ended(self) -> None:
        status = self._process.exit_status
        if status is None or self.is_over or not all(s.closed for s in self._sources):
            return
        self._log.close()
        self._info = self.info.replace(
            state="exited" if status.signal is None else "signaled",
            status=status,
            ended=time.time(),
            ended_by=self._ended_by,
            held_open=any(source.held_open for source in self._sources),
        )
        self._on_end(self._info)
        self._notify()

    def _notify(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None
