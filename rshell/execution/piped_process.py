"""A process with its pipes or its terminal: what it prints, what it reads, and the end of it all.

Callbacks move output from the pipes to an `Outlet`, at most as much as the outlet has room for,
without a task or a copy between. The end of a process is its leader's exit and what was in its
pipes at that moment: a background child does not hold it up.

Hazards:
- Cancelling may hit any await. Whatever `start` has opened is closed again when it fails, and
  `close` may be called at any time; only the process itself takes time to end, and its owner sees
  to that with `end`, also after `close`.
- A command that outlived its timeout is ended in a task of ours, for the caller who waits may be
  cancelled meanwhile. `wait` and `end` both wait for that task.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from rshell.execution.pipes import PipeSink, PipeSource, input_pipe, output_pipe
from rshell.execution.reaper import signal_group
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command, SpawnQueue
from rshell.terminal.pty import open_pty, set_size
from rshell.values import Bounds, ExitStatus, TerminalSize

TERMINAL_STREAM = 1  # what a terminal shows comes as this stream


class Outlet(Protocol):
    """Where a process's output goes: a channel, a file, or what stands for many who look at it."""

    @property
    def is_over(self) -> bool:
        """Whether nobody will want any output any more: it is thrown away from then on."""

    @property
    def room(self) -> int:
        """How many bytes may be written now, 0 or more."""

    def want_room(self) -> None:
        """Ask that `PipedProcess.resume` be called once there is room again."""

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Take output of a stream, no more than there is room for."""


class _Nobody:
    """Where nothing comes any more."""

    is_over = True
    room = 0

    def want_room(self) -> None:
        """There never is any."""

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Throw it away."""


_NOBODY = _Nobody()


