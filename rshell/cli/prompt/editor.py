"""The line that is being edited: keys, history, suggestions, completion, many lines.

prompt_toolkit does the editing; this module says what rshell wants of it. Enter asks the remote
shell whether the text is whole, but only if it looks as if it might not be. What is typed until
the answer comes is held back: it belongs after the Enter, be that a new line or the end of the
command.

Tab asks the server for candidates; what has not come within the deadline is not shown. They are
kept until the next command, for people press Tab again and again; an answer without any may only
have come too late, and is asked for again. prompt_toolkit cancels a question that was overtaken by
a later one.

The history is a file for each host, shared by all clients. Entries are appended, one write each,
and the file is read again at every prompt when another client has added to it. A line that begins
with a blank is not kept, as in most shells. History may hold secrets: the file is private, in a
private directory.

Hazard: prompt_toolkit must be the only one that reads the keyboard while it runs, and must have
ended before a command gets the terminal. Keys that it has read and not used, it keeps for the
next prompt; those that come back from the server were typed later and are put behind them.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
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
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import (
    Condition,
    emacs_mode,
    has_selection,
    vi_mode,
    vi_navigation_mode,
)
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.key_processor import KeyPress, KeyProcessor
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.plain_text import PlainTextOutput
from prompt_toolkit.search import accept_search
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.completeness import may_be_incomplete, wants_more_text
from rshell.channels.shell.messages import Completions
from rshell.cli.terminal import Detached
from rshell.errors import ConfigurationError, RshellError
from rshell.security.files import private_directory, state_directory
from rshell.terminal.output import printable
from rshell.terminal.pty import process_output

_TERMINAL = 0
_CANDIDATES_DEADLINE = 0.5  # seconds: the server's own 300 ms, and the way
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


class Editor:
    """Reads one command after another from the keyboard.

    `prompt` and `toolbar` return what is shown there, whenever it is drawn. `where` is the server's
    name, which has a history of its own.
    """

    def __init__(
        self,
        line: ShellLine,
        where: str,
        prompt: Callable[[], list[tuple[str, str]]],
        toolbar: Callable[[], list[tuple[str, str]]],
        *,
        is_vi: bool,
        is_dumb: bool,
    ) -> None:
        self._line = line
        self._completer = RemoteCompleter(line)
        self._check: asyncio.Task[None] | None = None
        self._held: list[KeyPress] = []  # typed after an Enter that is being judged
        self._history = open_history(where)
        output = PlainTextOutput(sys.stdout) if is_dumb else None
        if is_dumb:
            os.environ["TERM"] = "dumb"  # where it is unset: prompt_toolkit looks for this word
        with nullcontext() if output is None else create_app_session(output=output):
            self._session: PromptSession[str] = PromptSession(
                message=lambda: [*prompt()],
                bottom_toolbar=lambda: [*toolbar()],
                prompt_continuation=_continuation,
                multiline=True,
                history=self._history,
                auto_suggest=AutoSuggestFromHistory(),
                completer=self._completer,
                complete_while_typing=False,
                complete_style=CompleteStyle.MULTI_COLUMN,
                editing_mode=EditingMode.VI if is_vi else EditingMode.EMACS,
                key_bindings=self._bindings(),
                style=_STYLE,
                color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
            )
        # A terminal that is slow to tell where its cursor is would get a warning above the prompt.
        self._session.app.renderer.cpr_not_supported_callback = None

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
        return await self._session.prompt_async()

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
            app.invalidate()

    def type_ahead(self, text: str) -> None:
        """Have `text` act as if it were typed now; without a `read` at work, at the next."""
        # Bytes of a character may have come apart.
        text = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
        keys: list[KeyPress] = []
        # A remote terminal has made newlines of the returns.
        Vt100Parser(keys.append).feed_and_flush(text.replace("\n", "\r"))
        app = _running_app()
        if app is None or app.is_done:
            store_typeahead(self._session.app.input, keys)
        else:
            app.key_processor.feed_multiple(keys)
            app.key_processor.process_keys()

    async def show_above(self, write: Callable[[], None]) -> None:
        """Call `write` while the prompt is out of the way."""
        async with in_terminal():
            write()

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
                self._check = asyncio.ensure_future(self._accept_if_whole(event.app))
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


def _add_line(buffer: Buffer) -> None:
    """Go on in a new line at the end of the text."""
    buffer.cursor_position = len(buffer.text)
    buffer.insert_text("\n")


def _running_app() -> Application[Any] | None:
    """Return the prompt's application while it has the terminal; a dumb one has another."""
    app = get_app_or_none()
    return app if app is not None and app.is_running else None


def _continuation(width: int, line_number: int, wrap_count: int) -> StyleAndTextTuples:
    """Mark a new line; one that only goes on, for want of room, is shown as it is."""
    return [] if wrap_count else [("class:continuation", "> ")]


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
        for candidate, label in zip(found.texts, found.labels):
            if "\x1b" in candidate or "\r" in candidate:
                continue  # it would act when it is shown
            start = found.start - len(text)
            if start <= 0:
                yield Completion(candidate, start_position=start, display=printable(label))


class SharedHistory(FileHistory):
    """A history file that other clients append to as well.

    `trouble` says why nothing is kept in it, "" if it is: history is no condition of a prompt.
    """

    def __init__(self, path: Path, trouble: str = "") -> None:
        self.trouble = trouble
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(path, flags, 0o600))
        except OSError as error:
            self.trouble = f"can't write {path}: {error.strerror}."
        self._path = path
        self._size = -1
        super().__init__(str(path))

    async def load(self) -> AsyncGenerator[str, None]:
        """Yield all entries, the latest first; reads the file if it has changed."""
        with suppress(OSError):  # it was removed: what is known stays known
            size = self._path.stat().st_size
            if size != self._size:
                self._size = size
                self._loaded = False
        async for item in super().load():
            yield item

    def load_history_strings(self) -> Iterable[str]:
        """Return what is kept, the latest first; nothing where it can't be read."""
        try:
            return [*super().load_history_strings()]
        except OSError as error:
            self.trouble = self.trouble or f"can't read {self._path}: {error.strerror}."
            return []

    def append_string(self, string: str) -> None:
        """Keep an entry, unless it begins with a blank or repeats the last one."""
        if not string.strip() or string[0] in " \t":
            return
        if self._loaded_strings[:1] != [string]:
            super().append_string(string)

    def store_string(self, string: str) -> None:
        """Write an entry; one that can't be written, on a full disk, is known until the end."""
        with suppress(OSError):
            super().store_string(string.encode(errors="surrogateescape").decode(errors="replace"))


def open_history(where: str) -> SharedHistory:
    """Return the history for the server called `where`, which may be one that keeps nothing."""
    try:
        directory = private_directory(state_directory() / "history")
    except ConfigurationError as error:  # no home, or one that can't be written
        return SharedHistory(Path(os.devnull), str(error))
    return SharedHistory(directory / re.sub(r"[^A-Za-z0-9._-]", "_", where))
