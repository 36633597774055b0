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
_NEEDS_QUOTE = re.compile(r"[^A-Za-z0-9_@%+=:,./~^-]")
_SKIPPED = {"sudo", "nohup", "time", "exec", "command", "then", "do", "else", "if", "while", "!"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True, slots=True)
class CursorWord:
    """The command at the cursor: `words` without quotes up to it, the last one at the cursor.

    `start` is where that word begins in the line, its quote included; `quote` is the quote that
    is still open there, or "".
    """

    words: tuple[str, ...]
    start: int
    quote: str

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
        else:
            start, inside = (start, True) if inside else (at, True)
            current.append(character)
        at += 1
    if not inside:
        start = len(line)
    words.append("".join(current))
    while len(words) > 1 and (words[0] in _SKIPPED or _ASSIGNMENT.match(words[0])):
        del words[0]
    return CursorWord(tuple(words), start, quote)


def quote_candidate(text: str, quote: str) -> str:
    """Write `text` as the shell would have to read it, keeping an open quote open."""
    if quote == "'":
        return "'" + text.replace("'", "'\\''")
    if quote == '"':
        return '"' + re.sub(r'(["\\$`])', r"\\\1", text)
    return _NEEDS_QUOTE.sub(lambda match: "\\" + match[0] if match[0] != "\n" else "$'\\n'", text)


def may_be_incomplete(text: str) -> bool:
    """Whether it is worth asking the shell if `text` wants more lines. Cheap and generous."""
    return wants_more_text(text) or bool(
        re.search(r"['\"`({]|<<|\b(?:if|for|while|until|case|select|do|then)\b|[|&]\s*$", text)
    )


def wants_more_text(text: str) -> bool:
    """Whether the text says by itself that more follows, which not every shell would tell.

    A last backslash, an open heredoc, a `for` whose list may be all that is there.
    """
    lines = text.split("\n")
    if (len(lines[-1]) - len(lines[-1].rstrip("\\"))) % 2 == 1:
        return True
    waiting: list[str] = []
    for line in lines:
        if waiting:
            if line.strip("\t") == waiting[0]:
                del waiting[0]
            continue
        bare = _QUOTED.sub(lambda match: match["heredoc"] or "_", line)
        waiting += [match["name"] for match in _HEREDOC.finditer(bare)]
    return bool(waiting or _FOR.search(bare))


# What is quoted, a comment or arithmetic holds no heredoc; its own name may be quoted.
_HEREDOC = re.compile(r"(?<!<)<<-?\s*(?:['\"]|\\)?(?P<name>[A-Za-z_]\w*)")
_QUOTED = re.compile(
    r"(?P<heredoc><<-?\s*(?:'\w+'|\"\w+\"))|'[^']*'?|\"(?:\\.|[^\"\\])*\"?"
    r"|\(\(.*?(?:\)\)|$)|(?:^|(?<=\s))#.*"
)
_FOR = re.compile(r"(?:^|[;&|(]|\b(?:do|then|else)\b)\s*for\s+\w+(?:\s+in\b[^;&|()]*)?$")
_WANTS_MORE = re.compile(
    r"unexpected end of file|unexpected EOF|delimited by end-of-file|end of file unexpected"
    r"|Unterminated quoted string|unterminated quoted string|EOF in backquote"
    r"|Missing '\)\)'|unmatched ['\"`]|parse error near `\\n'|here-document"
)


def says_incomplete(complaint: str) -> bool:
    """Whether what a shell said of a text (`sh -n`) means that it ended too early."""
    return bool(_WANTS_MORE.search(complaint))
