"""What goes to a terminal: modes that a program leaves on, and text that is safe to show. Pure.

`ModeTracker` looks through a program's output for the few sequences that change how a terminal
behaves afterwards: private modes (mouse, alternate screen, bracketed paste, a hidden cursor), the
keypad, keys that are reported in other ways, the region that scrolls, insert mode, line drawing,
the cursor's shape and colours. What is on when the program has ended is turned off again.

Only a command's own output reaches the terminal as it is. Everything else that a peer chose
(reasons, names, directories) passes `printable`, which shows every control character, escape and
direction mark as an escape of its own: it can be read but can't act.

Hazard: output comes in blocks cut anywhere. The tail of a block that may be the beginning of a
sequence is looked at again with the next; everything is searched with one pass of a compiled
expression, and a block without an escape costs one scan for that byte.

Hazard: C1 controls (U+0080 to U+009F) act as escape sequences on many terminals, and
bidirectional marks make text read as what it is not; both count as controls here.
"""

from __future__ import annotations

import re
import unicodedata

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[\?(?P<numbers>[\d;]{1,40})(?P<private>[hl])"
    rb"|(?P<keypad>[=>])"
    rb"|\[(?P<region>\d{0,5}(?:;\d{0,5})?)r"
    rb"|\[4(?P<insert>[hl])"
    rb"|\((?P<charset>[0-9A-Z])"
    rb"|\[>4(?:;(?P<other_keys>\d?))?m"
    rb"|\[(?P<flags>[><]\d{0,3})u"
    rb"|\[(?P<shape>\d{0,2}) q"
    rb"|(?P<reset>\[!p|c))"
)
_TAIL = 48  # longer than any sequence of interest
# What leaves the cursor where it is, at the end of a block, and how much of that is looked at.
_STILL = re.compile(
    rb"(?:\r|\x1b(?:\[[0-9;]*[mK]|\[0?J|\[\?(?:1|7|12|25|2004)[hl]|[=>]|\(B"
    rb"|\][^\x07\x1b]*(?:\x07|\x1b\\)))*\Z"
)
_STILL_SIZE = 256

# Private modes that are worth undoing, and how they are without a program.
_OFF = (47, 1047, 1049, 9, *range(1000, 1007), 1015, 1016, 2004, 1, 5, 6, 2026)
_ON = (25, 7)
_ALTERNATE = (1049, 1047, 47)
_KNOWN = frozenset((*_OFF, *_ON))
_REST = tuple(number for number in _OFF if number not in _ALTERNATE)

# What each of the others is without a program, and what makes it so again.
_NORMAL = {
    "keypad": (b">",),
    "region": (b"", b";"),
    "insert": (b"l",),
    "charset": (b"B",),
    "other_keys": (b"", b"0"),
    "shape": (b"", b"0"),
}
_UNDO = {
    "keypad": b"\x1b>",
    "region": b"\x1b7\x1b[r\x1b8",  # which moves the cursor, so it is kept and brought back
    "insert": b"\x1b[4l",
    "charset": b"\x1b(B",
    "other_keys": b"\x1b[>4m",
    "shape": b"\x1b[0 q",
}
_FOR_KEYS = ("keypad", "other_keys")  # a program on the screen draws again, but keys are as set
_STACK = 15  # ways to report keys that are remembered, as terminals do


class ModeTracker:
    """Follows one program's output. `mid_line` says that it ended without a newline."""

    def __init__(self) -> None:
        self._modes: dict[int, bool] = {}
        self._others: dict[str, bytes] = {}  # by name, with what turned it on
        self._pushed: list[bytes] = []  # ways to report keys, of the protocol that has a stack
        self._colours = False
        self._tail = b""
        self.mid_line = False

    def feed(self, block: bytes) -> None:
        """Look through the next block of output."""
        if not block:
            return
        self._note_end(block)
        if self._tail:
            block = self._tail + block
            self._tail = b""
        if b"\x1b" not in block:
            return
        self._colours = True
        end = 0
        for match in _SEQUENCE.finditer(block):
            end = match.end()
            self._note(match)
        last = block.rfind(b"\x1b", max(end, len(block) - _TAIL))
        if last >= 0:
            self._tail = block[last:]

    def _note_end(self, block: bytes) -> None:
        end = block[-_STILL_SIZE:]
        if b"\x1b" in end[end.rfind(b"\n") + 1 :]:
            found = _STILL.search(end)
            assert found is not None
            end = end[: found.start()]
        if end or len(block) > _STILL_SIZE:
            self.mid_line = not end.endswith(b"\n")

    def _note(self, match: re.Match[bytes]) -> None:
        kind = match.lastgroup
        if kind == "private":
            for number in match["numbers"].split(b";"):
                if number and int(number) in _KNOWN:
                    self._modes[int(number)] = match["private"] == b"h"
        elif kind == "reset":  # full or soft
            self._modes.clear()
            self._others.clear()
            self._pushed.clear()
        elif kind == "flags":
            if match["flags"].startswith(b">"):
                self._pushed = [*self._pushed[-_STACK:], match[0]]
            else:
                left = len(self._pushed) - int(match["flags"][1:] or 1)
                del self._pushed[max(0, left) :]
        else:
            name = kind or "other_keys"
            if (match[name] or b"") in _NORMAL[name]:
                self._others.pop(name, None)
            else:
                self._others[name] = match[0]

    @property
    def is_alternate(self) -> bool:
        """Whether the alternate screen is shown, which full-screen programs draw on."""
        return any(self._modes.get(number) for number in _ALTERNATE)

    def restore(self) -> bytes:
        """Return what turns the modes that are on now on in another terminal."""
        # The alternate screen first: what follows is for that one.
        parts = [b"\x1b[?%dh" % n for n in (*_ALTERNATE, *_REST) if self._modes.get(n)]
        parts += [b"\x1b[?%dl" % n for n in _ON if self._modes.get(n) is False]
        parts += [self._others[name] for name in _FOR_KEYS if name in self._others]
        return b"".join(parts + self._pushed)

    def reset(self) -> bytes:
        """Return what undoes the modes that are still on, and forget them."""
        parts = []
        # The alternate screen first: what follows is for the screen that people see then.
        for number in _ALTERNATE:
            if self._modes.pop(number, False):
                parts.append(b"\x1b[?%dl" % number)
        parts += [b"\x1b[?%dl" % n for n in _REST if self._modes.get(n)]
        parts += [b"\x1b[?%dh" % n for n in _ON if self._modes.get(n) is False]
        parts += [_UNDO[name] for name in self._others]
        if self._pushed:
            parts.append(b"\x1b[<%du" % len(self._pushed))
        if self._colours:
            parts.append(b"\x1b[0m")
        self._modes.clear()
        self._others.clear()
        self._pushed.clear()
        self._colours = False
        self._tail = b""
        return b"".join(parts)


def where_begun(block: bytes, beginning: re.Pattern[bytes], longest: int) -> int:
    """Return where a sequence begins that the block may not hold whole, its length if none does.

    `beginning` matches any beginning of it up to the block's end; it has at most `longest` bytes.
    """
    first = max(0, len(block) - longest)
    last = block.rfind(b"\x1b", first)
    if last < 0:
        return len(block)
    before = block.rfind(b"\x1b", first, last)  # the end of a string begins with an Escape, too
    if before >= 0 and beginning.match(block, before):
        return before
    return last if beginning.match(block, last) else len(block)


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
