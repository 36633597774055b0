"""Questions to the user's own shell, one at a time, and who waits for their answers.

Nobody may wait any more for a question that the shell still works on. It gets a little time all the
same, for an interrupt changes `$?`, and may cost more than the answer; the next question waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rshell.channels.shell.native.machine import Event, ShellMachine, State

_ANSWER_SECONDS = 5.0


class Questions:
    """The questions to the shell of `machine`; `on_event` tells it of them.

    `present` is the last one: its kind, its number and its text.
    """

    def __init__(self, machine: ShellMachine, on_event: Callable[[Event], None]) -> None:
        self._machine = machine
        self._on_event = on_event
        self.present: tuple[str, int, str] = ("", 0, "")
        self._answer: asyncio.Future[list[str] | None] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, kind: str, number: int, text: str) -> list[str] | None:
        """Ask the idle shell; return the answer behind its number, if any. Cancelling is safe."""
        async with self._turn:
            if self._answer is not None:  # to an earlier question, for which nobody waits
                await asyncio.wait((self._answer,))
            if self._machine.state is not State.IDLE:
                return None
            self.present = kind, number, text
            self._answer = answer = asyncio.get_running_loop().create_future()
            self._on_event(Event.QUESTION)
            try:
                await asyncio.wait((answer,), timeout=_ANSWER_SECONDS)
            except asyncio.CancelledError:
                self._on_event(Event.STALE)
                raise
            if not answer.done():
                self._on_event(Event.TIMEOUT)
            return answer.result() if answer.done() else None

    def take(self, fields: list[str]) -> None:
        """The shell has answered; `fields` begin with the number of the question."""
        if fields[0] == str(self.present[1]):
            self._give(fields[1:])
            self._on_event(Event.ANSWER)

    def give_up(self) -> None:
        """There is no answer to the present question."""
        self._give(None)

    def _give(self, fields: list[str] | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(fields)
