"""Lines of our own on a terminal in raw mode, between what remote programs write there."""

from __future__ import annotations

import os

from rshell.terminal.output import printable

_DUMB = ("dumb", "unknown", "")


def is_dumb() -> bool:
    """Whether our terminal says that it knows no escape sequences."""
    return os.environ.get("TERM", "dumb") in _DUMB


def notice(text: str, *, is_faint: bool = False) -> bytes:
    """Return a line that says something of ours; `is_faint` for what may be overlooked."""
    return _line(f"rshell: {printable(text)}", is_faint=is_faint)


def command_line(command: str) -> bytes:
    """Return a line that shows a command of somebody else's."""
    return _line(f"$ {printable(command)}", is_faint=True)


def _line(text: str, *, is_faint: bool) -> bytes:
    if is_faint and not is_dumb():
        text = f"\x1b[2m{text}\x1b[0m"
    return f"{text}\r\n".encode()
