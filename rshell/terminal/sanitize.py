"""Text from the other side that is safe to show on a terminal.

Strategy: only a command's own output reaches the terminal as it is. Everything else that a
peer chose (reasons, names, directories) passes `printable`, which shows every control character,
escape and direction mark as an escape of its own, so that it can be read but can't act.

Hazard: C1 controls (U+0080 to U+009F) act as escape sequences on many terminals, and
bidirectional marks make text read as what it is not; both count as controls here.
"""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, *, limit: int = 1000) -> str:
    """Return `text` on one line with nothing in it that acts, cut at `limit` characters."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    shown = "".join(_show(character) for character in text[:limit])
    return shown + "..." if len(text) > limit else shown


def _show(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
