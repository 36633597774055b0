"""The command at work in a persistent shell: what is known of it, and how it is brought to its end.

A command that is cancelled is interrupted, again after half the grace (a signal that hits a child
between fork and exec is lost), and after the whole of it its shell is ended.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from rshell.channels.shell.messages import RunCommand

_SETS_ERREXIT = re.compile(r"\bset\s+-\w*e|\berrexit\b")


class RunningCommand:
    """A command, from when somebody asks for it until its ending is told.

    `number` and `text` are the `RunCommand`'s. `is_told` says that the shell knows of it,
    `is_cancelled` that it must not begin any more, `timed_out` that it took longer than it may.
    """

    def __init__(self, command: RunCommand, *, is_told: bool = False) -> None:
        self.number = command.number
        self.text = command.command
        self.is_told = is_told
        self.is_cancelled = False
        self.timed_out = False
        self._timeout = command.timeout
        self._started = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def duration(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self._started

    @property
    def may_set_errexit(self) -> bool:
        """Whether it may tell the shell to end at the first failure."""
        return _SETS_ERREXIT.search(self.text) is not None

    def begin(self, cancel: Callable[[], None]) -> None:
        """The shell is told of it: call `cancel` once it has taken as long as it may."""
        self.is_told = True
        if self._timeout is not None:
            self._call_later(self._timeout, self._time_out, cancel)

    def _time_out(self, cancel: Callable[[], None]) -> None:
        self.timed_out = True
        cancel()

    def cancel(self, interrupt: Callable[[], None], kill: Callable[[], None], grace: float) -> None:
        """Interrupt it now and after half of `grace` seconds; call `kill` after the whole."""
        interrupt()
        self._call_later(grace / 2, self._interrupt_again, interrupt, kill, grace)

    def _interrupt_again(
        self, interrupt: Callable[[], None], kill: Callable[[], None], grace: float
    ) -> None:
        interrupt()
        self._call_later(grace / 2, kill)

    def stop_waiting(self) -> None:
        """Let nothing more come of time: it has ended, or its shell has."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _call_later(self, seconds: float, call: Callable[..., None], *args: object) -> None:
        self.stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(seconds, call, *args)
