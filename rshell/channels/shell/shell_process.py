"""One shell process with its pipes or terminal: the part of a persistent shell that can die.

It is one that reads lines, a `ShellProcess`, or on a terminal the user's own (native/);
`start_process` chooses.

`ShellProcess` says `on_report` when the shell reports and what that command printed has been read,
and `on_death` when the shell has ended and its output has been read.

Hazards:
- A command's last output may still be in the pipes when its report arrives. The amount is asked
  of the kernel at that moment and waited for, which a background job that goes on printing can't
  prolong. A terminal does not tell the amount; it is read until it is empty, up to a bound, and
  what a job prints later is sent after the ending.
- On pipes, a shell that is interrupted right after a fork forgets its child, which may have slept
  through the signal as well. bash then waits for it with the next command. What is left once an
  interrupted shell has reported is interrupted again; background jobs ignore that.
- Most shells print a prompt before they read their first line, which takes prompts away. What
  they print until then is thrown away.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Union

from rshell.aio import on_failure
from rshell.channels.base import Context
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.channels.shell.messages import ShellPrompt, ShellRequest
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.native.startup import native_kind
from rshell.channels.shell.recipe import (
    REPORT_FD,
    STDERR_FD,
    STDIN_FD,
    STDOUT_FD,
    Report,
    ReportReader,
    ShellRecipe,
    is_exit,
    shows_lines,
)
from rshell.execution.piped_process import Outlet, PipedProcess
from rshell.execution.pipes import TERMINAL_DRAIN, PipeSink, PipeSource, output_pipe
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command
from rshell.terminal.pty import open_idle_terminal, take_unread
from rshell.values import ExitStatus, TerminalSize

_REPORT_BLOCK = 65536
_AGAIN = (0.02, 0.1, 0.5)  # seconds between interrupts of what may be between fork and exec


class ShellProcess:
    """A running shell, made by `start`, that prints to `outlet`.

    It is the outlet of its own pipes: it counts what passes (`counts`, by stream), and sees what is
    still to come. `process` is the caller's to end; `stdin` is the commands', None where it is
    empty.
    """

    process: RunningProcess
    _piped: PipedProcess
    _report_source: PipeSource

    def __init__(self, recipe: ShellRecipe, outlet: Outlet, *, has_terminal: bool) -> None:
        self.recipe = recipe
        self.has_reported = False
        self.on_report: Callable[[Report], None] = _ignore
        self.on_prompt: Callable[[ShellPrompt], None] = _ignore  # it shows none
        self.on_notice: Callable[[str], None] = _ignore
        self.on_death: Callable[[ExitStatus], None] = _ignore
        self.counts = {STDOUT: 0, STDERR: 0}
        self.stdin: PipeSink | None = None
        self._outlet = outlet
        self._has_terminal = has_terminal
        self._reports = ReportReader()
        self._awaited: tuple[Report, dict[int, int]] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._parts: tuple[int, ...] = ()  # the statuses of the last pipeline's parts
        self._keeps = True
        self._was_exit = False
        self._was_interrupted = False
        self._rest_timer: asyncio.TimerHandle | None = None
        self._discards = True  # what it prints before its first line prompts for that

    @classmethod
    async def start(
        cls,
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
        has_terminal = terminal is not None
        self = cls(recipe, outlet, has_terminal=has_terminal)
        reports, theirs = output_pipe()
        fds = {REPORT_FD: theirs}
        if recipe.resets_terminal:
            with suppress(OSError):  # no terminal is left: it complains, and works all the same
                fds[STDERR] = open_idle_terminal()
        try:
            self._piped = await PipedProcess.start(
                context.spawner,
                Command(recipe.argv, cwd, environment),
                self,
                context.limits,
                # Without a terminal the shell's own output, its prompts, goes nowhere.
                inputs={0: True} if has_terminal else {0: True, STDIN_FD: stdin},
                outputs={} if has_terminal else {STDOUT_FD: STDOUT, STDERR_FD: STDERR},
                terminal=terminal,
                terminal_fd=STDIN_FD,
                hold_slave=has_terminal,  # what was typed and read by nobody is taken back there
                fds=fds,
            )
        except BaseException:
            os.close(reports)
            raise
        finally:
            for fd in fds.values():
                os.close(fd)
        self.process = self._piped.process
        self.stdin = self._piped.sinks.get(STDIN_FD)
        self._report_source = PipeSource(
            reports, self._receive_report, _ignore, block=_REPORT_BLOCK, room=_always
        )
        self._piped.on_end(self._ended)
        self.say(recipe.start())
        return self

    def say(self, lines: bytes) -> None:
        """Give the shell lines to read, after those it was given before."""
        self._writer = asyncio.create_task(self._write(lines, self._writer))
        # A shell that can't be told what to do must not be waited for: its death is its report.
        on_failure(self._writer, lambda _: self.process.signal_group(signal.SIGKILL))

    async def _write(self, lines: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        try:
            await self._piped.sinks[0].write(lines)
        except BrokenPipeError:
            pass  # it has ended; its exit says more

    def run(self, number: int, text: str, last: int) -> None:
        """Have the shell run `text`; its report has this number. `last` is the status before."""
        was_exit, self._was_exit = self._was_exit, self._has_terminal and is_exit(text)
        if was_exit and self._was_exit:
            # With stopped jobs, shells leave only for two of them in a row; our lines come between.
            text = f"{text} 2>/dev/null\n{text}"
        if shows_lines(text):
            self._keeps = False  # from now on: it may have put it into a function
        self.say(self.recipe.run(number, text, last, self._parts, keeps=self._keeps))

    def withdraw(self, number: int) -> bool:
        """Return False: a line has been given to the shell at once."""
        return False

    async def may_type(self) -> None:
        """Return at once: keys are always the command's."""

    def ask_again(self, number: int) -> None:
        """Ask for the report of the command `number`, which an interrupted shell may have lost."""
        self.say(self.recipe.report(number))

    async def ask(self, kind: str, number: int, text: str) -> list[str] | None:
        """Return None: this shell answers no questions."""
        return None

    def interrupt(self, number: int) -> None:
        """Interrupt the running command `number`, as Ctrl-C would."""
        self.signal(signal.SIGINT, number)

    def signal(self, signum: signal.Signals, number: int) -> None:
        """Send a signal to the command `number`: on a terminal, to the group in the foreground."""
        if self._has_terminal:
            self._piped.signal_foreground(signum)
        else:
            self._was_interrupted = signum == signal.SIGINT
            self.process.signal_group(signum)
        self.ask_again(number)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal, if there is one, another size."""
        self._piped.resize(size)

    def take_unread(self) -> bytes:
        """Take back what was typed on the terminal and read by no command, in order."""
        if not self._has_terminal or self.stdin is None:
            return b""
        return take_unread(self._piped.slave) + self.stdin.take_back()

    def resume(self) -> None:
        """There may be room for output again."""
        self._piped.resume()

    def close(self) -> None:
        """Stop telling anybody anything; no line is written any more, and nothing interrupted."""
        self._was_interrupted = False  # a report that is still to come would go on with it
        self.on_report = self.on_death = _ignore
        if self._writer is not None:
            self._writer.cancel()
        if self._rest_timer is not None:
            self._rest_timer.cancel()

    def release(self) -> None:
        """Close every descriptor, once the process has ended.

        Before that, the end of its input would be taken for the whole of it, and a pipe that is
        closed is what the shell or its command would die of rather than of being ended.
        """
        self._report_source.close()
        self._piped.close()

    # The outlet of its pipes.

    @property
    def is_over(self) -> bool:
        """Whether nobody wants any output. It is read all the same, for reports come after it."""
        return False

    @property
    def room(self) -> int:
        """How many bytes may come now."""
        return _REPORT_BLOCK if self._discards else self._outlet.room

    def want_room(self) -> None:
        """Ask the outlet to call `resume`."""
        self._outlet.want_room()

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Pass on what commands print."""
        if not self._outlet.is_over and not self._discards:
            self.counts[stream] += len(data)
            self._outlet.write_nowait(data, stream)
        self._check_drained()

    # Reports.

    def _receive_report(self, data: bytes) -> None:
        for item in self._reports.feed(data):
            if self._awaited is not None and self._awaited[0].number == item.number:
                continue  # asked for twice; the first has the status
            ahead = TERMINAL_DRAIN if self._has_terminal else 0
            targets = {
                stream: source.bytes_read + (ahead or source.waiting())
                for stream, source in self._piped.sources.items()
            }
            self._awaited = (item, targets)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._awaited is None:
            return
        report, targets = self._awaited
        for stream, count in targets.items():
            source = self._piped.sources[stream]
            if source.bytes_read < count and (not self._has_terminal or source.is_readable()):
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
        self.has_reported = True
        self._parts = report.parts
        self.on_report(report)

    def _interrupt_rest(self, pids: list[int], again: tuple[float, ...]) -> None:
        """Interrupt what an interrupted shell left; none of it is the next command's."""
        self._rest_timer = None
        self.process.signal_followers(pids, signal.SIGINT)
        if pids and again:
            loop = asyncio.get_running_loop()
            self._rest_timer = loop.call_later(again[0], self._interrupt_rest, pids, again[1:])

    def _ended(self) -> None:
        status = self.process.exit_status
        assert status is not None
        self.on_death(status)


