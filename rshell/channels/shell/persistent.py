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
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.channels.process.messages import STDERR, STDOUT, Notice
from rshell.channels.process.server import user_shell
from rshell.channels.shell.errands.desk import ErrandDesk
from rshell.channels.shell.messages import RunCommand, ShellEnding, ShellPrompt, ShellRequest
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.recipe import Report, is_exit
from rshell.channels.shell.running_command import RunningCommand
from rshell.channels.shell.shell_process import AnyProcess, end_process, start_process
from rshell.errors import SpawnError
from rshell.execution.piped_process import Outlet
from rshell.execution.spawn import NOT_EXECUTABLE
from rshell.protocol.codec import Json, Message
from rshell.values import ExitStatus, TerminalSize

_INTERRUPT = b"\x03"
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
_Counts = dict[int, int]  # bytes of each stream
_NOTHING = {STDOUT: 0, STDERR: 0}
_STARTUP = RunCommand(0, "")  # what startup files do


class PersistentShell:
    """A shell that prints to `outlet`. `on_done` gets each ending, `on_failure` why it can't go on.

    `on_cut` gets what is known of a command that was at work when the shell was closed, once all
    that ran has ended. `on_message` gets what else the client is told: its prompts and notices.
    `cwd` is the shell's directory and `program` its path; `taken` counts the bytes of input.
    `running` is the command at work, if any, `errands` what it asks the client for; `prompt` is
    what the idle shell shows.
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
        self.running: RunningCommand | None = None
        self.taken = 0
        self.prompt: ShellPrompt | None = None
        self.errands = ErrandDesk(lambda: self.running is not None)
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
        self._last, self._flags = 0, ""
        self._reported = dict(_NOTHING)
        self._is_closed = False

    # Its life.

    async def start(self, unreported: Mapping[int, int] | None = None) -> None:
        """Start a shell. Raises SpawnError and OSError.

        One that reads lines is ready afterwards; the user's own on a terminal starts as it likes.
        `unreported` counts what the shell before it sent since the last ending, if there was one.
        """
        self._ready.clear()
        if unreported is None:
            self.environment = await self.errands.open(self.environment)
        # A directory that was asked for has to be there; one that has gone since need not be.
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
        self._reported = {stream: -count for stream, count in (unreported or _NOTHING).items()}
        shell.on_report = self._report
        shell.on_prompt = self._show_prompt
        shell.on_notice = lambda text: self._on_message(Notice(text))
        shell.on_death = self._died
        if isinstance(shell, NativeProcess):
            self._ready.set()
            if unreported is None:
                self.running = RunningCommand(_STARTUP, is_told=True)
            return
        seconds = self._context.limits.open_timeout
        try:
            async with timeout(seconds):
                await self._ready.wait()
        except TimeoutError as error:
            why = f"it is not ready after {seconds:g} s; its startup files may wait for something"
            raise SpawnError(NOT_EXECUTABLE, why) from error

    @property
    def is_starting(self) -> bool:
        """Whether its startup files run, or what they or nobody made of it."""
        return self.running is not None and self.running.number == 0

    async def write(self, data: bytes) -> bytes:
        """Give commands input. What a shell that died has not read died with it.

        Returns what comes too late for the terminal: no command runs that could read it.
        """
        self.taken += len(data)
        running = self.running
        if self.has_terminal and running is not None and not running.is_told:
            # The shell has yet to hear of what an interrupt is meant for.
            running.is_cancelled = running.is_cancelled or _INTERRUPT in data
        await self._ready.wait()
        if self._shell is not None and not (_INTERRUPT in data and self._withdraw(self._shell)):
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
        running = self.running
        if self.has_terminal and running is not None and running.is_told and _INTERRUPT in data:
            shell.ask_again(running.number)
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
        cut = None if self._is_closed or self.is_starting else self.running
        self._is_closed = True
        self._stop_waiting()
        self.errands.close()
        if cut is not None and not cut.is_told:
            self._on_cut({"number": cut.number, "cut_short": True, "started": False})
            cut = None
        sent = self._count()
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.close()
            self._context.clean_up(self._end(shell, cut, sent))
        self._ready.set()  # nobody waits for a shell any more

    async def _end(self, shell: AnyProcess, cut: RunningCommand | None, sent: _Counts) -> None:
        self._cut(cut, await end_process(shell, self._context.limits.kill_grace), sent)

    def _cut(self, victim: RunningCommand | None, status: ExitStatus, sent: _Counts) -> None:
        """Say of a command whose ending nobody gets that it ended with its shell."""
        if victim is not None and self.running is victim:
            self.running = None  # also where the next shell is closed while it starts: said once
            self._on_cut(self._ending(victim.number, status, sent).facts() | {"cut_short": True})

    # Commands.

    def run(self, command: RunCommand) -> None:
        """Run a command; `on_done` follows. The shell must be idle."""
        assert self.running is None
        self.running = RunningCommand(command)
        shell = self._ready_shell()
        if shell is not None:  # else it is being started anew, and takes the command then
            self._tell(shell, self.running)

    def _ready_shell(self) -> AnyProcess | None:
        """Return the shell, None while it is being started, again: signals aren't for that one."""
        return self._shell if self._ready.is_set() else None

    def _tell(self, shell: AnyProcess, running: RunningCommand) -> None:
        running.begin(self.cancel)  # never twice
        shell.run(running.number, running.text, self._last)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running command, if one runs.

        One that asks for its end keeps a command that waits for the shell from beginning.
        """
        if self.running is None:
            return
        shell = self._ready_shell()
        is_ending = number in _ENDING_SIGNALS
        if shell is None or not self.running.is_told:
            self.running.is_cancelled = self.running.is_cancelled or is_ending
        elif not (is_ending and self._withdraw(shell)):
            shell.signal(number, self.running.number)

    def _withdraw(self, shell: AnyProcess) -> bool:
        """End the command before it begins, if the shell has not been given it; whether it was."""
        if self.running is None or not shell.withdraw(self.running.number):
            return False
        self._finish(ExitStatus.from_returncode(-signal.SIGINT))
        return True

    def cancel(self) -> None:
        """Interrupt the command; a shell that does not yield is ended."""
        if self.running is None:
            return
        shell = self._ready_shell()
        if shell is None or not self.running.is_told:
            self.running.is_cancelled = True
        elif not self._withdraw(shell):
            interrupt = partial(shell.interrupt, self.running.number)
            self.running.cancel(interrupt, self._kill, self._context.limits.kill_grace)

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
        if self.running is None or self._shell is None or self.running.is_told:
            return
        if self.running.is_cancelled:
            self._finish(ExitStatus.from_returncode(-signal.SIGINT))
        else:
            self._tell(self._shell, self.running)

    def _died(self, status: ExitStatus) -> None:
        """The shell ended: by `exit`, `exec`, a signal, or because it could not go on."""
        sent = self._count()
        running, shell, self._shell = self.running, self._shell, None
        victim = running if running is not None and running.is_told else None
        self._stop_waiting()  # the next shell has not earned what was to come
        if victim is not None and shell is not None and shell.withdraw(victim.number):
            victim.is_told, victim = False, None  # the next shell runs it
        if shell is not None:
            shell.close()
            shell.release()
        was_exit = victim is not None and is_exit(victim.text)
        has_reported = shell is not None and shell.has_reported
        was_asked = has_reported and (was_exit or not self._has_errexit())
        # The user's own shell would go on dying where it died before its first prompt.
        is_hopeless = self.is_starting or (isinstance(shell, NativeProcess) and not has_reported)
        if is_hopeless or (self.has_terminal and status.code is not None and was_asked):
            if running is not None:
                self._finish(status, sent=sent, left=True)
            else:
                self._on_failure(f"the shell {status}")
            return
        self._context.clean_up(self._restart(status, sent, victim))

    def _has_errexit(self) -> bool:
        """Whether the shell was told to end at the first failure, as far as can be known."""
        return "e" in self._flags or (self.running is not None and self.running.may_set_errexit)

    async def _restart(
        self, status: ExitStatus, sent: _Counts, victim: RunningCommand | None
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

    def _revive(self, status: ExitStatus, victim: RunningCommand | None) -> None:
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
        sent: _Counts | None = None,
        restarted: bool = False,
        left: bool = False,
    ) -> None:
        running = self.running
        assert running is not None
        running.stop_waiting()
        unread = self._shell.take_unread() if self._shell is not None else b""
        ending = self._ending(running.number, status, self._count() if sent is None else sent)
        done = ending.replace(
            duration=running.duration,
            timed_out=running.timed_out,
            restarted=restarted,
            left=left,
            unread=unread.decode(errors="surrogateescape"),
            taken=self.taken if self.has_terminal else 0,
        )
        self.running = None
        self.errands.end_command()
        self._last = 0 if restarted else status.shell_status
        self._on_done(done)

    def _ending(self, number: int, status: ExitStatus, sent: _Counts) -> ShellEnding:
        return ShellEnding(number, status, self.cwd, sent[STDOUT], sent[STDERR], duration=0.0)

    def _count(self) -> _Counts:
        """Return the bytes sent since the last ending, and begin to count the next."""
        if self._shell is None:
            return dict(_NOTHING)
        now = dict(self._shell.counts)
        sent = {stream: count - self._reported[stream] for stream, count in now.items()}
        self._reported = now
        return sent

    def _kill(self) -> None:
        if self._shell is not None:
            self._context.clean_up(self._shell.process.end(0))

    def _stop_waiting(self) -> None:
        if self.running is not None:
            self.running.stop_waiting()
