"""The states of the user's own shell on a terminal, and what of its output is a command's.

The shell is started as ssh would start it and has the terminal from its first instruction. Hooks
that are installed after the user's own startup files report each time that it is about to show its
prompt, on a pipe of their own, and wait there until told to go on. So the moments between two
commands are known exactly, though everything else about the shell is the user's.

A line goes to the shell's line editor, by a key that has a widget of ours take it from a pipe and
accept it. The editor draws it and, having left bracketed paste, hands it to the shell. What was
drawn until then is dropped (`OutputFilter`), what follows is output: also what the shell says of a
line that it can't parse, or that it has expanded. A line that wants more is finished in the shell
itself, whose own prompt for more is output like any other.

`TABLE` says what each event means in each state. It holds no clock, no process and no terminal:
`ShellMachine.on` returns what is to be done, and whoever does it says later what came of it.

Hazards:
- The report has its own pipe, and may be here before the echo that the command's output comes
  after. The filter goes on until all that was on its way has been read.
- A command may take the hooks away. Its line editor begins all the same (`EDITOR`), as it also
  does for `read -e` in a command. The probe, a key of ours, tells the two apart inside the shell:
  it puts hooks back and says so (`LOST`), or does nothing. An empty line brings the report then.
- A question may be worked on when a line comes. It is interrupted, which the shell answers with a
  report like after any command; only then is it given the line.
- Forged marks and reports harm the shell that forges them, and nobody else.
"""

from __future__ import annotations

import enum
import re


class State(enum.Enum):
    """What the shell does."""

    STARTING = "starting"  # its startup files have the terminal
    IDLE = "idle"
    SENDING = "sending"  # a line is handed over, its echo not at its end
    RUNNING = "running"
    REPORTING = "reporting"  # it waits while output and keys are taken
    ASKING = "asking"  # its line editor works on a question
    REGAINING = "regaining"  # it is interrupted there
    LEFT = "left"


class Event(enum.Enum):
    """What has happened."""

    REPORT = "report"  # it is about to show its prompt
    TAKEN = "taken"  # all that was printed before the report has been read
    LINE = "line"  # somebody wants a line run
    ECHOED = "echoed"  # the line editor has accepted it
    EDITOR = "editor"  # a line editor of the shell's own begins to read
    LOST = "lost"  # the hooks were gone, and are back
    QUESTION = "question"
    ANSWER = "answer"
    TIMEOUT = "timeout"  # nobody waits for the answer any more, or for what follows an interrupt
    EXIT = "exit"


class Do(enum.Enum):
    """What is to be done."""

    TAKE = "take"  # what was printed, then say TAKEN
    TELL = "tell"  # how the command ended
    RENEW = "renew"  # tell the prompt, for nothing ran
    GO = "go"  # let the shell show its prompt
    HAND_OVER = "hand over"  # give it the line
    HAND_OVER_NOTHING = "hand over nothing"  # give it an empty one
    RELEASE = "release"  # the keys that were held back
    PROBE = "probe"
    ASK = "ask"
    ANSWER = "answer"
    NO_ANSWER = "no answer"
    INTERRUPT = "interrupt"
    NEXT = "next"  # give it what waits


S, E = State, Event
TABLE: dict[tuple[State, Event], tuple[State, tuple[Do, ...]]] = {
    (S.STARTING, E.REPORT): (S.REPORTING, (Do.TAKE,)),
    (S.REPORTING, E.TAKEN): (S.IDLE, (Do.TELL, Do.GO, Do.NEXT)),
    (S.IDLE, E.LINE): (S.SENDING, (Do.HAND_OVER,)),
    (S.IDLE, E.QUESTION): (S.ASKING, (Do.ASK,)),
    (S.IDLE, E.REPORT): (S.IDLE, (Do.RENEW, Do.GO)),  # somebody's signal interrupted it
    (S.SENDING, E.ECHOED): (S.RUNNING, (Do.RELEASE,)),
    (S.SENDING, E.REPORT): (S.REPORTING, (Do.RELEASE, Do.TAKE)),
    (S.RUNNING, E.REPORT): (S.REPORTING, (Do.TAKE,)),
    (S.RUNNING, E.EDITOR): (S.RUNNING, (Do.PROBE,)),
    (S.RUNNING, E.LOST): (S.SENDING, (Do.HAND_OVER_NOTHING,)),
    (S.ASKING, E.ANSWER): (S.IDLE, (Do.ANSWER, Do.NEXT)),
    (S.ASKING, E.LINE): (S.REGAINING, (Do.NO_ANSWER, Do.INTERRUPT)),
    (S.ASKING, E.TIMEOUT): (S.REGAINING, (Do.NO_ANSWER, Do.INTERRUPT)),
    (S.ASKING, E.REPORT): (S.IDLE, (Do.NO_ANSWER, Do.RENEW, Do.GO, Do.NEXT)),
    (S.REGAINING, E.REPORT): (S.IDLE, (Do.RENEW, Do.GO, Do.NEXT)),
    (S.REGAINING, E.TIMEOUT): (S.IDLE, (Do.NEXT,)),  # a shell that does not report an interrupt
}