def _ignore(*_: object) -> None:
    """Nobody listens; the end of the report pipe says no more than the shell's exit, anyway."""


def _always() -> int:
    return _REPORT_BLOCK


# Either of them.

AnyProcess = Union[ShellProcess, NativeProcess]


async def start_process(
    context: Context,
    request: ShellRequest,
    program: str,
    cwd: str,
    environment: Mapping[str, str],
    outlet: Outlet,
    size: TerminalSize | None,
) -> AnyProcess:
    """Start `program` in `cwd`, on a terminal of `size` where that is not None.

    Raises SpawnError, and OSError where the server has no descriptors left.
    """
    kind = None if size is None else native_kind(program)
    if kind is not None and size is not None:
        return await NativeProcess.start(
            context, kind, program, cwd, environment, outlet, size, login=request.login
        )
    return await ShellProcess.start(
        context,
        ShellRecipe.choose(program, terminal=size is not None),
        cwd,
        environment,
        outlet,
        stdin=request.stdin,
        terminal=size,
    )


async def end_process(shell: AnyProcess, grace: float) -> ExitStatus:
    """End a shell that was closed, and what runs in it; release all of it.

    An interactive shell ignores SIGTERM; SIGHUP ends it, and its jobs, at once.
    """
    try:
        shell.process.signal_group(signal.SIGHUP)
        await shell.process.end(grace)
        return await shell.process.wait()
    finally:
        shell.release()
