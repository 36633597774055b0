"""One process of the user's own shell on a terminal: the I/O around `ShellMachine`.

It has what `ShellProcess` has for shells that read lines: `PersistentShell` uses either.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from rshell.channels.base import Context
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.channels.shell.messages import ShellPrompt
from rshell.channels.shell.native.foreground import LOOK_SECONDS, Foreground, Seen, is_raw
from rshell.channels.shell.native.hooks import (
    ASK,
    PROBE,
    TAKE,
    Questions,
    RecordPipes,
    press,
    take_back_keys,
)
from rshell.channels.shell.native.machine import Do, Event, ShellMachine, State
from rshell.channels.shell.native.output import OutputFilter
from rshell.channels.shell.native.startup import UNKNOWN, Meeting, NativeKind, start_command
from rshell.channels.shell.recipe import Report
from rshell.execution.piped_process import Outlet, PipedProcess
from rshell.execution.pipes import TERMINAL_DRAIN, PipeSink
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command
from rshell.values import ExitStatus, TerminalSize

_HURRY_SECONDS = 0.3  # for an answer, once it keeps something waiting
_PROBE_SECONDS = 0.3
_REGAIN_SECONDS = 1.0  # for the report of an interrupted question
_WAKE_SECONDS = 0.05  # for the line editor to begin after it
_CTRL_C = b"\x03"
_REPEATS = 5  # for a line that the shell does not take
_STATUS = re.compile(r"[0-9]{1,9}")


class NativeProcess:
    """A running shell, made by `start`, that prints to `outlet`.

    `counts` are the bytes passed on, by stream, `stdin` is the terminal's input. `has_reported`
    says that it was at its prompt once. `process` is the caller's to end.
    """

    process: RunningProcess
    _piped: PipedProcess

    def __init__(self, kind: NativeKind, outlet: Outlet) -> None:
        self.counts = {STDOUT: 0, STDERR: 0}
        self.stdin: PipeSink | None = None
        self.has_reported = False
        self.on_report: Callable[[Report], None] = _ignore
        self.on_prompt: Callable[[ShellPrompt], None] = _ignore
        self.on_death: Callable[[ExitStatus], None] = _ignore
        self.on_notice: Callable[[str], None] = _ignore
        self._kind = kind
        self._outlet = outlet
        self._machine = ShellMachine()
        self._events: list[Event] = []  # the one at work, and those after it
        self._filter = OutputFilter(kind.drawing, self._may_be_prompt)
        self._number, self._text = 0, ""  # of the line that it was handed last
        self._repeats = 0
        self._asked = ""  # which report asks to go on
        self._line: tuple[int, str] | None = None  # that waits for the shell
        self._report: list[str] = []
        self._target = 0  # bytes read by when all before the report is here
        self._may_type = asyncio.Event()
        self._may_type.set()
        self._pipes: RecordPipes | None = None
        self._tell: Callable[..., None] = _ignore
        self._questions = Questions(self._machine, self._do)
        self._timer: asyncio.TimerHandle | None = None
        self._foreground: Foreground | None = None  # where it matters who has the terminal
        self._is_noted = self._has_hooks = False

    @classmethod
    async def start(
        cls,
        context: Context,
        kind: NativeKind,
        program: str,
        cwd: str,
        environment: Mapping[str, str],
        outlet: Outlet,
        size: TerminalSize,
        *,
        login: bool,
    ) -> NativeProcess:
        """Start a shell on a terminal. Its first report has the number 0.

        Raises SpawnError, and OSError where the server has no descriptors left.
        """
        meeting = None
        if kind is not UNKNOWN:
            with suppress(OSError):  # no room for files: it is used as it is
                meeting = Meeting(kind)
        self = cls(kind, outlet)
        where = None if meeting is None else meeting.directory
        argv, env = start_command(kind, program, environment, where, login=login)
        try:
            self._piped = await PipedProcess.start(
                context.spawner,
                Command(argv, cwd, env),
                self,
                context.limits,
                inputs={},
                outputs={},
                terminal=size,
                hold_slave=True,  # what was typed and read by nobody is taken back there
            )
        except BaseException:
            if meeting is not None:
                meeting.close()
            raise
        self.process = self._piped.process
        self.stdin = self._piped.sinks[0]
        if meeting is not None:
            # A shell that can't be told what to do must not be waited for: its death is its report.
            self._pipes = RecordPipes(
                meeting, self._hear, lambda: self.process.signal_group(signal.SIGKILL)
            )
            self._tell = self._pipes.tell
            self._foreground = Foreground(self._piped, kind.name, self._looked)
        else:
            asyncio.get_running_loop().call_soon(self._note_unused)
        self._piped.on_end(self._ended)
        return self

    # What it is told.

    def run(self, number: int, text: str, last: int) -> None:
        """Have the shell run `text` as soon as it can; its report has this number."""
        self._line, self._repeats = (number, text), 0
        self._may_type.clear()  # also while it waits for an answer: keys are the command's
        self._do(Event.LINE)

    def withdraw(self, number: int) -> bool:
        """Take back the line of this number, which waits for the shell; whether it still did."""
        if self._line is None or self._line[0] != number:
            return False
        self._line = None
        self._may_type.set()
        return True

    async def may_type(self) -> None:
        """Wait until keys are a command's, or nobody's: not while a line is handed over."""
        await self._may_type.wait()
        while self._foreground is not None and self._foreground.is_leaving:
            await asyncio.sleep(LOOK_SECONDS)
            await self._may_type.wait()

    def ask_again(self, number: int) -> None:
        """Do nothing: the report of this shell can't get lost."""

    async def ask(self, kind: str, number: int, text: str) -> list[str] | None:
        """Ask the idle shell; return the answer behind its number, if any. Cancelling is safe."""
        return await self._questions.ask(kind, number, text)

    def interrupt(self, number: int) -> None:
        """Interrupt the running command, as Ctrl-C would."""
        self._piped.signal_foreground(signal.SIGINT)

    def signal(self, signum: signal.Signals, number: int) -> None:
        """Send a signal to the command: to the group in the foreground."""
        self._piped.signal_foreground(signum)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""
        self._piped.resize(size)

    def take_unread(self) -> bytes:
        """Take back what was typed on the terminal and read by no command, in order."""
        if self.stdin is None or self._piped.slave < 0:
            return b""
        return take_back_keys(self._piped) + self.stdin.take_back()

    def resume(self) -> None:
        """There may be room for output again."""
        self._piped.resume()

    def close(self) -> None:
        """Stop telling anybody anything; the shell is told nothing any more."""
        self.on_report = self.on_prompt = self.on_death = self.on_notice = _ignore
        self._questions.give_up()
        for handle in (self._pipes, self._timer, self._foreground):
            if handle is not None:
                handle.cancel()
        self._may_type.set()

    def release(self) -> None:
        """Close every descriptor, once the process has ended, and remove its directory."""
        self._piped.close()
        if self._pipes is not None:
            self._pipes.close()

    # What follows from what happens.

    def _do(self, event: Event) -> None:
        """Do what follows from an event; what happens meanwhile comes after that."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        try:
            for each in self._events:  # which grows meanwhile
                self._act(self._machine.on(each))
        finally:
            self._events.clear()

    def _act(self, actions: tuple[Do, ...]) -> None:
        for action in actions:
            if action is Do.TAKE:
                source = self._piped.sources[STDOUT]
                self._target = source.bytes_read + TERMINAL_DRAIN
                self._check_taken()
            elif action is Do.TELL:
                self._pass_on(self._filter.finish())
                self._tell_ending()
            elif action is Do.RENEW:
                self._tell_prompt()
            elif action in (Do.GO, Do.LISTEN):
                self._filter.begin_idle(self._report[4].encode(errors="surrogateescape"))
                if action is Do.GO:
                    self._tell(f"go {self._asked}")
            elif action in (Do.HAND_OVER, Do.HAND_OVER_NOTHING):
                text = ""
                if action is Do.HAND_OVER and self._line is not None:
                    (self._number, self._text), self._line = self._line, None
                    text = self._text
                self._may_type.clear()
                self._filter.begin_echo()
                self._tell("line", str(self._number), text)
                press(self._piped, TAKE)
            elif action is Do.RELEASE:
                if self._foreground is not None:
                    self._foreground.begin_leaving()
                self._may_type.set()
            elif action is Do.PROBE:
                press(self._piped, PROBE)
                self._wait(_PROBE_SECONDS)
            elif action is Do.SHOW:
                self._pass_on(self._filter.show())
            elif action is Do.ASK:
                kind, number, text = self._questions.present
                self._tell(kind, str(number), text)
                press(self._piped, ASK)
            elif action is Do.NO_ANSWER:
                self._questions.give_up()
            elif action is Do.HURRY:
                self._wait(_HURRY_SECONDS)
            elif action is Do.INTERRUPT:
                self._filter.begin_interrupt()
                press(self._piped, _CTRL_C + (b"" if self._kind.reports_interrupts else PROBE))
                self._wait(_REGAIN_SECONDS)
            elif action is Do.LOOK:
                self._wait(_WAKE_SECONDS)
            elif action is Do.END and self._line is not None:
                self.process.signal_group(signal.SIGKILL)
            elif action is Do.NEXT:
                if self._timer is not None:
                    self._timer.cancel()
                if self._line is not None:
                    self._do(Event.LINE)

    def _wait(self, seconds: float) -> None:
        """Let so much time pass before the machine is told of it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pass)

    def _pass(self) -> None:
        state = self._machine.state
        is_awake = state is State.WAKING and is_raw(self._piped.terminal)
        self._do(Event.AWAKE if is_awake else Event.TIMEOUT)
        if state is State.PROBING and self._foreground is not None:
            self._filter.sees_editor = True  # the next output has it looked at again
            self._foreground.know_unanswered()

    def _tell_ending(self) -> None:
        self.has_reported = True
        if self._foreground is not None:
            self._foreground.know()
        status, flags, _, cwd, *_ = self._report
        number, self._number = self._number, 0
        self._tell_prompt()
        self.on_report(Report(number, int(status), flags, cwd))

    def _tell_prompt(self) -> None:
        _, _, mode, _, text, right = self._report
        self.on_prompt(ShellPrompt.of(text, right, mode))

    def _hear(self, record: list[str]) -> None:
        tag, *fields = record
        if tag == "S" and len(fields) == 8 and _STATUS.fullmatch(fields[0]):
            *self._report, taken, self._asked = fields
            is_taken = taken == str(self._number) or self._repeats == _REPEATS
            if self._machine.has_told and not is_taken:
                self._repeats += 1
                self._line = self._number, self._text
                keys = take_back_keys(self._piped)
                self._do(Event.AGAIN)
                press(self._piped, keys)
            else:
                if self._machine.state is State.ASKING:
                    take_back_keys(self._piped)  # that of the question, if it was not heard
                self._do(Event.REPORT)
        elif tag == "H":
            self._has_hooks = True
        elif tag in ("L", "K"):
            self._filter.sees_editor = False
            self._do(Event.LOST if tag == "L" else Event.KEPT)
        elif tag in ("C", "N") and fields:
            self._questions.take(fields)

    # The outlet of its terminal.

    @property
    def is_over(self) -> bool:
        """Whether nobody wants any output. It is read all the same, for reports come after it."""
        return False

    @property
    def room(self) -> int:
        """How many bytes may come now."""
        return self._outlet.room

    def want_room(self) -> None:
        """Ask the outlet to call `resume`."""
        self._outlet.want_room()

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Pass on what is the output of commands."""
        was_echoing, was_holding = self._filter.is_echoing, self._filter.is_holding
        self._pass_on(self._filter.take(data))
        if was_echoing and not self._filter.is_echoing:
            self._do(Event.ECHOED)
        if self._filter.is_holding and not was_holding:
            self._do(Event.EDITOR)
        self._check_taken()
        self._look_soon()

    def _pass_on(self, output: bytes) -> None:
        if output and not self._outlet.is_over:
            self.counts[STDOUT] += len(output)
            self._outlet.write_nowait(output, STDOUT)

    def _check_taken(self) -> None:
        if self._machine.state is State.REPORTING:
            source = self._piped.sources[STDOUT]
            if source.bytes_read >= self._target or not source.is_readable():
                self._do(Event.TAKEN)

    def _may_be_prompt(self) -> bool:
        """Whether a line editor that begins is that of the shell, which runs a command."""
        return (
            self._foreground is not None
            and self.has_reported
            and self._machine.state in (State.SENDING, State.RUNNING)
            and self._foreground.is_editor()
        )

    def _look_soon(self) -> None:
        """Have it looked at soon who reads the terminal, where that is for the shell to say."""
        if self._foreground is not None and self._machine.state in (State.STARTING, State.RUNNING):
            sees_editor, self._filter.sees_editor = self._filter.sees_editor, False
            self._foreground.look_soon(sees_editor, is_known=self.has_reported)

    def _looked(self, seen: Seen) -> None:
        if self._machine.state not in (State.STARTING, State.RUNNING):
            return
        if seen is Seen.EDITOR and self.has_reported:
            self._do(Event.EDITOR)
        elif seen is Seen.OTHER or not self._has_hooks:  # else a startup file asks something
            self._note_unused()

    def _note_unused(self) -> None:
        if not self._is_noted:
            self._is_noted = True
            self.on_notice("this program takes no lines from here: it has the terminal, as with -t")

    def _ended(self) -> None:
        status = self.process.exit_status
        assert status is not None
        self._pass_on(self._filter.finish())
        self._do(Event.EXIT)
        self._may_type.set()
        self._questions.give_up()
        self.on_death(status)


def _ignore(*_: object) -> None:
    """Nobody listens."""