class ShellMachine:
    """The present state, and what follows from an event. `STARTING` at first."""

    def __init__(self) -> None:
        self.state = State.STARTING

    def on(self, event: Event) -> tuple[Do, ...]:
        """Take an event: return what is to be done, in order; nothing where it means nothing."""
        if event is Event.EXIT:
            self.state = State.LEFT
        self.state, actions = TABLE.get((self.state, event), (self.state, ()))
        return actions

    @property
    def is_at_prompt(self) -> bool:
        """Whether no command runs, nor a startup file."""
        return self.state in (State.IDLE, State.ASKING, State.REGAINING)


# What comes out of the terminal.

_ECHO_ENDS = b"\x1b[?2004l"
_EDITOR_BEGINS = b"\x1b[?2004h"
_ECHO_LIMIT = 4 * 1024 * 1024  # bytes; an editor draws a line again and again
# What a line editor writes where there is nothing to draw.
_NOTHING = re.compile(
    rb"(?:[\r\a]|\x1b\[[0-9;]*[mKJCDG]|\x1b\[\?(?:1|25|2004)[hl]|\x1b[=>]|\x1b\(B"
    rb"|\x1b\][02];[^\x07\x1b]*(?:\x07|\x1b\\))*"
)
_PIECE = re.compile(rb"\x1b(?:\[\??[0-9;]*|\][^\x07\x1b]*|\()?\Z")  # of a sequence


class OutputFilter:
    """Tells the output of commands from what the shell's line editor draws.

    `behind` is the last of what the editor writes behind the end of its echo, and `between` what
    may stand before that. `take` returns what is output. `sees_editor` is set by the beginning of
    a line editor in there, and `is_echoing` while an echo is not at its end.
    """

    def __init__(self, between: bytes, behind: bytes) -> None:
        self._between = re.compile(between, re.DOTALL)
        self._behind = re.compile(behind)
        self.is_echoing = False
        self.sees_editor = False
        self._is_behind = False
        self._is_idle = False
        self._drawn = b""  # the prompt, where the shell draws it all the same
        self._held = b""

    @property
    def drops(self) -> bool:
        """Whether what comes is for nobody, as a rule, so that it needs no room."""
        return self.is_echoing or self._is_idle

    def begin_echo(self) -> None:
        """A line is about to be handed over."""
        self.is_echoing, self._is_behind, self._is_idle = True, False, False
        self._held = b""

    def begin_idle(self, prompt: bytes) -> None:
        """The shell is about to show its prompt, which is known to be `prompt`."""
        self.is_echoing = self._is_behind = False
        self._is_idle = True
        self._drawn = prompt.translate(None, b"\1\2").replace(b"\n", b"\r\n")
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """Return what of `data` is output."""
        if self.is_echoing:
            return self._take_echo(data)
        if self._is_behind:
            return self._take_behind(data)
        if self._is_idle:
            return self._take_idle(data)
        if _EDITOR_BEGINS in self._held + data:
            self.sees_editor = True
        self._held = data[1 - len(_EDITOR_BEGINS) :]
        return data

    def finish(self) -> bytes:
        """All has been read: return what was held back and is output after all."""
        held, self._held = self._held, b""
        if self.is_echoing:
            # It never ended, as in an editor without bracketed paste. It fills the first line.
            self.is_echoing = False
            return held.partition(b"\n")[2]
        was_behind, self._is_behind = self._is_behind, False
        return held if was_behind else b""

    def _take_echo(self, data: bytes) -> bytes:
        self._held += data
        _, mark, rest = self._held.partition(_ECHO_ENDS)
        if not mark:
            if len(self._held) > _ECHO_LIMIT:
                self._held = self._held[-len(_ECHO_ENDS) :]
            return b""
        self.is_echoing, self._is_behind = False, True
        self._held = b""
        return self._take_behind(rest)

    def _take_behind(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b""
        while data:
            if found := self._behind.match(data):
                self._is_behind = False
                return self.take(data[found.end() :]) if found.end() < len(data) else b""
            if found := self._between.match(data):
                data = data[found.end() :]
            elif _PIECE.match(data):
                self._held = data
                return b""
            else:
                self._is_behind = False
                return self.take(data)
        return b""

    def _take_idle(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b""
        if piece := _PIECE.search(data[-256:]):
            cut = len(data) - len(piece[0])
            data, self._held = data[:cut], data[cut:]
        data = data.replace(_EDITOR_BEGINS, b"").replace(_ECHO_ENDS, b"")
        if self._drawn and self._drawn in data:
            before, _, after = data.partition(self._drawn)
            data = before + after
        found = _NOTHING.match(data)
        assert found is not None
        return b"" if found.end() == len(data) else data
