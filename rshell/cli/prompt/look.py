"""How the prompt looks: whose it is, the marks around it, the window's title, how lines are edited.

The shell says what it would show as its prompt (`ShellPrompt`). That is shown, unless the user
wants ours, the shell says nothing of the kind, or our editor can't show it: then ours is. The same
goes for a prompt that would take more than half of the window.

Ours says where we are and how the last command ended, and so does the toolbar.

Hazard: what is shown came from the other side or from the user. Every piece of text passes
`printable` before it reaches the terminal, and is cut where it would fill the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rshell.channels.shell.messages import ShellEnding, ShellPrompt
from rshell.cli.prompt.rendering import Fragments, Rendered, render
from rshell.cli.report import format_seconds
from rshell.terminal.marks import Marks
from rshell.terminal.output import printable
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
        # Shells begin in emacs mode: nobody has chosen that, until it comes back.
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


# What our own prompt and the toolbar say.

_NAME, _PATH = 64, 256  # characters of a name and a directory
_SHORTEST = 12  # characters of a directory in the smallest window


@dataclass
class Status:
    """What is known between two commands."""

    user: str = ""
    host: str = ""
    home: str = ""
    cwd: str = ""
    where: str = ""
    named: str = ""  # the name of a named shell
    last: ShellEnding | None = None
    round_trip: float | None = None
    cut_for: float | None = None  # seconds since the link was lost, None while it is there

    def prompt(self, columns: int = 80) -> Fragments:
        """Return `user@host:cwd $`, the last sign red after a failure.

        The directory takes no more than half of a window that has `columns`.
        """
        failed = self.last is not None and self.last.status.shell_status != 0
        sign = "#" if self.user == "root" else "$"
        user, host = printable(self.user, limit=_NAME), printable(self.host, limit=_NAME)
        return [
            ("class:who", f"{user}@{host}"),
            ("", ":"),
            ("class:cwd", fitted(printable(self.short_cwd(), limit=_PATH), columns // 2)),
            ("", " "),
            ("class:failed" if failed else "class:sign", sign),
            ("", " "),
        ]

    def short_cwd(self) -> str:
        """Return the directory with the home directory as `~`."""
        if self.home and self.home != "/":
            if self.cwd == self.home:
                return "~"
            if self.cwd.startswith(self.home + "/"):
                return "~" + self.cwd[len(self.home) :]
        return self.cwd

    def toolbar(self) -> Fragments:
        """Return where we are, how the last command ended, and the round trip."""
        parts = [("class:bottom-toolbar.text", f" {printable(self.where)} ")]
        if self.named:
            parts.append(("class:bottom-toolbar.text", f" shell {printable(self.named)} "))
        if self.cut_for is not None:
            waited = format_seconds(float(int(self.cut_for)) or 1.0)
            parts.append(("class:failed", f" link cut {waited} ago, trying to come back "))
        if self.last is not None:
            status = self.last.status
            ending = status.signal or str(status.code)
            style = "" if status.shell_status == 0 else "class:failed"
            parts.append((style, f" status {printable(ending)} "))
            parts.append(("", f" {format_seconds(self.last.duration)} "))
        if self.round_trip is not None:
            parts.append(("", f" round trip {format_seconds(self.round_trip)} "))
        return parts


def fitted(path: str, room: int) -> str:
    """Return a path in about `room` characters, by its last parts."""
    room = max(room, _SHORTEST)
    if len(path) <= room:
        return path
    first, *parts = path.split("/")
    while parts and len(".../" + "/".join(parts)) > room:
        first, *parts = parts
    return ".../" + "/".join(parts) if parts else "..." + first[3 - room :]
