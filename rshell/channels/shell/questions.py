"""Asking an idle shell something, and getting it back when it takes too long.

Strategy: a question has a deadline. One that passes it, or that a command overtakes, is
interrupted with SIGINT; the shell is idle again when it has reported, and only then gets the
command: an interrupt that is sent any later would hit that one.

Hazard: a shell may lose the line that asks for its report to the very interrupt before it. Both
are sent again until it reports, or has used up its grace and is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rshell.channels.shell.recipe import Answer
from rshell.channels.shell.shell_process import ShellProcess

_DEADLINE = 0.3  # seconds for an answer, and between two interrupts


class Questions:
    """At most one question at a time, to the present shell; `kill()` ends that shell."""

    def __init__(self, grace: float, kill: Callable[[], None]) -> None:
        self._grace = grace
        self._kill = kill
        self._asked: tuple[int, asyncio.Future[Answer]] | None = None
        self._regaining: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the shell still works on a question."""
        return self._asked is not None or self._regaining is not None

    async def ask(self, shell: ShellProcess, number: int, lines: bytes) -> Answer | None:
        """Ask an idle shell; None without an answer in time. Cancelling is safe."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked = asked = (number, answer)
        shell.say(lines)
        try:
            async with asyncio.timeout(_DEADLINE):
                return await answer
        except TimeoutError:
            return None
        finally:
            if self._asked is asked:
                self._asked = None
                if not answer.done() or answer.cancelled():
                    self._regain(shell)

    def answered(self, answer: Answer) -> None:
        """The shell has answered some question."""
        number, waiting = self._asked or (-1, None)
        if waiting is not None and number == answer.number and not waiting.done():
            waiting.set_result(answer)

    def overtake(self, shell: ShellProcess) -> None:
        """Get the shell back from a question it works on; `reported` follows if `is_busy`."""
        asked, self._asked = self._asked, None
        # One that was cancelled this very moment is still worked on.
        if asked is not None and (not asked[1].done() or asked[1].cancelled()):
            asked[1].cancel()
            self._regain(shell)

    def reported(self) -> bool:
        """The shell is idle. Returns whether it had to be interrupted for that."""
        was_regaining = self._regaining is not None
        self._stop()
        return was_regaining

    def forget(self) -> None:
        """The shell is over."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked[1].cancel()
        self._stop()

    def _regain(self, shell: ShellProcess) -> None:
        if self._regaining is None:
            self._interrupt(shell, time.monotonic() + self._grace)

    def _interrupt(self, shell: ShellProcess, deadline: float) -> None:
        if time.monotonic() > deadline:
            self._kill()
        shell.interrupt(0)
        loop = asyncio.get_running_loop()
        self._regaining = loop.call_later(_DEADLINE, self._interrupt, shell, deadline)

    def _stop(self) -> None:
        if self._regaining is not None:
            self._regaining.cancel()
            self._regaining = None
