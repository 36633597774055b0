"""Modes that a program turned on in a terminal and left on. Pure.

Strategy: output is looked through for the few sequences that change how a terminal behaves
afterwards: private modes (mouse, alternate screen, bracketed paste, a hidden cursor), the
keypad and colours. What is on when the program has ended is turned off again.

Hazard: output comes in blocks cut anywhere. The tail of a block that may be the beginning of a
sequence is looked at again with the next; everything is searched with one pass of a compiled
expression, and a block without an escape costs one scan for that byte.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(rb"\x1b(?:\[\?([\d;]{1,40})([hl])|([=>])|\[(?:!p)|(c))")
_TAIL = 48  # longer than any sequence of interest

# Private modes that are worth undoing, and how they are without a program.
_OFF = (47, 1047, 1049, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 1, 5, 2026)
_ON = (25, 7)
_ALTERNATE = (1049, 1047, 47)
_KNOWN = frozenset((*_OFF, *_ON))
_REST = tuple(number for number in _OFF if number not in _ALTERNATE)


class ModeTracker:
    """Follows one program's output. `mid_line` says that it ended without a newline."""

    def __init__(self) -> None:
        self._modes: dict[int, bool] = {}
        self._keypad = False
        self._colours = False
        self._tail = b""
        self.mid_line = False

    def feed(self, block: bytes) -> None:
        """Look through the next block of output."""
        if not block:
            return
        self.mid_line = not block.endswith(b"\n")
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

    def _note(self, match: re.Match[bytes]) -> None:
        if match[1] is not None:
            for number in match[1].split(b";"):
                if number and int(number) in _KNOWN:
                    self._modes[int(number)] = match[2] == b"h"
        elif match[3] is not None:
            self._keypad = match[3] == b"="
        else:  # a full or soft reset
            self._modes.clear()
            self._keypad = False

    def restore(self) -> bytes:
        """Return what turns the modes that are on now on in another terminal."""
        # The alternate screen first: what follows is for that one.
        parts = [b"\x1b[?%dh" % n for n in (*_ALTERNATE, *_REST) if self._modes.get(n)]
        parts += [b"\x1b[?%dl" % n for n in _ON if self._modes.get(n) is False]
        if self._keypad:
            parts.append(b"\x1b=")
        return b"".join(parts)

    def reset(self) -> bytes:
        """Return what undoes the modes that are still on, and forget them."""
        parts = []
        # The alternate screen first: what follows is for the screen that people see then.
        for number in _ALTERNATE:
            if self._modes.pop(number, False):
                parts.append(b"\x1b[?%dl" % number)
        parts += [b"\x1b[?%dl" % n for n in _REST if self._modes.get(n)]
        parts += [b"\x1b[?%dh" % n for n in _ON if self._modes.get(n) is False]
        if self._keypad:
            parts.append(b"\x1b>")
        if self._colours:
            parts.append(b"\x1b[0m")
        self._modes.clear()
        self._keypad = self._colours = False
        self._tail = b""
        return b"".join(parts)
