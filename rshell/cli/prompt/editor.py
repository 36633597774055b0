"""The line that is being edited: keys, suggestions, completion, many lines.

prompt_toolkit does the editing; this module says what rshell wants of it: keys.py which keys do
what, candidates.py what Tab does, colours.py how it looks.

Hazard: prompt_toolkit must be the only one that reads the keyboard while it runs, and must have
ended before a command gets the terminal. Keys that it has read and not used, it keeps for the
next prompt; those that come back from the server were typed later and are put behind them.

Hazard: a program that has ended may have asked the terminal something. The answer comes as if it
were typed, here or in what comes back, and is dropped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import PurePath
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import (
    Application,
    create_app_session,
    get_app_or_none,
    in_terminal,
)
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, Filter, is_done
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import (
    KeyBindings,
    KeyBindingsBase,
    KeyPressEvent,
    merge_key_bindings,
)
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Float,
    FloatContainer,
    FormattedTextControl,
    HSplit,
    UIControl,
    Window,
)
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.plain_text import PlainTextOutput
from prompt_toolkit.renderer import CPR_Support
from prompt_toolkit.shortcuts import CompleteStyle

from rshell.channels.shell.client import ShellLine
from rshell.cli.prompt.candidates import Completing
from rshell.cli.prompt.colours import KnownNames, ShellLexer, style
from rshell.cli.prompt.history import open_history
from rshell.cli.prompt.keys import EditingKeys, Judge
from rshell.cli.terminal import Detached
from rshell.terminal.answers import Answers

_MENU = 8  # lines
_VI_MODES = {
    InputMode.INSERT: "insert",
    InputMode.INSERT_MULTIPLE: "insert",
    InputMode.NAVIGATION: "normal",
    InputMode.REPLACE: "replace",
    InputMode.REPLACE_SINGLE: "replace",
}


class Editor:
    """Reads one command after another from the keyboard.

    `prompt`, `right_prompt` and `toolbar` return what is shown there, whenever it is drawn; `mode`
    says at each line whether it is edited as in "emacs" or "vi". `where` is the server's name,
    which has a history of its own. `up_searches` says whether Up looks for what is typed.
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
        up_searches: bool = True,
    ) -> None:
        self._line = line
        self._mode = mode
        self._prompt = prompt
        self._history = open_history(where)
        output = PlainTextOutput(sys.stdout) if is_dumb else None
        has_colours = not os.environ.get("NO_COLOR")
        if is_dumb:
            os.environ["TERM"] = "dumb"  # where it is unset: prompt_toolkit looks for this word
        with nullcontext() if output is None else create_app_session(output=output):
            self._session: PromptSession[str] = PromptSession(
                message=lambda: [*prompt()],
                rprompt=lambda: [*right_prompt()],
                bottom_toolbar=lambda: [*self._vi_state(), *toolbar()],
                prompt_continuation=_continuation,
                multiline=True,
                history=self._history,
                auto_suggest=AutoSuggestFromHistory(),
                completer=DummyCompleter(),  # without one there is no room for a list
                complete_while_typing=False,
                style=style(has_colours=has_colours),
                color_depth=None if has_colours else ColorDepth.DEPTH_1_BIT,
            )
        # A terminal that is slow to tell where its cursor is would get a warning above the prompt.
        self._session.app.renderer.cpr_not_supported_callback = None
        self._has_asked_cursor = False
        self._has_room = True  # for more than the line and the toolbar
        self._stays_raw = False
        self._keep_raw()
        self._session.app.after_render += self._note_question
        self._toolbar = self._session.bottom_toolbar
        self._right = _right_float(self._session)
        self._session.app.before_render += self._fit
        self._drop_answers()
        buffer = self._session.default_buffer
        self._judge = Judge(line, buffer)
        self._completing = Completing(line, buffer, self._session.app.invalidate)
        self._names = KnownNames(line, self._is_asking, self._session.app.invalidate)
        self._judge.on_ask = self._completing.on_ask = self._names.give_way
        if has_colours and not is_dumb:
            is_fish = PurePath(line.program).name == "fish"
            control = self._session.layout.current_control
            assert isinstance(control, BufferControl)
            # Not as the session's lexer, whose news prompt_toolkit does not hear of.
            control.lexer = ShellLexer(self._names, is_fish=is_fish)
            self._session.app.after_render += lambda _: self._names.want_first()
        self._session.key_bindings = self._bindings(up_searches)
        waiting = FormattedTextControl([("class:waiting", "completing...")])
        is_waiting = Condition(lambda: self._completing.is_waiting and self._has_room)
        _add_line_below(self._session, waiting, is_waiting)

    @property
    def trouble(self) -> str:
        """Why no history is kept, "" if it is."""
        return self._history.trouble

    async def read(self) -> str:
        """Return the next command.

        Raises KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D on an empty line, and Detached
        for Ctrl-X Ctrl-D in a named shell.
        """
        self._completing.forget()
        self._names.begin()
        self._follow_mode()
        try:
            # What fails in the loop is for the prompt to say.
            return await self._session.prompt_async(set_exception_handler=False)
        finally:
            self._completing.stop()
            self._names.give_way()  # to the command
            renderer = self._session.app.renderer
            if self._has_asked_cursor and renderer.cpr_support is CPR_Support.UNKNOWN:
                # Asked once: each prompt would wait for an answer a second anew. Where one comes
                # all the same, it is asked again.
                renderer.cpr_support = CPR_Support.NOT_SUPPORTED

    async def close(self) -> None:
        """Stop what is left of questions to the shell."""
        await self._judge.close()
        await self._completing.close()
        await self._names.close()

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
        self._has_room = rows > 3
        self._session.complete_style = (
            CompleteStyle.COLUMN
            if self._completing.has_descriptions
            else CompleteStyle.MULTI_COLUMN
        )
        if self._right is not None:  # beside the line that is edited, as in a shell
            self._right.top = sum(text.count("\n") for _, text in self._prompt())

    def _vi_state(self) -> list[tuple[str, str]]:
        """Return what the toolbar says of vi's modes."""
        app = self._session.app
        if app.editing_mode is not EditingMode.VI:
            return []
        if self._session.default_buffer.selection_state is not None:
            return [("", " visual ")]
        return [("", f" {_VI_MODES[app.vi_state.input_mode]} ")]

    def _is_asking(self) -> bool:
        return self._judge.is_asking or self._completing.is_asking

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

    def _bindings(self, up_searches: bool) -> KeyBindingsBase:
        bindings = KeyBindings()

        # Not `~d`: at a prompt that is the home directory of somebody called d.
        @bindings.add("c-x", "c-d", filter=Condition(lambda: bool(self._line.name)))
        def _(event: KeyPressEvent) -> None:
            event.app.exit(exception=Detached())

        keys = EditingKeys(self._session, up_searches=up_searches)
        return merge_key_bindings(
            [keys.bindings(), self._completing.bindings(), self._judge.bindings(), bindings]
        )


def _right_float(session: PromptSession[str]) -> Float | None:
    """Return where prompt_toolkit puts the right prompt: the only thing at the right edge."""
    floats = [
        each
        for container in session.layout.walk()
        if isinstance(container, FloatContainer)
        for each in container.floats
    ]
    return next((each for each in floats if (each.right, each.top) == (0, 0)), None)


def _add_line_below(session: PromptSession[str], control: UIControl, is_shown: Filter) -> None:
    """Have a line of `control` between what is edited and the toolbar."""
    if isinstance(session.layout.container, HSplit):
        window = Window(control, height=1, dont_extend_height=True)
        below = ConditionalContainer(window, is_shown & ~is_done)
        session.layout.container.children.insert(1, below)


def _running_app() -> Application[Any] | None:
    """Return the prompt's application while it has the terminal; a dumb one has another."""
    app = get_app_or_none()
    return app if app is not None and app.is_running else None


def _continuation(width: int, line_number: int, wrap_count: int) -> StyleAndTextTuples:
    """Mark a new line; one that only goes on, for want of room, is shown as it is."""
    return [] if wrap_count else [("class:continuation", "> ")]
