"""One shell process with its pipes or terminal: the part of a persistent shell that can die.

Strategy: `ShellProcess` owns the process and every descriptor. It says `on_report` when the
shell reports and what that command printed has been read, and `on_death` when the shell has
ended and its output has been read.

Hazard: a command's last output may still be in the pipes when its report arrives. The amount
is asked of the kernel at that moment and waited for, which a background job that goes on
printing can't prolong. A terminal does not tell the amount; it is read until it is empty, up to
a bound, and what a job prints later is sent after the ending.

Hazard: on pipes, a shell that is interrupted right after a fork forgets its child, which may
have slept through the signal as well. bash then waits for it with the next command. So what is
left once an interrupted shell has reported is interrupted again; background jobs ignore that.

Hazard: most shells print a prompt before they read their first line, which takes prompts away.
What they print until then is thrown away.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from typing import Protocol

from rshell.channels.base import Context
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.channels.shell.recipe import (
    REPORT_FD,
    STDERR_FD,
    STDIN_FD,
    STDOUT_FD,
    Answer,
    Report,
    ReportReader,
    ShellRecipe,
)
from rshell.execution.exec_with_fds import argv_with_fds
from rshell.execution.pipes import PipeSink, PipeSource, input_pipe, output_pipe
from rshell.execution.reaper import signal_group
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command
from rshell.terminal.pty import open_pty, set_size, take_unread
from rshell.values import Bounds, ExitStatus, TerminalSize

_REPORT_BLOCK = 65536
_AGAIN = (0.02, 0.1, 0.5)  # seconds between interrupts of what may be between fork and exec
_TERMINAL_DRAIN = 1024 * 1024  # more than a kernel keeps for one terminal


class Outlet(Protocol):
    """Where a shell's output goes: a channel, or what stands for whoever looks at it."""

    @property
    def is_over(self) -> bool:
        """Whether nobody will want any output any more."""

    @property
    def room(self) -> int:
        """How many bytes may be written now, 0 or more."""

    def want_room(self) -> None:
        """Ask that the shell's `resume` be called once there is room again."""

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Take output of a stream, no more than there is room for."""


class ShellEnds:
    """Our ends of a shell's descriptors. `slave` is -1 without a terminal."""

    def __init__(self) -> None:
        self.lines = self.report = self.slave = -1
        self.stdin: int | None = None
        self.outputs: dict[int, int] = {}
        self.theirs: list[int] = []

    def keep(self, ours: int, theirs: int) -> int:
        """Note a pair of descriptors and return the first."""
        self.theirs.append(theirs)
        return ours

    def close_theirs(self) -> None:
        """Close what only the shell needs."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = []

    def close_ours(self) -> None:
        """Close our ends, where no ShellProcess owns them yet."""
        for fd in (self.lines, self.report, self.slave, self.stdin, *self.outputs.values()):
            if fd is not None and fd >= 0:
                os.close(fd)


class ShellProcess:
    """A running shell. `stdin` is its commands' standard input, None where that is empty."""

    def __init__(
        self,
        recipe: ShellRecipe,
        process: RunningProcess,
        ends: ShellEnds,
        outlet: Outlet,
        limits: Bounds,
    ) -> None:
        self.recipe = recipe
        self.process = process
        self.stdin = None if ends.stdin is None else PipeSink(ends.stdin)
        self.on_report: Callable[[Report], None] | None = None
        self.on_answer: Callable[[Answer], None] | None = None
        self.on_death: Callable[[ExitStatus], None] | None = None
        self._outlet = outlet
        self._slave = ends.slave
        self._master = -1 if ends.slave < 0 or ends.stdin is None else ends.stdin
        self._lines = PipeSink(ends.lines)
        self._reports = ReportReader()
        self._sent = {STDOUT: 0, STDERR: 0}
        self._awaited: tuple[Report, dict[int, int]] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._is_dead = False
        self._was_interrupted = False
        self._rest_timer: asyncio.TimerHandle | None = None
        self._discards = not recipe.is_quiet
        self._report_source = PipeSource(
            ends.report, self._receive_report, _nothing, block=_REPORT_BLOCK, room=_always
        )
        self._sources = {
            stream: PipeSource(
                fd,
                self._forward(stream),
                self._source_ended,
                block=limits.read_block,
                room=self._room,
                pipe_size=limits.pipe,
            )
            for stream, fd in ends.outputs.items()
        }
        process.on_exit(self._exited)

    def say(self, lines: bytes) -> None:
        """Give the shell lines to read, after those it was given before."""
        self._writer = asyncio.create_task(self._write(lines, self._writer))

    async def _write(self, lines: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        try:
            await self._lines.write(lines)
        except BrokenPipeError:
            pass  # it has ended; its exit says more

    def interrupt(self, number: int) -> None:
        """Interrupt the running command `number`, as Ctrl-C would."""
        self.signal(signal.SIGINT)
        self.say(self.recipe.report(number))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command: on a terminal, to the group in the foreground."""
        if self._slave >= 0:
            try:
                # Asked at our end: only a terminal's own session is told at the other.
                group = os.tcgetpgrp(self._master)
            except OSError:
                group = self.process.pid
            if group not in (0, self.process.pid):
                # It may have ended meanwhile, or be another user's, as sudo is.
                signal_group(group, number)
                return
        self._was_interrupted = self._slave < 0 and number == signal.SIGINT
        self.process.signal_group(number)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal, if there is one, another size."""
        if self._slave >= 0:
            set_size(self._slave, size)

    def take_unread(self) -> bytes:
        """Take back what was typed on the terminal and read by no command, in order."""
        if self._slave < 0 or self.stdin is None:
            return b""
        return take_unread(self._slave) + self.stdin.take_back()

    def resume(self) -> None:
        """There may be room for output again."""
        for source in self._sources.values():
            source.resume()

    @property
    def counts(self) -> dict[int, int]:
        """The bytes sent of each output stream."""
        return dict(self._sent)

    def close(self) -> None:
        """Release every descriptor and task. The process is the caller's to end."""
        self.on_report = self.on_answer = self.on_death = None
        if self._writer is not None:
            self._writer.cancel()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        self._lines.close()
        if self.stdin is not None:
            self.stdin.close()
        self._report_source.close()
        for source in self._sources.values():
            source.close()
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    # Output.

    def _forward(self, stream: int) -> Callable[[bytes], None]:
        def forward(data: bytes) -> None:
            if not self._outlet.is_over and not self._discards:
                self._sent[stream] += len(data)
                self._outlet.write_nowait(data, stream)
            self._check_drained()

        return forward

    def _room(self) -> int:
        if self._discards:
            return _REPORT_BLOCK
        room = self._outlet.room
        if room <= 0:
            self._outlet.want_room()
        return room

    # Reports.

    def _receive_report(self, data: bytes) -> None:
        for item in self._reports.feed(data):
            if isinstance(item, Answer):
                if self.on_answer is not None:
                    self.on_answer(item)
                continue
            if item.number == 0 and not self._discards:
                self._tell(item)  # nobody listens yet; what it printed is sent later
                continue
            if self._awaited is not None and self._awaited[0].number == item.number:
                continue  # asked for twice; the first has the status
            ahead = _TERMINAL_DRAIN if self._slave >= 0 else 0
            targets = {
                stream: source.bytes_read + (ahead or source.waiting())
                for stream, source in self._sources.items()
            }
            self._awaited = (item, targets)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._awaited is None:
            return
        report, targets = self._awaited
        for stream, count in targets.items():
            source = self._sources[stream]
            if source.bytes_read < count and (self._slave < 0 or source.is_readable()):
                return
        self._awaited = None
        self._discards = False
        self._tell(report)

    def _tell(self, report: Report) -> None:
        if self._was_interrupted:
            self._was_interrupted = False
            if self._rest_timer is not None:
                self._rest_timer.cancel()
            self._interrupt_rest(self.process.followers(), _AGAIN)
        if self.on_report is not None:
            self.on_report(report)

    def _interrupt_rest(self, pids: list[int], again: tuple[float, ...]) -> None:
        """Interrupt what an interrupted shell left; none of it is the next command's."""
        self._rest_timer = None
        self.process.signal_followers(pids, signal.SIGINT)
        if pids and again:
            loop = asyncio.get_running_loop()
            self._rest_timer = loop.call_later(again[0], self._interrupt_rest, pids, again[1:])

    # The end.

    def _exited(self) -> None:
        for source in self._sources.values():
            source.drain_then_end()
        self._source_ended()

    def _source_ended(self) -> None:
        status = self.process.exit_status
        ended = all(source.closed for source in self._sources.values())
        if status is not None and ended and not self._is_dead:
            self._is_dead = True
            if self.on_death is not None:
                self.on_death(status)


def _nothing() -> None:
    """The end of the report pipe says nothing that the shell's exit does not say better."""


def _always() -> int:
    return _REPORT_BLOCK


async def start_shell(
    context: Context,
    recipe: ShellRecipe,
    cwd: str,
    environment: Mapping[str, str],
    outlet: Outlet,
    *,
    stdin: bool,
    terminal: TerminalSize | None,
) -> ShellProcess:
    """Start a shell with its descriptors in place; its first report has the number 0.

    Raises SpawnError, or OSError where the server has no descriptors left.
    """
    ends = ShellEnds()
    try:
        lines_end, ends.lines = input_pipe()
        ends.theirs.append(lines_end)
        ends.report = ends.keep(*output_pipe())
        places = {0: lines_end, REPORT_FD: ends.theirs[-1]}
        if terminal is not None:
            standard = _open_terminal(ends, places, terminal)
        else:
            standard = _open_pipes(ends, places, stdin=stdin)
        process = await context.spawner.spawn(
            Command(argv_with_fds(recipe.argv, places), cwd, environment),
            stdin=standard,
            stdout=standard,
            stderr=standard,
            pass_fds=tuple(fd for fd in places.values() if fd > 2),
            terminal=terminal is not None,
        )
    except BaseException:
        ends.close_ours()
        raise
    finally:
        ends.close_theirs()
    shell = ShellProcess(recipe, process, ends, outlet, context.limits)
    shell.say(recipe.start())
    return shell


def _open_pipes(ends: ShellEnds, places: dict[int, int], *, stdin: bool) -> int:
    """Give commands pipes; the shell's own output, its prompts, goes nowhere."""
    ends.outputs[STDOUT] = ends.keep(*output_pipe())
    places[STDOUT_FD] = ends.theirs[-1]
    ends.outputs[STDERR] = ends.keep(*output_pipe())
    places[STDERR_FD] = ends.theirs[-1]
    if stdin:
        stdin_end, ends.stdin = input_pipe()
    else:
        stdin_end = os.open(os.devnull, os.O_RDONLY)
    ends.theirs.append(stdin_end)
    places[STDIN_FD] = stdin_end
    nothing = os.open(os.devnull, os.O_RDWR)
    ends.theirs.append(nothing)
    return nothing


def _open_terminal(ends: ShellEnds, places: dict[int, int], size: TerminalSize) -> int:
    """Give commands and the shell one terminal; the shell itself never reads it.

    Our own copy of the slave stays open: it is how typed and unread bytes are taken back.
    """
    master, slave = open_pty(size)
    ends.outputs[STDOUT] = master
    ends.theirs.append(slave)
    ends.slave = os.dup(slave)
    ends.stdin = os.dup(master)
    places[STDIN_FD] = 0
    return slave
