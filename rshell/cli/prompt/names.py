"""The names of the remote shell's commands, to tell a name that is none.

They are asked for once the first prompt is there, and anew, at most once for each prompt, where a
name is not among them: a command may have brought it about. Until the answer is there, nothing is
called unknown. While a name is typed it is unknown only when it can't become one that is known.

Hazard: a later question makes an earlier one stale, at the server. So names are not asked for while
the shell works on candidates or on whether a line is whole, and give way to such a question.

Hazard: a server that has never heard of the question does not answer. One that can't tell them all
answers with none, and then nothing is unknown either.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.errors import RshellError

_DEADLINE = 10.0  # seconds; a shell may take some to look through a PATH on a network


class KnownNames:
    """What the remote shell knows. `on_change` is called when that is news.

    `is_busy` says whether the shell works on another question.
    """

    def __init__(
        self, line: ShellLine, is_busy: Callable[[], bool], on_change: Callable[[], None]
    ) -> None:
        self._line = line
        self._is_busy = is_busy
        self._on_change = on_change
        self._names: list[str] = []  # sorted
        self._has_asked = False
        self._is_asked = False  # at this prompt
        self._is_sure = False  # that what is missing is missing now
        self._task: asyncio.Task[None] | None = None
        self.version = 0  # how often it was news

    def begin(self) -> None:
        """A prompt begins: a command may have changed everything."""
        self._is_asked = self._is_sure = False
        self.version += 1

    def want(self) -> None:
        """Ask for the names, unless that was done at this prompt or would be in the way."""
        if self._is_asked or self._is_busy():
            return
        self._is_asked = True
        self._task = asyncio.create_task(self._ask())

    def want_first(self) -> None:
        """Ask for the names if they were never asked for."""
        if not self._has_asked:
            self._has_asked = True
            self.want()

    def give_way(self) -> None:
        """Stop waiting, as the shell is asked something else; there is another time."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._is_asked = False

    async def close(self) -> None:
        """Stop what is under way."""
        self.give_way()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def lack(self, name: str, *, may_grow: bool) -> bool:
        """Whether there is no such command for sure; `may_grow` says that it is being typed."""
        at = bisect_left(self._names, name)
        found = self._names[at : at + 1]
        if not self._names or found == [name] or (may_grow and found and found[0].startswith(name)):
            return False
        if not self._is_sure:
            self.want()
        return self._is_sure

    async def _ask(self) -> None:
        try:
            async with timeout(_DEADLINE):
                names = await self._line.names()
        except (TimeoutError, RshellError):
            return
        self._names = sorted(set(names))
        self._is_sure = True
        self.version += 1
        self._on_change()
