"""What the user's own shell prints: output of commands among what its editor draws.

It is fed in pieces of any size, and all here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rshell.values import frozen

_ECHO_ENDS = b"\x1b[?2004l"
EDITOR_BEGINS = b"\x1b[?2004h"
_HOLD_LIMIT = 64 * 1024  # bytes; no prompt is as long
_MARK_LIMIT, _MARK_SEQUENCES = 4096, 8  # bytes of a mark, and so many sequences
_ECHO_LIMIT = 4 * 1024 * 1024  # bytes; an editor draws a line again and again
# What a line editor writes where there is nothing to draw.
_NOTHING = re.compile(
    rb"(?:[\r\a]|\x1b\[[0-9;]*(?:[mKJCDG]| q)|\x1b\[\?(?:1|25|2004)[hl]|\x1b[=>]|\x1b\(B"
    rb"|\x1b\][02];[^\x07\x1b]*(?:\x07|\x1b\\))*"
)
# Keys of ours that came before the editor had switched the terminal's echo off, or after that.
_KEYS_ECHO = re.compile(rb"\^\[\[777[1-3]~")
_INTERRUPT_ECHO = re.compile(rb"\^C(?:\r*\n)?")
_PIECE = re.compile(rb"\x1b(?:\[\??[0-9;]*|\][^\x07\x1b]*|\()?\Z")  # of a sequence


@frozen
class Drawing:
    """What the line editor of a kind of shell draws. All but `begins` are patterns.

    `behind` is the last of what it writes behind the end of its echo, and `between` what may stand
    before that. `mark` is what the shell draws before its report, `unfinished` that as far as it
    may have come, and `before` what may stand before the bytes with which its line editor begins.
    """

    between: bytes
    behind: bytes
    mark: bytes = b"(?!)"
    unfinished: bytes = b"(?!)"
    before: bytes = b""
    begins: bytes = EDITOR_BEGINS


def _beginnings(*atoms: bytes) -> bytes:
    """Return a pattern that matches the first of `atoms` and any number of those behind it."""
    pattern = b""
    for atom in reversed(atoms):
        pattern = atom + (b"(?:" + pattern + b")?" if pattern else b"")
    return pattern


# zsh has a mark behind output without a newline, where a command has set PROMPT_SP.
_ZSH_MARK = (
    *(re.escape(bytes([byte])) for byte in b"\x1b[1m\x1b[7m"),
    rb"[%#]",
    *(re.escape(bytes([byte])) for byte in b"\x1b[27m\x1b[1m\x1b[0m"),
    *(rb" *", rb"\r", rb" ", rb"\r"),
)
# It shows its prompt first, and begins bracketed paste then.
_ZSH_BEFORE, _ZSH_BEGINS = rb"\r\x1b\[[0-9;]*m(?:\x1b\(B|\x0f)?\x1b\[27m", b"\x1b[24m\x1b[J"
# fish begins on a fresh line: its sign is overwritten, or the line before is full.
_SIGN = "⏎".encode()
_FISH_MARK = (
    rb"(?:\x1b\[[0-9;]*m%b(?:\x1b\[[0-9;]*m|\x1b\(B)* *\r%b *\r\x1b\[K)?(?:\x1b\[\?2004h)?"
    % (_SIGN, _SIGN)
)
_FISH_UNFINISHED = _beginnings(
    *(rb"\x1b", rb"\[", rb"[0-9;]+", b"m", b"\xe2", b"\x8f", b"\x8e", rb"[\x1b\[(0-9;mB \r]*"),
    *(b"\xe2", b"\x8f", b"\x8e", rb"[ \r]*", rb"\x1b", rb"\[", b"K", rb"\x1b", rb"\[\??2?0*4?"),
)

BASH_DRAWING = Drawing(rb"(?!)", rb"\r")
# A plugin may have zsh draw the line once more, in colours.
ZSH_DRAWING = Drawing(
    rb"[^\r]+|\r\n|\r\r?(?=[^\r\n])|\r(?=\r\r)",
    rb"\r\r\n",
    b"".join(_ZSH_MARK),
    _beginnings(*_ZSH_MARK),
    _ZSH_BEFORE,
    _ZSH_BEGINS,
)
FISH_DRAWING = Drawing(
    rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[(?:30|0)?m|\x1b\(B|\x0f",
    rb"\r",
    _FISH_MARK,
    _FISH_UNFINISHED,
)


class OutputFilter:
    """Tells the output of commands from what the shell's line editor draws.

    `take` returns what is output. `is_echoing` is set while an echo is not at its end, and
    `sees_editor` by the beginning of a line editor in there. Where `may_be_prompt` says that it is
    the shell's own, `is_holding` is set instead, and what it draws is held until `show`.
    """

    def __init__(self, drawing: Drawing, may_be_prompt: Callable[[], bool] = lambda: False) -> None:
        self._between = re.compile(drawing.between, re.DOTALL)
        self._behind = re.compile(drawing.behind)
        self._begins = drawing.begins
        self._mark = re.compile(drawing.mark)
        self._unfinished = re.compile(rb"(?:%b|%b)\Z" % (drawing.unfinished, drawing.mark))
        begins = re.escape(drawing.begins)
        self._opening = re.compile(b"(?:%b)?(?:%b)?%b" % (drawing.mark, drawing.before, begins))
        self._may_be_prompt = may_be_prompt
        self.is_echoing = False
        self.sees_editor = False
        self._open = b""
        self._is_behind = self.is_holding = False
        self._is_idle = self._is_interrupted = False
        self._may_echo_interrupt = False  # behind the report of it
        self._drawn = b""  # the prompt, where the shell draws it all the same
        self._held = b""

    def begin_echo(self) -> None:
        """A line is about to be handed over."""
        self.is_echoing = True
        self._is_behind = self._is_idle = self._is_interrupted = self.is_holding = False
        self._held = b""

    def begin_idle(self, prompt: bytes) -> None:
        """The shell is about to show its prompt, which is known to be `prompt`."""
        self._may_echo_interrupt = self._is_interrupted
        self.is_echoing = self._is_behind = self._is_interrupted = self.is_holding = False
        self._is_idle = True
        self._drawn = prompt.translate(None, b"\1\2").replace(b"\n", b"\r\n")
        self._held = b""

    def begin_interrupt(self) -> None:
        """The editor is interrupted at a question, and says so."""
        self._is_idle = self._is_interrupted = True

    def take(self, data: bytes) -> bytes:
        """Return what of `data` is output."""
        if self._is_interrupted:
            return b""
        if self.is_echoing:
            return self._take_echo(data)
        if self._is_behind:
            return self._take_behind(data)
        if self._is_idle:
            return self._take_idle(data)
        if self.is_holding:
            self._held += data
            return b"" if len(self._held) < _HOLD_LIMIT else self.show()
        data = self._open + data
        kept = len(self._begins) - 1
        if self._begins in data or self._begins in self._held + data[:kept]:
            self.sees_editor = not self._may_be_prompt()
            if not self.sees_editor:
                self.is_holding = True
                found = self._opening.search(data)
                at = 0 if found is None else found.start()
                self._held, self._open = data[at:], b""
                return data[:at]
        self._open = b""
        at = self._find_mark(data)
        if at < len(data):
            data, self._open = data[:at], data[at:]
        self._held = (self._held + data[-kept:])[-kept:]
        return data

    def _find_mark(self, data: bytes) -> int:
        """Return where, at the end of `data`, what may be the mark begins."""
        at = start = len(data)
        for _ in range(_MARK_SEQUENCES):
            start = data.rfind(b"\x1b", max(len(data) - _MARK_LIMIT, 0), start)
            if start < 0:
                break
            if self._unfinished.match(data, start):
                at = start
        return at

    def show(self) -> bytes:
        """Return what was held, which is output after all."""
        if not self.is_holding:
            return b""
        self.is_holding = False
        held, self._held = self._held, b""
        return _KEYS_ECHO.sub(b"", held)

    def finish(self) -> bytes:
        """All has been read: return what was held back and is output after all."""
        held, self._held = self._held, b""
        if self.is_holding:
            self.is_holding = False
            found = self._opening.match(held)  # a report has come after all
            return _KEYS_ECHO.sub(b"", held if found is None else held[found.end() :])
        opened, self._open = self._open, b""
        if opened:
            return b"" if self._mark.fullmatch(opened) else opened
        if self.is_echoing:
            # It never ended, as in an editor without bracketed paste. It fills the first line.
            self.is_echoing = False
            return held.partition(b"\n")[2]
        was_behind, self._is_behind = self._is_behind, False
        return held if was_behind else b""

    def _take_echo(self, data: bytes) -> bytes:
        self._held += data
        _, mark, rest = self._held.partition(_ECHO_ENDS)
        if not mark:
            if len(self._held) > _ECHO_LIMIT:
                self._held = self._held[-len(_ECHO_ENDS) :]
            return b""
        self.is_echoing, self._is_behind = False, True
        self._held = b""
        return self._take_behind(rest)

    def _take_behind(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b""
        while data:
            if found := self._behind.match(data):
                self._is_behind = False
                return self.take(data[found.end() :]) if found.end() < len(data) else b""
            if found := self._between.match(data):
                data = data[found.end() :]
            elif _PIECE.match(data) or data in (b"\r", b"\r\r"):
                self._held = data
                return b""
            else:
                self._is_behind = False
                return self.take(data)
        return b""

    def _take_idle(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b""
        if piece := _PIECE.search(data[-256:]):
            cut = len(data) - len(piece[0])
            data, self._held = data[:cut], data[cut:]
        cut = self._find_mark(data)
        data, self._held = data[:cut], data[cut:] + self._held
        data = self._opening.sub(b"", data)
        data = data.replace(EDITOR_BEGINS, b"").replace(_ECHO_ENDS, b"")
        data = _KEYS_ECHO.sub(b"", data)
        if self._may_echo_interrupt and (echo := _INTERRUPT_ECHO.search(data)):
            self._may_echo_interrupt = False
            data = data[: echo.start()] + data[echo.end() :]
        if self._drawn and self._drawn in data:
            before, _, after = data.partition(self._drawn)
            data = before + after
        if _NOTHING.fullmatch(data):
            return b""
        said, newline, drawn = data.rpartition(b"\n")
        return said + newline if newline and _NOTHING.fullmatch(drawn) else data
