"""What terminals are asked by programs, and what they answer. Pure.

A program asks its terminal by an escape sequence in its output (what are you? which colour is the
background? where is the cursor?), and the terminal answers with another one, as if it were typed.
A program that has ended reads no answer. It would be typed at the prompt that comes next, and its
middle part is often text that a shell can run: `Answers` takes answers out of what is typed there.
Questions in output that is shown again were answered long ago: `Questions` takes them out, so that
nobody answers a second time.

Reports of the cursor (`ESC [ 4 ; 1 R`) stay: the line editor asks for them, and knows what to do
with those that it did not ask for.

Hazard: an answer comes in pieces, and each of its beginnings is a key, too (Escape, Alt-[). What
may become an answer is kept back until the next piece or until `rest` says that none follows, as
every reader of a terminal does with Escape alone. What can't be a key any more is never given out.
"""

from __future__ import annotations

import re

from rshell.terminal.output import where_begun

_ENDED = r"[^\x07\x1b]*(?:\x07|\x1b\\)"
_STARTED = r"[^\x07\x1b]*\x1b?"

_ANSWER = re.compile(
    r"\x1b(?:"
    r"\[[?>=][0-9;:]*[ -/]*[@-~]"  # what it is, its modes, its keyboard, its colour scheme
    r"|\[[0-9;]*\$y"  # a mode
    r"|\[[0-9]*n"  # that it is well
    r"|\[[0-9;]+[tx]"  # its window, its line
    r"|\[[IO]"  # that its window has the focus, or not
    rf"|\](?:[0-9]+;|[lL]){_ENDED}"  # colours, the clipboard, titles
    rf"|P(?:[01][$+]r|>\||!\|){_ENDED}"  # settings, its version, its unit
    rf"|_G{_ENDED}"  # pictures
    r")"
)
# The end of what was read, if more of an answer may follow.
_UNFINISHED = re.compile(
    r"\x1b(?:"
    r"\[(?:[?>=][0-9;:]*[ -/]*|[0-9;]*\$?)"
    rf"|\](?:[0-9]*|[0-9]+;{_STARTED}|[lL]{_STARTED})"
    rf"|P(?:[01]?[$+]?|>|!|(?:[01][$+]r|>\||!\|){_STARTED})"
    rf"|_(?:G{_STARTED})?"
    r")?\Z"
)
_CERTAIN = re.compile(r"\x1b(?:\[[?>=]|\][0-9]+;|P(?:[01][$+]r|>\||!\|)|_G)")
_KEPT = 16 * 1024  # characters of an answer without an end

_QUESTION = re.compile(
    rb"\x05"  # the oldest of them
    rb"|\x1b(?:Z|\[(?:"
    rb"[>=?]?\d*c"
    rb"|\??\d+n"
    rb"|\??\d+\$p"
    rb"|>\d*q"
    rb"|\?u"
    rb"|\?[\d;]*S"
    rb"|[01]?x"
    rb"|(?:1[1-9]|2[01])(?:;\d*)*t"
    rb")"
    rb"|\]\d+;(?:[^\x07\x1b]*;)?\?(?:\x07|\x1b\\)"
    rb"|P[$+]q[^\x07\x1b]*(?:\x07|\x1b\\)"
    rb"|_G(?=[^\x07\x1b;]{0,200}a=q)[^\x07\x1b]*\x1b\\"
    rb")"
)
_BEGUN = re.compile(
    rb"\x1b(?:\[[?>=]?[\d;]*\$?|\]\d*(?:;[^\x07\x1b]*\x1b?)?|P(?:[$+](?:q[^\x07\x1b]*\x1b?)?)?"
    rb"|_(?:G[^\x07\x1b]*\x1b?)?)?\Z"
)
_LONGEST = 4096  # bytes of a question; what is longer is shown


class Answers:
    """Takes a terminal's answers out of what is typed, piece by piece."""

    def __init__(self) -> None:
        self._kept = ""

    def take(self, typed: str) -> str:
        """Return what of `typed`, and of what was kept back, are keys."""
        if not self._kept and "\x1b" not in typed:
            return typed
        typed = _ANSWER.sub("", self._kept + typed)
        unfinished = _UNFINISHED.search(typed)
        self._kept = typed[unfinished.start() :] if unfinished else ""
        typed = typed[: len(typed) - len(self._kept)]
        if len(self._kept) > _KEPT:
            begun = _CERTAIN.match(self._kept)
            self._kept = begun[0] if begun else ""
        return typed

    def rest(self) -> str:
        """Return what is kept back, since nothing more follows; an answer cut short is dropped."""
        kept, self._kept = self._kept, ""
        return "" if _CERTAIN.match(kept) else kept


class Questions:
    """Takes questions out of output, which comes in blocks cut anywhere."""

    def __init__(self) -> None:
        self._kept = b""

    def take(self, block: bytes) -> bytes:
        """Return the output without questions; the beginning of one waits for the next block."""
        if not self._kept and b"\x1b" not in block and b"\x05" not in block:
            return block
        block = _QUESTION.sub(b"", self._kept + block)
        end = where_begun(block, _BEGUN, _LONGEST)
        self._kept = block[end:]
        return block[:end]

    def rest(self) -> bytes:
        """Return what waits: no more output follows that is looked through."""
        kept, self._kept = self._kept, b""
        return kept
