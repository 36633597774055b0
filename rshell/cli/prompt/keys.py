"""What keys do in the line, where prompt_toolkit's own are not as in a shell.

Tab has a module of its own (candidates.py).

Up and Down move within a text of several lines first. Beyond it they go through the history: all of
it, or, with text before the cursor, the lines that begin with that, each once. Ctrl-P and Ctrl-N
always go through all of it.

Enter asks the remote shell whether the text is whole, but only if it looks as if it might not be:
it begins a new line where the text wants more, else it ends the command. What is typed until the
answer comes is held back: it belongs after the Enter, be that a new line or the end of the command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import (
    Condition,
    emacs_mode,
    has_completions,
    has_focus,
    has_selection,
    is_searching,
    vi_mode,
    vi_navigation_mode,
)
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.bindings.named_commands import get_by_name
from prompt_toolkit.key_binding.key_processor import KeyPress, KeyProcessor
from prompt_toolkit.keys import Keys
from prompt_toolkit.search import accept_search, stop_search
from prompt_toolkit.shortcuts import PromptSession

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.completeness import may_be_incomplete, wants_more_text
from rshell.errors import RshellError
from rshell.terminal.pty import process_output

_TERMINAL = 0


class EditingKeys:
    """The keys of `session`. `up_searches` says whether Up looks for what is typed."""

    def __init__(self, session: PromptSession[str], *, up_searches: bool) -> None:
        self._session = session
        self._before_search = 0, 0
        session.enable_history_search = up_searches
        session.app.key_processor.before_key_press += self._note_place

    def bindings(self) -> KeyBindings:
        """Return the keys."""
        bindings = KeyBindings()
        self._bind_history(bindings)
        self._bind_searches(bindings)

        # In vi mode Escape is a key by itself, and Enter may follow it at once.
        @bindings.add("escape", "enter", filter=~vi_mode)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("c-x", "c-e", filter=emacs_mode & ~has_selection)
        @bindings.add("v", filter=vi_navigation_mode)
        def _(event: KeyPressEvent) -> None:
            process_output(_TERMINAL, True)  # an editor of this machine expects it
            editing = event.current_buffer.open_in_editor()
            editing.add_done_callback(lambda _: process_output(_TERMINAL, False))

        # Escape alone: if another key came with it, it is that key with Alt.
        @bindings.add("escape", eager=True, filter=has_completions & Condition(self._is_last_key))
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.cancel_completion()

        # As in a shell; prompt_toolkit has it on Ctrl-Q alone.
        bindings.add("c-v", filter=emacs_mode & ~has_selection)(get_by_name("quoted-insert"))

        @bindings.add("c-z")
        def _(event: KeyPressEvent) -> None:
            """Do nothing: there is no job to stop."""

        return bindings

    def _bind_history(self, bindings: KeyBindings) -> None:
        buffer = self._session.default_buffer
        is_editing = has_focus(buffer) & ~has_selection & ~has_completions

        @bindings.add("up", filter=is_editing)
        def _(event: KeyPressEvent) -> None:
            _go_through_history(buffer, back=True)

        @bindings.add("down", filter=is_editing)
        def _(event: KeyPressEvent) -> None:
            _go_through_history(buffer, back=False)

        @bindings.add("c-p", filter=is_editing)
        def _(event: KeyPressEvent) -> None:
            buffer.history_search_text = ""
            buffer.history_backward()

        @bindings.add("c-n", filter=is_editing)
        def _(event: KeyPressEvent) -> None:
            buffer.history_search_text = ""
            buffer.history_forward()

    def _bind_searches(self, bindings: KeyBindings) -> None:
        # The keys that move the cursor take what a search has found, as in a shell.
        @bindings.add("right", filter=is_searching)
        @bindings.add("end", filter=is_searching)
        @bindings.add("c-e", filter=is_searching)
        @bindings.add("left", filter=is_searching)
        @bindings.add("home", filter=is_searching)
        @bindings.add("c-a", filter=is_searching)
        def _(event: KeyPressEvent) -> None:
            accept_search()
            buffer = event.app.current_buffer
            is_left = event.key_sequence[-1].key in (Keys.Left, Keys.Home, Keys.ControlA)
            buffer.cursor_position = 0 if is_left else len(buffer.text)

        @bindings.add("c-g", filter=is_searching)
        @bindings.add("c-c", filter=is_searching)
        def _(event: KeyPressEvent) -> None:
            stop_search()
            buffer = self._session.default_buffer
            index, position = self._before_search
            buffer.go_to_history(index)
            buffer.cursor_position = position

    def _is_last_key(self) -> bool:
        return not self._session.app.key_processor.input_queue

    def _note_place(self, processor: KeyProcessor) -> None:
        """Remember the line that is being edited, to which a search may have to come back."""
        if not self._session.app.layout.is_searching:
            buffer = self._session.default_buffer
            self._before_search = buffer.working_index, buffer.cursor_position


def _go_through_history(buffer: Buffer, *, back: bool) -> None:
    """Do what Up does, or Down."""
    text, row = buffer.text, buffer.document.cursor_position_row
    if back and row > 0:
        buffer.cursor_up()
    elif not back and row < buffer.document.line_count - 1:
        buffer.cursor_down()
    else:
        index = -1
        while buffer.text == text and buffer.working_index != index:  # a line that came often
            index = buffer.working_index
            if back:
                buffer.history_backward()
            else:
                buffer.history_forward()


# Enter.

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
