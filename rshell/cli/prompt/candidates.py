"""Tab: the candidates of the remote shell, inserted as far as they agree, then listed.

The server is asked; typing goes on meanwhile. An answer counts while line and cursor are as they
were: a key that changes them stops the wait, and the next Tab asks anew. After a moment a line
below says that an answer is waited for, for a completion of the user's own may take its time. No
candidates are no news.

They are kept until the next command, for people press Tab again and again; an answer without
any may only have come too late, and is asked for again.

Hazard: a server may send any number of them, and any text: no more are offered than anybody looks
through, and none that would act when it is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prompt_toolkit.buffer import Buffer, CompletionState
from prompt_toolkit.completion import Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import emacs_insert_mode, has_completions, has_focus, vi_insert_mode
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.menus import CompletionsMenuControl, MultiColumnCompletionMenuControl
from prompt_toolkit.utils import get_cwidth

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import Completions
from rshell.errors import RshellError
from rshell.terminal.output import printable

_DEADLINE = 8.0  # seconds: the server's own 5, and the way
_PATIENCE = 0.3  # seconds until it is said that an answer is waited for
_MOST = 2000  # candidates
_DESCRIBED = 200  # characters of a description


class Completing:
    """Completes what is in `buffer`.

    `refresh` is called when `is_waiting` changes. `on_ask` is called before the shell is asked.
    """

    def __init__(self, line: ShellLine, buffer: Buffer, refresh: Callable[[], None]) -> None:
        self._line = line
        self._buffer = buffer
        self._refresh = refresh
        self._known: dict[str, Completions] = {}
        self._task: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.on_ask: Callable[[], None] = lambda: None
        self.is_waiting = False  # for long enough to say so
        self.has_descriptions = False  # what is listed
        buffer.on_text_changed += lambda _: self.stop()
        buffer.on_cursor_position_changed += lambda _: self.stop()

    @property
    def is_asking(self) -> bool:
        """Whether the shell works on candidates."""
        return self._task is not None and not self._task.done()

    def press(self) -> None:
        """Do what Tab does."""
        if self._buffer.complete_state is not None:
            self._buffer.complete_next()
        elif not self.is_asking:
            self._task = asyncio.create_task(self._complete(self._buffer.document))
            self._task.add_done_callback(_report_failure)

    def stop(self) -> None:
        """Wait for no answer any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._end_waiting()

    def forget(self) -> None:
        """Drop what is known: a command may have changed everything."""
        self.stop()
        self._known.clear()

    async def close(self) -> None:
        """Stop what is under way."""
        task = self._task
        self.stop()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    async def _complete(self, document: Document) -> None:
        text = document.text_before_cursor
        found = self._known.get(text) or await self._ask(text)
        if found is not None:
            self._task = None  # what follows changes the line, and must not stop itself
            self._offer(document, found)

    async def _ask(self, text: str) -> Completions | None:
        self.on_ask()
        self._patience = asyncio.get_running_loop().call_later(_PATIENCE, self._say_waiting)
        try:
            async with timeout(_DEADLINE):
                found = await self._line.complete(text)
        except (TimeoutError, RshellError, ValueError):
            return None
        finally:
            self._end_waiting()
        if not found.texts or found.start > len(text):
            return None
        self._known[text] = found
        return found

    def _say_waiting(self) -> None:
        self.is_waiting = True
        self._refresh()

    def _end_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self.is_waiting:
            self.is_waiting = False
            self._refresh()

    def _offer(self, document: Document, found: Completions) -> None:
        """Insert what all candidates begin with; where that is nothing new, list them."""
        text = document.text_before_cursor
        typed = text[found.start :]
        offered = completions(found, len(text))
        if not offered:
            return
        common = _common([item.text for item in offered])
        if common != typed and (len(common) >= len(typed) or len(offered) == 1):
            if len(offered) > 1:  # one alone is done with, and another Tab goes on behind it
                self._known[text[: found.start] + common] = found
            self._buffer.delete_before_cursor(len(typed))
            self._buffer.insert_text(common)
        elif len(offered) > 1:
            self.has_descriptions = bool(found.descriptions)
            self._buffer.complete_state = CompletionState(document, offered)
            self._buffer.on_completions_changed.fire()

    def bindings(self) -> KeyBindings:
        """Return the keys for it: Tab, and those that turn the pages of a long list."""
        bindings = KeyBindings()
        is_editing = has_focus(self._buffer) & (emacs_insert_mode | vi_insert_mode)

        @bindings.add("tab", filter=is_editing)
        def _(event: KeyPressEvent) -> None:
            self.press()

        @bindings.add("pagedown", filter=has_completions)
        def _(event: KeyPressEvent) -> None:
            self._buffer.complete_next(count=self._page(event), disable_wrap_around=True)

        @bindings.add("pageup", filter=has_completions)
        def _(event: KeyPressEvent) -> None:
            self._buffer.complete_previous(count=self._page(event), disable_wrap_around=True)

        return bindings

    def _page(self, event: KeyPressEvent) -> int:
        """Return how many candidates are on the screen."""
        state = self._buffer.complete_state
        for window in event.app.layout.visible_windows:
            if state is None or (shown := window.render_info) is None:
                continue
            if isinstance(window.content, CompletionsMenuControl):
                return max(1, shown.window_height)
            if isinstance(window.content, MultiColumnCompletionMenuControl):
                widest = max(get_cwidth(item.display_text) for item in state.completions) + 1
                return max(1, shown.window_height * max(1, (shown.window_width - 3) // widest))
        return 1


def completions(found: Completions, size: int) -> list[Completion]:
    """Return what can be offered behind a text of `size` characters, in the order of the server."""
    descriptions = found.descriptions or ("",) * len(found.texts)
    shared = _directory(found.labels)
    return [
        Completion(
            text,
            start_position=found.start - size,
            display=printable(label[shared:]),
            display_meta=printable(description, limit=_DESCRIBED),
        )
        for text, label, description in zip(found.texts[:_MOST], found.labels, descriptions)
        if not ("\x1b" in text or "\r" in text)  # it would act when it is shown
    ]


def _directory(labels: tuple[str, ...]) -> int:
    """Return the length of the directory that all are in, which people know."""
    return _shared([label.rstrip("/") for label in labels]).rfind("/") + 1


def _common(texts: list[str]) -> str:
    """Return what all texts begin with, without half of a quoted character at its end."""
    common = _shared(texts)
    if len(texts) > 1 and (len(common) - len(common.rstrip("\\"))) % 2:
        return common[:-1]
    return common


def _shared(texts: list[str]) -> str:
    first, last = min(texts, default=""), max(texts, default="")
    size = 0
    while size < len(first) and first[size] == last[size : size + 1]:
        size += 1
    return first[:size]


def _report_failure(task: asyncio.Task[None]) -> None:
    """Have the loop's handler say what a task failed with, now rather than when it is collected."""
    if not task.cancelled() and (error := task.exception()) is not None:
        context = {"message": "completing failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)
