"""What tells the terminal of a person where prompts, commands and their output begin. Pure.

Terminals that know these marks jump from prompt to prompt, show how a command ended, tell of long
ones, and open a new window in the same directory: kitty, WezTerm, iTerm2, Ghostty and others by
OSC 133, the terminal of VS Code by OSC 633. `A` stands where a prompt begins, `B` behind it, `C`
where the output of a command begins, `D` behind that, with the status. OSC 7 names the directory
and the machine it is on. The window has a title, which is saved before and restored after.

A shell far away may mark its own prompts, and set a title. Marks are ours or theirs, never both:
where ours are made, `MarkFilter` takes theirs out of the output.

Hazard: output comes in blocks cut anywhere. What may be the beginning of a mark waits for the next
block, up to a bound; a block without an OSC costs one search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from rshell.terminal.output import printable, where_begun

_TITLE = 256  # characters
_SAVE_TITLE, _RESTORE_TITLE = b"\x1b[22;2t", b"\x1b[23;2t"

_MARK = re.compile(
    rb"\x1b\](?:(?:133|633|7);[^\x07\x1b]*|(?P<title>[02];[^\x07\x1b]*))(?:\x07|\x1b\\)"
)
_BEGUN = re.compile(
    rb"\x1b(?:\](?:1|13|133|6|63|633|[027]|(?:133|633|[027]);[^\x07\x1b]*\x1b?)?)?\Z"
)
_LONGEST = 4096  # bytes of a mark; what is longer is none


def wants_marks(environment: Mapping[str, str], *, is_dumb: bool) -> bool:
    """Whether a terminal may be given marks, as far as the environment tells."""
    return not is_dumb and environment.get("RSHELL_MARKS", "1") != "0"


class Marks:
    """The marks of one session at the prompt, in order; b"" and "" for all of them if not `on`.

    `vscode` says that the terminal is the one of VS Code, `host` is the machine of the shell.
    """

    def __init__(self, *, on: bool, vscode: bool, host: str) -> None:
        self.on = on
        self._number = 633 if vscode else 133
        self._host = host
        self._title = ""
        self._cwd: str | None = None
        self._runs = False

    @property
    def before(self) -> str:
        """What stands before the prompt's text, each time that is drawn."""
        return self._mark("A")

    @property
    def behind(self) -> str:
        """What stands behind it."""
        return self._mark("B")

    def begin(self) -> bytes:
        """Return what comes before everything: the title is saved."""
        return _SAVE_TITLE if self.on else b""

    def at_prompt(self, cwd: str, title: str | None) -> bytes:
        """Return what comes before a prompt is drawn; with None the title stays as it is."""
        if not self.on:
            return b""
        said = ""
        if cwd != self._cwd:
            self._cwd = cwd
            path = quote(cwd, errors="surrogateescape")
            said = f"\x1b]7;file://{quote(self._host, safe='')}{path}\x07"
        if title is not None:
            title = printable(title, limit=_TITLE)
            if title != self._title:
                said += f"\x1b]2;{title}\x07"
        self._title = title or ""
        return said.encode()

    def command(self) -> bytes:
        """Return what comes before a program gets the terminal."""
        self._runs = self.on
        return self._mark("C").encode()

    def done(self, status: int | None) -> bytes:
        """Return what comes behind the output of a command; None where nobody knows its status."""
        if not self._runs:
            return b""
        self._runs = False
        return self._mark("D" if status is None else f"D;{status}").encode()

    def end(self) -> bytes:
        """Return what comes last: the title is as it was."""
        return self.done(None) + (_RESTORE_TITLE if self.on else b"")

    def _mark(self, text: str) -> str:
        return f"\x1b]{self._number};{text}\x07" if self.on else ""


class MarkFilter:
    """Takes marks out of output. `saw_title` says that it has set the window's title."""

    def __init__(self) -> None:
        self.saw_title = False
        self._kept = b""

    def take(self, block: bytes) -> bytes:
        """Return the block without marks; the beginning of one waits for the next block."""
        if self._kept:
            block, self._kept = self._kept + block, b""
        if b"\x1b" not in block:  # by far the quickest search
            return block
        if b"\x1b]" in block:
            block = _MARK.sub(self._leave_out, block)
        elif not block.endswith(b"\x1b"):
            return block
        end = where_begun(block, _BEGUN, _LONGEST)
        self._kept = block[end:]
        return block[:end]

    def rest(self) -> bytes:
        """Return what waits, as nothing follows that could make it a mark."""
        kept, self._kept = self._kept, b""
        return kept

    def _leave_out(self, mark: re.Match[bytes]) -> bytes:
        if mark["title"] is None:
            return b""
        self.saw_title = True
        return mark[0]
