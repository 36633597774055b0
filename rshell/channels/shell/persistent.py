"""The shell that stays: one process after another, one command at a time.

On a terminal it is the user's own (native/), if it has a line editor that takes lines; a plain
one, and every shell on pipes, reads lines that say how a command is run (recipe.py). What its
startup files do is a command with the number 0, for it has the terminal like any other.

A command ends with the shell's report, or with the shell's death. A shell that died is
replaced in the directory it was last in, unless it was asked to leave, and the ending says so. A
command that does not yield to an interrupt within `kill_grace` seconds costs the shell its life,
which is the worst that a command can do.

On a terminal, a shell that exits of itself was asked to (`exit`, `logout`, the end of its
input). Not by a failure under `set -e`, which nobody means to be the end of their shell.

Hazard: everything here runs in callbacks of the loop. What takes longer is a clean-up of the
context's, and looks whether its shell still is the present one.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.channels.process.messages import STDERR, STDOUT, Notice
from rshell.channels.process.server import user_shell
from rshell.channels.shell.messages import (
    RunCommand,
    ShellEnding,
    ShellPrompt,
    ShellRequest,
)
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.processes import AnyProcess, start_process
from rshell.channels.shell.recipe import Report
from rshell.channels.shell.shell_process import ShellProcess
from rshell.errors import SpawnError
from rshell.execution.piped_process import Outlet
from rshell.execution.spawn import NOT_EXECUTABLE
from rshell.protocol.codec import Json, Message
from rshell.values import ExitStatus, TerminalSize

_INTERRUPT = b"\x03"
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
_NOTHING = {STDOUT: 0, STDERR: 0}
_EXITS = re.compile(r"\s*\\?(?:exit|logout)(?:\s+\d+)?\s*\Z")
_SETS_ERREXIT = re.compile(r"\bset\s+-\w*e|\berrexit\b")


_STARTUP = RunCommand(0, "")  # what startup files do


class PersistentShell:
    """A shell that prints to `outlet`. `on_done` gets each ending, `on_failure` why it can't go on.

    `on_cut` gets what is known of a command that was at work when the shell was closed, once all
    that ran has ended. `on_message` gets what else the client is told: its prompts and notices.
    `cwd` is the shell's directory and `program` its path; `taken` counts the bytes of input.
    `running` is the command at work, None while the shell is idle; `prompt` what it shows then.
    """

    def __init__(
        self,
        outlet: Outlet,
        context: Context,
        request: ShellRequest,
        on_done: Callable[[ShellEnding], None],
        on_failure: Callable[[str], None],
        on_cut: Callable[[Json], None],
        on_message: Callable[[Message], None],
    ) -> None:
        self.program = user_shell(context.environment)
        self.cwd, self.environment = context.place(request)
        self.has_terminal = request.terminal is not None
        self.running: RunCommand | None = None
        self.taken = 0
        self.prompt: ShellPrompt | None = None
        self._outlet = outlet
        self._context = context
        self._request = request
        self._size = None if request.terminal is None else request.terminal.size
        self._on_done = on_done
        self._on_failure = on_failure
        self._on_cut = on_cut
        self._on_message = on_message
        self._shell: AnyProcess | None = None
        self._revived: Callable[[], None] | None = None  # when the next shell is at its prompt
        self._ready = asyncio.Event()
        self._is_told = False  # the shell knows of the running command
        self._was_exit = False
        self._started = 0.0
        self._last = 0
        self._flags = ""
        self._timed_out = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        self._reported = dict(_NOTHING)
        self._is_closed = False

    # Its life.

    async def start(self, unreported: Mapping[int, int] | None = None) -> None:
        """Start a shell. Raises SpawnError and OSError.

        One that reads lines is ready afterwards; the user's own on a terminal starts as it likes.
        `unreported` counts the bytes that the shell before it sent since the last ending; None says
        that there was none.
        """
        self._ready.clear()
        # A directory that was asked for has to be there; one that has gone since need not.
        is_there = unreported is None or Path(self.cwd).is_dir()
        shell = await start_process(
            self._context,
            self._request,
            self.program,
            self.cwd if is_there else self._context.cwd,
            self.environment,
            self._outlet,
            self._size,
        )
        self._shell = shell
        if self._is_closed:
            self.close()
            return
        sent = unreported or _NOTHING
        self._reported = {stream: -count for stream, count in sent.items()}
        shell.on_report = self._report
        shell.on_prompt = self._show_prompt
        shell.on_notice = lambda text: self._on_message(Notice(text))
        shell.on_death = self._died
        if isinstance(shell, NativeProcess):
            self._ready.set()
            if unreported is None:
                self.running, self._is_told = _STARTUP, True
                self._started = time.monotonic()
            return
        seconds = self._context.limits.open_timeout
        try:
            async with timeout(seconds):
                await self._ready.wait()
        except TimeoutError as error:
            why = (
                f"it is not ready after {seconds:g} s, as when its startup files wait for something"
            )
            raise SpawnError(NOT_EXECUTABLE, why) from error

    @property
    def is_starting(self) -> bool:
        """Whether its startup files run, or what they or nobody made of it."""
        return self.running is _STARTUP

    async def write(self, data: bytes) -> bytes:
        """Give commands input. What a shell that died has not read died with it.

        Returns what comes too late for the terminal: no command runs that could read it.
        """
        self.taken += len(data)
        is_waiting = self.running is not None and not self._is_told
        if self.has_terminal and is_waiting and _INTERRUPT in data:
            self._is_cancelled = True  # the shell has yet to hear of what this is meant for
        await self._ready.wait()
        if self._shell is not None:
            await self._shell.may_type()
        shell = self._shell
        if self.has_terminal and self.running is None:
            return data
        if shell is None or shell.stdin is None:
            return b""
        try:
            await shell.stdin.write(data)
        except BrokenPipeError:
            return b""
        if self.has_terminal and self.running is not None and self._is_told and _INTERRUPT in data:
            shell.ask_again(self.running.number)
        return b""

    def end_input(self) -> None:
        """Close the commands' input."""
        if self._shell is not None and self._shell.stdin is not None and not self.has_terminal:
            self._shell.stdin.close()

    def resume(self) -> None:
        """There may be room for output again."""
        if self._shell is not None:
            self._shell.resume()

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size, now and after a restart."""
        self._size = size
        if self._shell is not None:
            self._shell.resize(size)

    def close(self) -> None:
        """End the shell and what runs in it, without waiting."""
        cut = None if self._is_closed else self.running
        self._is_closed = True
        self._stop_timer()
        if cut is not None and not self._is_told:
            self._on_cut({"number": cut.number, "cut_short": True, "started": False})
            cut = None
        sent = self._count()
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.close()
            self._context.clean_up(self._end(shell, cut, sent))
        self._ready.set()  # nobody waits for a shell any more

    async def _end(self, shell: AnyProcess, cut: RunCommand | None, sent: dict[int, int]) -> None:
        process = shell.process
        try:
            # An interactive shell ignores SIGTERM; SIGHUP ends it, and its jobs, at once.
            process.signal_group(signal.SIGHUP)
            await process.end(self._context.limits.kill_grace)
            self._cut(cut, await process.wait(), sent)
        finally:
            shell.release()

    def _cut(self, victim: RunCommand | None, status: ExitStatus, sent: dict[int, int]) -> None:
        """Say of a command whose ending nobody gets that it ended with its shell."""
        if victim is not None and self.running is victim:
            self.running = None  # also where the next shell is closed while it starts: said once
            self._on_cut(self._ending(victim.number, status, sent).facts() | {"cut_short": True})

    # Commands.

    def run(self, command: RunCommand) -> None:
        """Run a command; `on_done` follows. The shell must be idle."""
        assert self.running is None
        self.running = command
        self._is_told = self._is_cancelled = False
        self._started = time.monotonic()
        self._timed_out = False
        shell = self._ready_shell()
        if shell is not None:
            self._tell(shell, command)
        # Else it is being started anew, and takes the command then.

    def _ready_shell(self) -> AnyProcess | None:
        """Return the shell, None while it is being started, again: signals aren't for that one."""
        return self._shell if self._ready.is_set() else None

    def _tell(self, shell: AnyProcess, command: RunCommand) -> None:
        self._is_told = True  # never twice
        text = command.command
        is_exit = self.has_terminal and _EXITS.match(text) is not None
        if is_exit and self._was_exit and isinstance(shell, ShellProcess):
            # With stopped jobs, shells leave only for two of them in a row; our lines come between.
            text = f"{text} 2>/dev/null\n{text}"
        self._was_exit = is_exit
        shell.run(command.number, text, self._last)
        if command.timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(command.timeout, self._time_out)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running command, if one runs.

        One that asks for its end keeps a command that waits for the shell from beginning.
        """
        if self.running is None:
            return
        shell = self._ready_shell()
        if shell is not None and self._is_told:
            shell.signal(number, self.running.number)
        elif number in _ENDING_SIGNALS:
            self._is_cancelled = True

    def cancel(self) -> None:
        """Interrupt the command; a shell that does not yield is ended."""
        if self.running is None:
            return
        shell = self._ready_shell()
        if shell is None or not self._is_told:
            self._is_cancelled = True
            return
        self._stop_timer()
        # A signal that hits a child between fork and exec is lost: halfway there is a second one.
        self._interrupt(partial(self._interrupt, self._kill))

    def _interrupt(self, otherwise: Callable[[], None]) -> None:
        """Interrupt the command; call `otherwise` after half the grace if it does not yield."""
        if self.running is not None and self._shell is not None:
            self._shell.interrupt(self.running.number)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._context.limits.kill_grace / 2, otherwise)

    async def ask(self, kind: str, number: int, text: str) -> list[str] | None:
        """Ask the idle shell a question; None without an answer in time. Cancelling is safe."""
        shell = self._ready_shell()
        if shell is None or self.running is not None:
            return None
        return await shell.ask(kind, number, text)

    # What the shell says.

    def _report(self, report: Report) -> None:
        self.cwd = report.cwd
        self._flags = report.flags
        if report.number == 0:
            self._ready.set()
            revived, self._revived = self._revived, None
            if revived is not None:
                revived()
                return
        if self.running is not None and report.number == self.running.number:
            self._finish(ExitStatus(code=min(report.status, 255)))

    def _show_prompt(self, prompt: ShellPrompt) -> None:
        self.prompt = prompt
        self._on_message(prompt)

    def _tell_waiting(self) -> None:
        """Have the idle shell run the command that came while it was not."""
        if self.running is None or self._shell is None or self._is_told:
            return
        if self._is_cancelled:
            self._finish(ExitStatus.from_returncode(-signal.SIGINT))
        else:
            self._tell(self._shell, self.running)

    def _died(self, status: ExitStatus) -> None:
        """The shell ended: by `exit`, `exec`, a signal, or because it could not go on."""
        sent = self._count()
        victim = self.running if self._is_told else None
        self._stop_timer()  # the next shell has not earned what was to come
        shell, self._shell = self._shell, None
        if isinstance(shell, NativeProcess) and shell.keeps_line:
            self._is_told, victim = False, None  # the next shell runs it
        has_reported = shell is not None and shell.has_reported
        if shell is not None:
            shell.close()
            shell.release()
        was_exit = victim is not None and self._was_exit
        was_asked = has_reported and (was_exit or not self._has_errexit())
        # The user's own shell would go on dying where it died before its first prompt.
        is_hopeless = self.is_starting or (isinstance(shell, NativeProcess) and not has_reported)
        if is_hopeless or (self.has_terminal and status.code is not None and was_asked):
            if self.running is not None:
                self._finish(status, sent=sent, left=True)
            else:
                self._on_failure(f"the shell {status}")
            return
        self._context.clean_up(self._restart(status, sent, victim))

    def _has_errexit(self) -> bool:
        """Whether the shell was told to end at the first failure, as far as can be known."""
        command = "" if self.running is None else self.running.command
        return "e" in self._flags or _SETS_ERREXIT.search(command) is not None

    async def _restart(
        self, status: ExitStatus, sent: dict[int, int], victim: RunCommand | None
    ) -> None:
        if not self._ready.is_set():
            # It died before its first report: the next one would, too.
            self._on_failure(f"the shell {status} as soon as it was started")
            self._ready.set()
            return
        try:
            await self.start(sent)
        except Exception as error:  # whatever it is, nobody may wait for this shell any more
            self._cut(victim, status, sent)
            self._on_failure(f"the shell ended and can't be started anew: {error}")
            if not isinstance(error, (SpawnError, OSError)):
                raise
            return
        if self._is_closed or self._shell is None:
            self._cut(victim, status, sent)
            return
        if self._shell.has_reported:
            self._revive(status, victim)
        else:
            self._revived = partial(self._revive, status, victim)

    def _revive(self, status: ExitStatus, victim: RunCommand | None) -> None:
        """Tell that a shell has taken the place of one that died; it is at its prompt."""
        if victim is not None:
            self._finish(status, restarted=True)
            return
        if self.has_terminal:  # a person is told at once
            self._on_done(self._ending(0, status, self._count()).replace(restarted=True))
        self._tell_waiting()

    # Endings.

    def _finish(
        self,
        status: ExitStatus,
        *,
        sent: dict[int, int] | None = None,
        restarted: bool = False,
        left: bool = False,
    ) -> None:
        assert self.running is not None
        self._stop_timer()
        number = self.running.number
        unread = self._shell.take_unread() if self._shell is not None else b""
        ending = self._ending(number, status, self._count() if sent is None else sent)
        done = ending.replace(
            duration=time.monotonic() - self._started,
            timed_out=self._timed_out,
            restarted=restarted,
            left=left,
            unread=unread.decode(errors="surrogateescape"),
            taken=self.taken if self.has_terminal else 0,
        )
        self.running = None
        self._last = 0 if restarted else status.shell_status
        self._on_done(done)

    def _ending(self, number: int, status: ExitStatus, sent: dict[int, int]) -> ShellEnding:
        return ShellEnding(number, status, self.cwd, sent[STDOUT], sent[STDERR], duration=0.0)

    def _count(self) -> dict[int, int]:
        """Return the bytes sent since the last ending, and begin to count the next."""
        if self._shell is None:
            return dict(_NOTHING)
        now = dict(self._shell.counts)
        sent = {stream: count - self._reported[stream] for stream, count in now.items()}
        self._reported = now
        return sent

    def _time_out(self) -> None:
        self._timed_out = True
        self.cancel()

    def _kill(self) -> None:
        if self._shell is not None:
            self._context.clean_up(self._shell.process.end(0))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
