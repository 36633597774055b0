"""How the prompt looks: whose it is, the marks around it, the window's title, how lines are edited.

The shell says what it would show as its prompt (`ShellPrompt`). That is shown, unless the user
wants ours, the shell says nothing of the kind, or our editor can't show it: then ours is. The same
goes for a prompt that would take more than half of the window.
"""

from __future__ import annotations

from collections.abc import Callable

from rshell.channels.shell.messages import ShellPrompt
from rshell.cli.prompt.rendering import Fragments, Rendered, render
from rshell.cli.prompt.status import Status
from rshell.terminal.marks import Marks
from rshell.values import TerminalSize

_RAW = "[ZeroWidthEscape]"  # prompt_toolkit writes it as it is, each time it draws what follows


class Look:
    """What the editor shows in front of the line; `size` returns the window's.

    With `is_own` it is the shell's own prompt, where that can be. `mode` is how lines are edited
    ("emacs" or "vi") where the shell does not say. A terminal that `is_dumb` is just written to.
    """

    def __init__(
        self,
        status: Status,
        marks: Marks,
        size: Callable[[], TerminalSize],
        *,
        is_own: bool,
        mode: str,
        is_dumb: bool = False,
    ) -> None:
        self._status = status
        self._marks = marks
        self._size = size
        self._is_own = is_own
        self._is_dumb = is_dumb
        self._usual_mode = mode
        self._mode = ""
        self._left: Rendered | None = None
        self._right = Rendered()

    def show(self, prompt: ShellPrompt | None) -> None:
        """Take what the shell says of its prompt, None where it says nothing."""
        if prompt is None:
            return
        # Shells begin in emacs mode unless told otherwise: nobody has chosen that until it comes back.
        if prompt.mode == "vi" or self._mode:
            self._mode = prompt.mode
        if self._is_own:
            self._left = render(prompt.text)
            self._right = render(prompt.right) or Rendered()

    def mode(self) -> str:
        """Return how the line is edited, "emacs" or "vi"."""
        return self._mode or self._usual_mode

    def prompt(self) -> Fragments:
        """Return the prompt, with the marks around it."""
        shown = self._own()
        fragments = self._status.prompt(self._size().columns) if shown is None else shown.fragments
        if self._is_dumb:  # the editor writes it as it is, and the terminal is raw
            return [(style, text.replace("\n", "\r\n")) for style, text in fragments]
        if not self._marks.on:
            return [*fragments]
        return [(_RAW, self._marks.before), *fragments, (_RAW, self._marks.behind)]

    def right(self) -> Fragments:
        """Return what stands at the right of the line; several lines are none."""
        if self._own() is None or self._right.rows(self._size().columns) > 1:
            return []
        return [*self._right.fragments]

    def title(self) -> str:
        """Return the window's title: the prompt's own, or else where we are."""
        shown = self._left
        own = None if shown is None else shown.title
        status = self._status
        return f"{status.user}@{status.host}: {status.short_cwd()}" if own is None else own

    def _own(self) -> Rendered | None:
        """Return the shell's own prompt if it is to be shown and fits."""
        size = self._size()
        shown = self._left
        if shown is None or shown.rows(size.columns) > max(1, size.rows // 2):
            return None
        return shown
