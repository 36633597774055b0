"""The states of the user's own shell on a terminal, as a table.

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
- The shell may be interrupted while it reports, or before it has heard of the next line, by a key
  that was meant for the command before. It reports once more then, and waits until that report is
  answered; what it was told before that is void. So each report has a number, which the word to go
  on repeats, and names the line that was taken last: one that was not is handed over again.
- A command may take the hooks away. Its line editor begins all the same (`EDITOR`), as it also
  does for `read -e` in a command. The probe, a key of ours, tells the two apart inside the shell:
  it puts hooks back and says so (`LOST`), and an empty line brings the report then; or it says
  that nothing is amiss (`KEPT`). What the editor draws is held until then, for it may be a prompt.
- A question may be worked on when a line comes. If its answer takes long, it is interrupted, which
  the shell answers with a report like after any command; only then is it given the line. `$?` is
  that of the interrupt then: so a question that nobody waits for any more gets that time, too.
- An interrupt that kills a program of bash's completion leaves the terminal as programs have it,
  while the line editor believes that it is raw: it hears no key. It takes an interrupt more.
- A completion that loops and hears no interrupt has the shell for good. It costs the shell its
  life, once somebody wants a line run.
- Forged marks and reports harm the shell that forges them, and nobody else.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What the shell does."""

    STARTING = "starting"  # its startup files have the terminal
    IDLE = "idle"
    SENDING = "sending"  # a line is handed over, its echo not at its end
    RUNNING = "running"
    PROBING = "probing"  # and a line editor reads, which may be that of a shell without hooks
    REPORTING = "reporting"  # it waits while output and keys are taken
    ASKING = "asking"  # its line editor works on a question
    REGAINING = "regaining"  # it is interrupted there
    DEAF = "deaf"  # and again, for it has not reported that
    WAKING = "waking"  # it is back, but may not hear its keys
    LEFT = "left"


class Event(enum.Enum):
    """What has happened."""

    REPORT = "report"  # it is about to show its prompt
    AGAIN = "again"  # and was interrupted there: it has not taken the line it was handed
    TAKEN = "taken"  # all that was printed before the report has been read
    LINE = "line"  # somebody wants a line run
    ECHOED = "echoed"  # the line editor has accepted it
    EDITOR = "editor"  # a line editor of the shell's own begins to read
    LOST = "lost"  # the hooks were gone, and are back
    KEPT = "kept"  # they were not
    QUESTION = "question"
    ANSWER = "answer"
    AWAKE = "awake"  # its line editor has the terminal raw
    STALE = "stale"  # nobody waits for the answer any more
    TIMEOUT = "timeout"  # there was no answer in time, nothing that follows an interrupt, or no
    # raw terminal
    EXIT = "exit"


class Do(enum.Enum):
    """What is to be done."""

    TAKE = "take"  # what was printed, then say TAKEN
    TELL = "tell"  # how the command ended
    RENEW = "renew"  # tell the prompt, for nothing ran
    GO = "go"  # let the shell show its prompt, and listen
    LISTEN = "listen"  # to what it prints at its prompt
    HAND_OVER = "hand over"  # give it the line
    HAND_OVER_NOTHING = "hand over nothing"  # give it an empty one
    RELEASE = "release"  # the keys that were held back
    PROBE = "probe"
    SHOW = "show"  # what was held is output after all
    ASK = "ask"
    ANSWER = "answer"
    NO_ANSWER = "no answer"
    HURRY = "hurry"  # give the answer little time, for a line waits, or nobody
    INTERRUPT = "interrupt"
    LOOK = "look"  # after a moment, whether its line editor has the terminal raw
    END = "end"  # the shell, if a line waits
    NEXT = "next"  # give it what waits


S, E = State, Event
TABLE: dict[tuple[State, Event], tuple[State, tuple[Do, ...]]] = {
    (S.STARTING, E.REPORT): (S.REPORTING, (Do.TAKE,)),
    (S.REPORTING, E.TAKEN): (S.IDLE, (Do.TELL, Do.GO, Do.NEXT)),
    (S.IDLE, E.LINE): (S.SENDING, (Do.HAND_OVER,)),
    (S.IDLE, E.QUESTION): (S.ASKING, (Do.ASK,)),
    (S.IDLE, E.REPORT): (S.IDLE, (Do.RENEW, Do.GO)),  # somebody's signal interrupted it
    (S.SENDING, E.ECHOED): (S.RUNNING, (Do.RELEASE,)),
    (S.SENDING, E.AGAIN): (S.SENDING, (Do.GO, Do.HAND_OVER)),
    (S.SENDING, E.REPORT): (S.REPORTING, (Do.RELEASE, Do.TAKE)),
    (S.RUNNING, E.REPORT): (S.REPORTING, (Do.TAKE,)),
    (S.RUNNING, E.AGAIN): (S.SENDING, (Do.GO, Do.HAND_OVER)),
    (S.RUNNING, E.EDITOR): (S.PROBING, (Do.PROBE,)),
    (S.RUNNING, E.LOST): (S.SENDING, (Do.HAND_OVER_NOTHING,)),
    (S.PROBING, E.AGAIN): (S.SENDING, (Do.GO, Do.HAND_OVER)),
    (S.PROBING, E.LOST): (S.SENDING, (Do.HAND_OVER_NOTHING,)),
    (S.PROBING, E.KEPT): (S.RUNNING, (Do.SHOW,)),
    (S.PROBING, E.TIMEOUT): (S.RUNNING, (Do.SHOW,)),
    (S.PROBING, E.REPORT): (S.REPORTING, (Do.TAKE,)),
    (S.ASKING, E.ANSWER): (S.IDLE, (Do.ANSWER, Do.NEXT)),
    (S.ASKING, E.LINE): (S.ASKING, (Do.HURRY,)),
    (S.ASKING, E.STALE): (S.ASKING, (Do.HURRY,)),
    (S.ASKING, E.TIMEOUT): (S.REGAINING, (Do.NO_ANSWER, Do.INTERRUPT)),
    (S.ASKING, E.REPORT): (S.IDLE, (Do.NO_ANSWER, Do.RENEW, Do.GO, Do.NEXT)),
    (S.REGAINING, E.REPORT): (S.WAKING, (Do.RENEW, Do.GO, Do.LOOK)),
    (S.REGAINING, E.ANSWER): (S.WAKING, (Do.LOOK,)),
    (S.REGAINING, E.TIMEOUT): (S.DEAF, (Do.INTERRUPT,)),  # only a program of the question ended
    (S.REGAINING, E.KEPT): (S.IDLE, (Do.LISTEN, Do.NEXT)),  # fish reports no such interrupt
    (S.DEAF, E.REPORT): (S.WAKING, (Do.RENEW, Do.GO, Do.LOOK)),
    (S.DEAF, E.ANSWER): (S.WAKING, (Do.LOOK,)),
    (S.DEAF, E.KEPT): (S.IDLE, (Do.LISTEN, Do.NEXT)),
    (S.DEAF, E.TIMEOUT): (S.DEAF, (Do.END,)),
    (S.DEAF, E.LINE): (S.DEAF, (Do.HURRY,)),
    (S.WAKING, E.REPORT): (S.WAKING, (Do.RENEW, Do.GO)),
    (S.WAKING, E.AWAKE): (S.IDLE, (Do.LISTEN, Do.NEXT)),
    (S.WAKING, E.TIMEOUT): (S.REGAINING, (Do.INTERRUPT,)),
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
    def has_told(self) -> bool:
        """Whether the shell was handed a line."""
        return (self.state, Event.AGAIN) in TABLE
