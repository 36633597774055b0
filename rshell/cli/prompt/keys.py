"""What keys do in the line, where prompt_toolkit's own are not as in a shell.

Enter and Tab have modules of their own, for they ask the remote shell.

Up and Down move within a text of several lines first. Beyond it they go through the history: all of
it, or, with text before the cursor, the lines that begin with that, each once. Ctrl-P and Ctrl-N
always go through all of it.
"""

from __future__ import annotations

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
from prompt_toolkit.key_binding.key_processor import KeyProcessor
from prompt_toolkit.keys import Keys
from prompt_toolkit.search import accept_search, stop_search
from prompt_toolkit.shortcuts import PromptSession

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
