"""Where the cursor stands in a line of shell text. Pure, and no shell's parser.

Strategy: enough of the quoting rules to know the words of the present command and the one that
is being typed, what it means without its quotes, and how to write a candidate in its place.
A line that this misreads gets no candidates or odd ones; it is never run from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BREAKS = "|&;()\n"
_REDIRECTIONS = "<>"
_PARTS = ":="
_NEEDS_QUOTE = re.compile(r"[^A-Za-z0-9_@%+=:,./~^-]")
_SKIPPED = {"sudo", "nohup", "time", "exec", "command", "then", "do", "else", "if", "while", "!"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True, slots=True)
class CursorWord:
    """The command at the cursor: `words` without quotes up to it, the last one at the cursor.

    `start` is where that word begins in the line, its quote included; `quote` is the quote that
    is still open there, or "". `has_home` says that the word begins with a `~` that the shell
    replaces, which a name that is called so has to be told from. `rest` is what follows the last
    bare `:` or `=` in the word, which is a word of its own to many completions (`HEAD:ma`,
    `--color=al`), and `rest_start` is where it begins; without one they are those of the word.
    """

    words: tuple[str, ...]
    start: int
    quote: str
    has_home: bool
    rest: str
    rest_start: int

    @property
    def index(self) -> int:
        """The number of the word at the cursor; 0 is the command itself."""
        return len(self.words) - 1


def find_word(line: str) -> CursorWord:
    """Read `line`, all of it before the cursor."""
    words: list[str] = []
    current: list[str] = []
    start = 0
    inside = False
    quote = ""
    rest_from = rest_start = 0
    at = 0
    while at < len(line):
        character = line[at]
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"' and line[at + 1 : at + 2] in ('"', "\\", "$"):
                at += 1
                current.append(line[at])
            else:
                current.append(character)
        elif character in "'\"":
            quote = character
            start, inside = (start, True) if inside else (at, True)
        elif character == "\\" and at + 1 < len(line):
            start, inside = (start, True) if inside else (at, True)
            at += 1
            current.append(line[at])
        elif character in _BREAKS or character in _REDIRECTIONS or character in " \t":
            if inside:
                words.append("".join(current))
            if character in _BREAKS:
                words = []
            elif character in _REDIRECTIONS:
                words.append(">")
            current, inside = [], False
            rest_from = 0
        else:
            start, inside = (start, True) if inside else (at, True)
            current.append(character)
            if character in _PARTS:
                rest_from, rest_start = len(current), at + 1
        at += 1
    if not inside:
        start = len(line)
    words.append("".join(current))
    while len(words) > 1 and (words[0] in _SKIPPED or _ASSIGNMENT.match(words[0])):
        del words[0]
    has_home = line.startswith("~", start)
    rest = "".join(current[rest_from:])
    return CursorWord(
        tuple(words), start, quote, has_home, rest, rest_start if rest_from else start
    )


def quote_candidate(text: str, quote: str, *, has_home: bool = False) -> str:
    """Write `text` as the shell would have to read it, keeping an open quote open.

    With `has_home` a leading `~` is the home directory's, else a name's like any other letter.
    """
    if quote == "'":
        return "'" + text.replace("'", "'\\''")
    if quote == '"':
        return '"' + re.sub(r'(["\\$`])', r"\\\1", text)
    if text.startswith("~") and not has_home:
        return "\\" + quote_candidate(text, quote, has_home=True)
    return _NEEDS_QUOTE.sub(lambda match: "\\" + match[0] if match[0] != "\n" else "$'\\n'", text)
