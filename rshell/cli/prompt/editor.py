"""The line that is being edited: keys, suggestions, completion, many lines.

prompt_toolkit does the editing; this module says what rshell wants of it. Enter asks the remote
shell whether the text is whole, but only if it looks as if it might not be. What is typed until
the answer comes is held back: it belongs after the Enter, be that a new line or the end of the
command.

Hazard: prompt_toolkit must be the only one that reads the keyboard while it runs, and must have
ended before a command gets the terminal. Keys that it has read and not used, it keeps for the
next prompt; those that come back from the server were typed later and are put behind them.

Hazard: a program that has ended may have asked the terminal something. The answer comes as if it
were typed, here or in what comes back, and is dropped.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import (
    Application,
    create_app_session,
    get_app_or_none,
    in_terminal,
)
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import (
    Condition,
    emacs_mode,
    has_completions,
    has_selection,
    is_searching,
    vi_mode,
    vi_navigation_mode,
)
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.key_processor import KeyPress, KeyProcessor
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.containers import Float, FloatContainer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.plain_text import PlainTextOutput
from prompt_toolkit.renderer import CPR_Support
from prompt_toolkit.search import accept_search, stop_search
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.completeness import may_be_incomplete, wants_more_text
from rshell.cli.prompt.candidates import RemoteCompleter
from rshell.cli.prompt.history import open_history
from rshell.cli.terminal import Detached
from rshell.errors import RshellError
from rshell.terminal.answers import Answers
from rshell.terminal.pty import process_output

_TERMINAL = 0
_MENU = 8  # lines
_CHECK_DEADLINE = 5.0  # seconds; a text that is not judged by then is run as it is

_STYLE = Style.from_dict(
    {
        "who": "ansigreen",
        "cwd": "ansiblue bold",
        "sign": "",
        "failed": "ansired bold",
        "continuation": "ansibrightblack",
    }
)


# What is not typed must look otherwise all the same.
_WITHOUT_COLOURS = Style.from_dict(
    {"cwd": "bold", "failed": "bold", "continuation": "dim", "auto-suggestion": "dim"}
)


class Editor:
    """Reads one command after another from the keyboard.

    `prompt`, `right_prompt` and `toolbar` return what is shown there, whenever it is drawn; `mode`
    says at each line whether it is edited as in "emacs" or "vi". `where` is the server's name,
    which has a history of its own.
    """

    def __init__(
        self,
        line: ShellLine,
        where: str,
        prompt: Callable[[], list[tuple[str, str]]],
        toolbar: Callable[[], list[tuple[str, str]]],
        *,
        right_prompt: Callable[[], list[tuple[str, str]]],
        mode: Callable[[], str],
        is_dumb: bool,
    ) -> None:
        self._line = line
        self._completer = RemoteCompleter(line)
        self._check: asyncio.Task[None] | None = None
        self._held: list[KeyPress] = []  # typed after an Enter that is being judged
        self._mode = mode
        self._prompt = prompt
        self._history = open_history(where)
        output = PlainTextOutput(sys.stdout) if is_dumb else None
        has_no_colours = bool(os.environ.get("NO_COLOR"))
        if is_dumb:
            os.environ["TERM"] = "dumb"  # where it is unset: prompt_toolkit looks for this word
        with nullcontext() if output is None else create_app_session(output=output):
            self._session: PromptSession[str] = PromptSession(
                message=lambda: [*prompt()],
                rprompt=lambda: [*right_prompt()],
                bottom_toolbar=lambda: [*toolbar()],
                prompt_continuation=_continuation,
                multiline=True,
                history=self._history,
                auto_suggest=AutoSuggestFromHistory(),
                completer=self._completer,
                complete_while_typing=False,
                complete_style=CompleteStyle.MULTI_COLUMN,
                key_bindings=self._bindings(),
                style=_WITHOUT_COLOURS if has_no_colours else _STYLE,
                color_depth=ColorDepth.DEPTH_1_BIT if has_no_colours else None,
            )
        # A terminal that is slow to tell where its cursor is would get a warning above the prompt.
        self._session.app.renderer.cpr_not_supported_callback = None
        self._has_asked_cursor = False
        self._stays_raw = False
        self._keep_raw()
        self._before_search = 0, 0
        self._session.app.key_processor.before_key_press += self._note_place
        self._session.app.after_render += self._note_question
        self._toolbar = self._session.bottom_toolbar
        self._right = _right_float(self._session)
        self._session.app.before_render += self._fit
        self._drop_answers()

    @property
    def trouble(self) -> str:
        """Why no history is kept, "" if it is."""
        return self._history.trouble

    async def read(self) -> str:
        """Return the next command.

        Raises KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D on an empty line, and Detached
        for Ctrl-X Ctrl-D in a named shell.
        """
        self._completer.forget()
        self._follow_mode()
        try:
            # What fails in the loop is for the prompt to say.
            return await self._session.prompt_async(set_exception_handler=False)
        finally:
            renderer = self._session.app.renderer
            if self._has_asked_cursor and renderer.cpr_support is CPR_Support.UNKNOWN:
                # Asked once: each prompt would wait for an answer a second anew. Where one comes
                # all the same, it is asked again.
                renderer.cpr_support = CPR_Support.NOT_SUPPORTED

    async def close(self) -> None:
        """Stop what is left of a check."""
        if self._check is not None:
            self._check.cancel()
            await asyncio.gather(self._check, return_exceptions=True)

    def interrupt(self, error: BaseException) -> None:
        """Make the `read` at work raise `error`; without one, do nothing."""
        app = _running_app()
        if app is not None and not app.is_done:
            app.exit(exception=error)

    def refresh(self) -> None:
        """Draw prompt and toolbar again, if they are on the screen."""
        app = _running_app()
        if app is not None:
            self._follow_mode()
            app.invalidate()

    def _follow_mode(self) -> None:
        mode = EditingMode.VI if self._mode() == "vi" else EditingMode.EMACS
        if self._session.editing_mode is not mode:
            self._session.editing_mode = mode

    def draw_again(self) -> None:
        """Draw all of it where the cursor is now, as somebody else has written on the screen."""
        if (app := _running_app()) is not None:
            app.renderer.reset()  # which forgets where the prompt was
            app.invalidate()

    def type_ahead(self, text: str) -> None:
        """Have `text` act as if it were typed now; without a `read` at work, at the next."""
        # Bytes of a character may have come apart.
        text = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
        keys: list[KeyPress] = []
        answers = Answers()
        text = answers.take(text) + answers.rest()
        # A remote terminal has made newlines of the returns.
        Vt100Parser(keys.append).feed_and_flush(text.replace("\n", "\r"))
        self._press(keys)

    def insert(self, text: str) -> None:
        """Put `text` into the line as it is, as a paste, after what waits to be typed."""
        answers = Answers()
        if text := answers.take(text) + answers.rest():
            self._press([KeyPress(Keys.BracketedPaste, text)])

    def _press(self, keys: list[KeyPress]) -> None:
        app = _running_app()
        if app is None or app.is_done:
            store_typeahead(self._session.app.input, keys)
        else:
            app.key_processor.feed_multiple(keys)
            app.key_processor.process_keys()

    def _fit(self, app: Application[str]) -> None:
        """In a small window the line comes first: menu and toolbar get what is left."""
        rows = app.output.get_size().rows
        self._session.reserve_space_for_menu = max(0, min(_MENU, rows - 2))
        self._session.bottom_toolbar = self._toolbar if rows > 2 else None
        if self._right is not None:  # beside the line that is edited, as in a shell
            self._right.top = sum(text.count("\n") for _, text in self._prompt())

    def _note_question(self, app: Application[str]) -> None:
        if app.renderer.waiting_for_cpr:
            self._has_asked_cursor = True

    def _drop_answers(self) -> None:
        """Have the keyboard drop what the terminal answers to a program that has ended."""
        parser = getattr(self._session.app.input, "vt100_parser", None)
        if not isinstance(parser, Vt100Parser):
            return
        answers, feed, flush = Answers(), parser.feed, parser.flush

        def feed_keys(data: str) -> None:
            feed(answers.take(data))

        def flush_keys() -> None:
            feed(answers.rest())
            flush()

        parser.feed = feed_keys  # type: ignore[method-assign]
        parser.flush = flush_keys  # type: ignore[method-assign]

    async def show_above(self, write: Callable[[], None]) -> None:
        """Call `write` while the prompt is out of the way."""
        self._stays_raw = True
        try:
            async with in_terminal():
                write()
        finally:
            self._stays_raw = False

    def _keep_raw(self) -> None:
        """Have what is shown above the prompt leave the terminal raw.

        In line mode it would take keys as its own that are typed at this moment: Ctrl-U, Ctrl-D.
        """
        keyboard = self._session.app.input
        cooked_mode = keyboard.cooked_mode

        def cooked_or_not() -> AbstractContextManager[None]:
            return nullcontext() if self._stays_raw else cooked_mode()

        keyboard.cooked_mode = cooked_or_not  # type: ignore[method-assign]

    def _bindings(self) -> KeyBindings:
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
                self._check = asyncio.create_task(self._accept_if_whole(event.app))
                self._check.add_done_callback(_report_failure)
            else:
                buffer.validate_and_handle()

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

        # Escape alone: if another key came with it, it is that key with Alt.
        @bindings.add("escape", eager=True, filter=has_completions & Condition(self._is_last_key))
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.cancel_completion()

        @bindings.add("c-z")
        def _(event: KeyPressEvent) -> None:
            """Do nothing: there is no job to stop."""

        # Not `~d`: at a prompt that is the home directory of somebody called d.
        @bindings.add("c-x", "c-d", filter=Condition(lambda: bool(self._line.name)))
        def _(event: KeyPressEvent) -> None:
            event.app.exit(exception=Detached())

        @bindings.add(Keys.Any, eager=True, filter=Condition(self._is_checking))
        def _(event: KeyPressEvent) -> None:
            self._held += event.key_sequence

        return bindings

    def _is_last_key(self) -> bool:
        return not self._session.app.key_processor.input_queue

    def _note_place(self, processor: KeyProcessor) -> None:
        """Remember the line that is being edited, to which a search may have to come back."""
        if not self._session.app.layout.is_searching:
            buffer = self._session.default_buffer
            self._before_search = buffer.working_index, buffer.cursor_position

    def _hold_back(self, processor: KeyProcessor) -> None:
        """Take the keys that were read together with this one, many lines of them perhaps."""
        queue = list(processor.input_queue)
        processor.input_queue.clear()
        answers = [key for key in queue if key.key is Keys.CPRResponse]
        processor.feed_multiple(answers)
        self._held = [key for key in queue if key.key is not Keys.CPRResponse]

    def _is_checking(self) -> bool:
        return self._check is not None and not self._check.done()

    async def _accept_if_whole(self, app: Application[str]) -> None:
        buffer = self._session.default_buffer
        try:
            async with timeout(_CHECK_DEADLINE):
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


def _right_float(session: PromptSession[str]) -> Float | None:
    """Return where prompt_toolkit puts the right prompt: the only thing at the right edge."""
    floats = [
        each
        for container in session.layout.walk()
        if isinstance(container, FloatContainer)
        for each in container.floats
    ]
    return next((each for each in floats if (each.right, each.top) == (0, 0)), None)


def _running_app() -> Application[Any] | None:
    """Return the prompt's application while it has the terminal; a dumb one has another."""
    app = get_app_or_none()
    return app if app is not None and app.is_running else None


def _continuation(width: int, line_number: int, wrap_count: int) -> StyleAndTextTuples:
    """Mark a new line; one that only goes on, for want of room, is shown as it is."""
    return [] if wrap_count else [("class:continuation", "> ")]
