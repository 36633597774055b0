"""Enter: a new line where the text wants more, else the end of the command.

Enter asks the remote shell whether the text is whole, but only if it looks as if it might not be.
What is typed until the answer comes is held back: it belongs after the Enter, be that a new line
or the end of the command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.key_processor import KeyPress, KeyProcessor
from prompt_toolkit.keys import Keys
from prompt_toolkit.search import accept_search

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.completeness import may_be_incomplete, wants_more_text
from rshell.errors import RshellError

_DEADLINE = 5.0  # seconds; a text that is not judged by then is run as it is


class Judge:
    """Judges what is in `buffer`. `on_ask` is called before the shell is asked."""

    def __init__(self, line: ShellLine, buffer: Buffer) -> None:
        self._line = line
        self._buffer = buffer
        self._check: asyncio.Task[None] | None = None
        self._held: list[KeyPress] = []  # typed after an Enter that is being judged
        self.on_ask: Callable[[], None] = lambda: None

    @property
    def is_asking(self) -> bool:
        """Whether the shell judges a text."""
        return self._check is not None and not self._check.done()

    async def close(self) -> None:
        """Stop what is left of a check."""
        if self._check is not None:
            self._check.cancel()
            await asyncio.gather(self._check, return_exceptions=True)

    def bindings(self) -> KeyBindings:
        """Return the keys for it: Enter, and all others while it is judged."""
        bindings = KeyBindings()

        @bindings.add("enter")
        def _(event: KeyPressEvent) -> None:
            if event.app.layout.is_searching:
                accept_search()  # what was found is run, as in a shell
            buffer = event.current_buffer
            if buffer.complete_state is not None and buffer.complete_state.current_completion:
                buffer.complete_state = None  # Enter takes the candidate
            elif wants_more_text(buffer.text):
                _add_line(buffer)  # a long heredoc asks nobody about each of its lines
            elif may_be_incomplete(buffer.text):
                self._hold_back(event.key_processor)
                self.on_ask()
                self._check = asyncio.create_task(self._accept_if_whole(event.app))
                self._check.add_done_callback(_report_failure)
            else:
                buffer.validate_and_handle()

        @bindings.add(Keys.Any, eager=True, filter=Condition(lambda: self.is_asking))
        def _(event: KeyPressEvent) -> None:
            self._held += event.key_sequence

        return bindings

    def _hold_back(self, processor: KeyProcessor) -> None:
        """Take the keys that were read together with this one, many lines of them perhaps."""
        queue = list(processor.input_queue)
        processor.input_queue.clear()
        answers = [key for key in queue if key.key is Keys.CPRResponse]
        processor.feed_multiple(answers)
        self._held = [key for key in queue if key.key is not Keys.CPRResponse]

    async def _accept_if_whole(self, app: Application[Any]) -> None:
        buffer = self._buffer
        try:
            async with timeout(_DEADLINE):
                more = await self._line.wants_more(buffer.text)
        except (TimeoutError, RshellError, ValueError):
            more = False
        self._check = None
        if app.is_done or not app.is_running:
            return  # it was interrupted meanwhile
        if more:
            _add_line(buffer)
        else:
            buffer.validate_and_handle()
        held, self._held = self._held, []
        app.key_processor.feed_multiple(held)
        app.key_processor.process_keys()


def _report_failure(task: asyncio.Task[None]) -> None:
    """Have the loop's handler say what a task failed with, now rather than when it is collected."""
    if not task.cancelled() and (error := task.exception()) is not None:
        context = {"message": "the check of a line failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)


def _add_line(buffer: Buffer) -> None:
    """Go on in a new line at the end of the text."""
    buffer.cursor_position = len(buffer.text)
    buffer.insert_text("\n")
