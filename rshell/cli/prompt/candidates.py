"""What Tab offers: the candidates of the remote shell.

The server is asked for them; what has not come within the deadline is not shown. They are
kept until the next command, for people press Tab again and again; an answer without any may only
have come too late, and is asked for again. prompt_toolkit cancels a question that was overtaken by
a later one.

Hazard: a server may send any number of them, and any text: no more are offered than anybody looks
through, and none that would act when it is shown.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import Completions
from rshell.errors import RshellError
from rshell.terminal.output import printable

_CANDIDATES_DEADLINE = 0.5  # seconds: the server's own 300 ms, and the way
_MOST = 2000  # candidates


class RemoteCompleter(Completer):
    """Asks the remote shell for candidates."""

    def __init__(self, line: ShellLine) -> None:
        self._line = line
        self._known: dict[str, Completions] = {}

    def forget(self) -> None:
        """Drop what is known: a command may have changed everything."""
        self._known.clear()

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Return nothing: candidates come from `get_completions_async` alone."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield the candidates for what stands before the cursor."""
        text = document.text_before_cursor
        found = self._known.get(text)
        if found is None:
            try:
                async with timeout(_CANDIDATES_DEADLINE):
                    found = await self._line.complete(text)
            except (TimeoutError, RshellError, ValueError):
                return
            if found.texts:  # else it may only have come too late
                self._known[text] = found
        for candidate, label in zip(found.texts[:_MOST], found.labels):
            if "\x1b" in candidate or "\r" in candidate:
                continue  # it would act when it is shown
            start = found.start - len(text)
            if start <= 0:
                yield Completion(candidate, start_position=start, display=printable(label))