class PipedProcess:
    """A running process, made by `start`. Everything but the process itself goes with `close`.

    `sources` are the pipes that it writes, by stream, and `sinks` those that it reads, by the
    number under which it has them. `slave` is the terminal's far end where it is held, else -1.
    """

    process: RunningProcess

    def __init__(self, outlet: Outlet, limits: Bounds) -> None:
        self.sources: dict[int, PipeSource] = {}
        self.sinks: dict[int, PipeSink] = {}
        self.slave = -1
        self.is_timed_out = False
        self._outlet = outlet
        self._limits = limits
        self._started = time.monotonic()
        self._master = -1
        self._has_exited = False
        self._over = asyncio.Event()
        self._callback: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ender: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        spawner: SpawnQueue,
        command: Command,
        outlet: Outlet,
        limits: Bounds,
        *,
        inputs: Mapping[int, bool],
        outputs: Mapping[int, int],
        terminal: TerminalSize | None = None,
        terminal_fd: int = 0,
        hold_slave: bool = False,
        fds: Mapping[int, int] | None = None,
    ) -> PipedProcess:
        """Start `command` in its turn, and begin to hand on what it prints.

        `inputs` says for a number of the command's whether a pipe or nothing is to be read
        there. `outputs` gives the stream of what is written to a number; numbers of one stream
        share a pipe. With `terminal`, one of that size stands at `terminal_fd`, and its stream is
        1; `hold_slave` keeps it open beyond the command. `fds` are more descriptors by number,
        which stay the caller's. Of 0, 1 and 2, what is named nowhere is the terminal, or nothing.

        Raises SpawnError, and OSError where the machine has no descriptors or terminals left.
        Cancelling before the command has started leaves nothing.
        """
        self = cls(outlet, limits)
        theirs: list[int] = []
        try:
            places = self._open_pipes(inputs, outputs, theirs)
            slave = None
            if terminal is not None:
                slave = places[terminal_fd] = self._open_terminal(terminal, terminal_fd)
            elif not {0, 1, 2} <= places.keys():
                theirs.append(nothing := os.open(os.devnull, os.O_RDWR))
                places = {0: nothing, 1: nothing, 2: nothing} | places
            if fds is not None:
                places.update(fds)
            self.process = await spawner.spawn(command, places, terminal=slave)
        except BaseException:
            self.close()
            raise
        finally:
            for fd in theirs:
                os.close(fd)
            if not hold_slave:
                self._close_slave()
        self.process.on_exit(self._exited)
        return self

    def _open_pipes(
        self, inputs: Mapping[int, bool], outputs: Mapping[int, int], theirs: list[int]
    ) -> dict[int, int]:
        """Open our ends and theirs, which the caller closes; return those by number."""
        places: dict[int, int] = {}
        for number, is_pipe in inputs.items():
            if is_pipe:
                places[number], ours = input_pipe()
                self.sinks[number] = PipeSink(ours, pipe_size=self._limits.pipe)
            else:
                places[number] = os.open(os.devnull, os.O_RDONLY)
            theirs.append(places[number])
        shared: dict[int, int] = {}
        for number, stream in outputs.items():
            if stream not in shared:
                ours, shared[stream] = output_pipe()
                theirs.append(shared[stream])
                self._read(stream, ours)
            places[number] = shared[stream]
        return places

    def _open_terminal(self, size: TerminalSize, number: int) -> int:
        self._master, self.slave = open_pty(size)
        self._read(TERMINAL_STREAM, self._master)
        self.sinks[number] = PipeSink(os.dup(self._master))
        return self.slave

    def _read(self, stream: int, fd: int) -> None:
        self.sources[stream] = PipeSource(
            fd,
            partial(self._forward, stream),
            self._check_end,
            block=self._limits.read_block,
            room=self._room,
            pipe_size=self._limits.pipe,
        )

    # While it runs.

    @property
    def counts(self) -> dict[int, int]:
        """The bytes that were read of each stream."""
        return {stream: source.bytes_read for stream, source in self.sources.items()}

    @property
    def duration(self) -> float:
        """Seconds since `start` was called."""
        return time.monotonic() - self._started

    @property
    def terminal(self) -> int:
        """Our end of the terminal, -1 where there is none, or none any more."""
        # A command may close its terminal and go on: the number is another descriptor's then.
        return self.sources[TERMINAL_STREAM].fd if self._master >= 0 else -1

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size, if there is one."""
        if self.terminal >= 0:
            set_size(self.terminal, size)

    def signal_foreground(self, number: signal.Signals) -> None:
        """Send a signal to the terminal's foreground group, or the process's own."""
        try:
            # Asked at our end: only a terminal's own session is told at the other.
            group = os.tcgetpgrp(self.terminal)
        except OSError:
            group = self.process.pid
        if group in (0, self.process.pid):
            self.process.signal_group(number)
        else:
            signal_group(group, number)  # it may have ended meanwhile, or be another user's (sudo)

    def resume(self) -> None:
        """Say that the outlet may have room again."""
        for source in self.sources.values():
            source.resume()

    def end_after(self, seconds: float) -> None:
        """End the process, which is timed out then, if it still runs in so many seconds."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        self.is_timed_out = True
        self._ender = asyncio.create_task(self.process.end(self._limits.kill_grace))

    def _room(self) -> int:
        room = self._outlet.room
        if room <= 0:
            self._outlet.want_room()
        return room

    def _forward(self, stream: int, data: bytes) -> None:
        if not self._outlet.is_over:
            self._outlet.write_nowait(data, stream)

    # The end.

    @property
    def is_over(self) -> bool:
        """Whether the process has ended and all its output was handed on."""
        return self._over.is_set()

    @property
    def is_held_open(self) -> bool:
        """Whether somebody still held a pipe or the terminal when the process had ended."""
        return any(source.held_open for source in self.sources.values())

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback()` once when it is over, at once if it is. There is one callback."""
        self._callback = callback
        if self.is_over:
            callback()

    async def wait(self) -> ExitStatus:
        """Wait until it is over, and return how the process ended. Safe to cancel.

        One that was timed out is over when the rest of its session has gone, too.
        """
        await self._over.wait()
        await self._ended()
        return await self.process.wait()

    async def end(self, grace: float | None = None) -> None:
        """End the process and all of its session; `Bounds.kill_grace` lies before the SIGKILL.

        Its output need not have been handed on by then. Cancelling sends the SIGKILL at once.
        """
        await self.process.end(self._limits.kill_grace if grace is None else grace)
        await self._ended()

    async def _ended(self) -> None:
        if self._ender is not None:
            await asyncio.shield(self._ender)

    def close(self) -> None:
        """Release every descriptor and the timer; no callback comes afterwards.

        The process is the caller's to end. May be called again.
        """
        self._callback = None
        self._stop_timer()
        for sink in self.sinks.values():
            sink.close()
        for source in self.sources.values():
            source.close()
        self._close_slave()
        self._check_end()  # nothing more is handed on
        self._outlet = _NOBODY

    def _close_slave(self) -> None:
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _exited(self) -> None:
        self._has_exited = True
        self._stop_timer()  # it was in time, however long its output takes
        for source in self.sources.values():
            source.drain_then_end()
        self._check_end()

    def _check_end(self) -> None:
        """One of what has to end has ended: the process, or a pipe."""
        if not self._has_exited or self.is_over:
            return
        if all(source.is_closed for source in self.sources.values()):
            self._over.set()
            self._outlet = _NOBODY  # it may hold this process
            callback, self._callback = self._callback, None
            if callback is not None:
                callback()
