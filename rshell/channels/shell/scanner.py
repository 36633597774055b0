"""The pieces of a text in a shell's language: quotes, comments, heredocs, variables, the rest.

One pass over the text, no parser: what is quoted or belongs to a heredoc is told from what is not,
and whoever reads the pieces makes of them what they need (completeness.py, syntax.py). The time is
linear in the text, whatever is in it. The languages of bash, zsh and the plain shells are read
alike; fish escapes a quote within single quotes, and has no heredocs.

Hazard: a quote that is not closed makes everything behind it quoted. It is the last piece then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

BLANK = "blank"
NEWLINE = "newline"
PLAIN = "plain"  # letters that mean themselves
OTHER = "other"  # one character that may mean something
ESCAPE = "escape"  # a backslash and what it quotes; alone at the end of the text
QUOTE = "quote"
OPEN = "open"  # a quote or arithmetic without its end
ARITHMETIC = "arithmetic"
VARIABLE = "variable"
COMMENT = "comment"
HEREDOC = "heredoc"  # the operator and the name
BODY = "body"  # the lines of heredocs
WAITING = "waiting"  # empty, the last one: a heredoc has not come to its end
HERESTRING = "herestring"  # the operator

Piece = tuple[str, int, int]  # what it is, where it begins, where what follows begins

_BLANK = re.compile(r"[ \t]+")
_PLAIN = re.compile(r"[^\s'\"\\#<>$();&|`]+")
_SINGLE = re.compile(r"'[^']*'")
_FISH_SINGLE = re.compile(r"'(?:\\.|[^'\\])*'", re.DOTALL)
_ANSI = re.compile(r"\$'(?:\\.|[^'\\])*'", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9@*#?$!_-])")
_COMMENT = re.compile(r"[^\n]*")
_HEREDOC = re.compile(
    r"<<(?P<tabs>-?)[ \t]*(?P<name>(?:\\.|'[^'\n]*'|\"(?:\\.|[^\"\\\n])*\"|[^\s|&;()<>'\"\\])+)"
)
_QUOTES = re.compile(r"\\(.)|['\"]")
_PARENTHESES = re.compile(r"[()]")
# What can be passed over within what ends with the key.
_WITHIN = {
    '"': re.compile(r'[^"\\$]*'),
    ")": re.compile(r"[^\"'\\$()]*"),
    "}": re.compile(r"[^\"'\\$}]*"),
}


def scan(text: str, *, is_fish: bool = False) -> Iterator[Piece]:
    """Yield the pieces of `text` in their order; together they are all of it."""
    single = _FISH_SINGLE if is_fish else _SINGLE
    waiting: list[tuple[str, bool]] = []  # heredocs: the last line, and whether tabs may lead it
    braces_end = True  # as far as is known
    at, size = 0, len(text)
    while at < size:
        start, kind, character = at, OTHER, text[at]
        if match := _PLAIN.match(text, at) or _BLANK.match(text, at):
            kind, at = BLANK if character in " \t" else PLAIN, match.end()
        elif character == "\n":
            yield NEWLINE, at, at + 1
            start = at = at + 1
            if waiting:
                kind, at = BODY, _behind_heredocs(text, at, waiting)
            if at == start:
                continue
        elif character == "\\":
            kind, at = ESCAPE, min(at + 2, size)
        elif character == "'":
            kind, at = QUOTE, _end(single, text, at)
        elif character == '"':
            kind, at = QUOTE, _behind_nested(text, at)
        elif character == "#" and (at == 0 or text[at - 1] in " \t\n;&|("):
            kind, at = COMMENT, _end(_COMMENT, text, at)
        elif text.startswith("$'", at):
            kind, at = QUOTE, _end(_ANSI, text, at)
        elif text.startswith("$[", at):
            kind, at = ARITHMETIC, text.find("]", at) + 1
        elif text.startswith("((", at):
            kind, at = ARITHMETIC, _behind_arithmetic(text, at)
        elif text.startswith("${", at):
            end = _behind_nested(text, at) if braces_end else 0
            braces_end = bool(end)
            kind, at = (VARIABLE, end) if end else (OTHER, at + 1)
        elif match := _VARIABLE.match(text, at):
            kind, at = VARIABLE, match.end()
        elif text.startswith("<<<", at):
            kind, at = HERESTRING, at + 3
        elif not is_fish and (match := _HEREDOC.match(text, at)):
            waiting.append((_QUOTES.sub(r"\1", match["name"]), bool(match["tabs"])))
            kind, at = HEREDOC, match.end()
        else:
            at += 1
        if at == 0:
            kind, at = OPEN, size
        yield kind, start, at
    if waiting:
        yield WAITING, size, size


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return the position behind a match of `pattern` at `at`, 0 without one."""
    match = pattern.match(text, at)
    return 0 if match is None else match.end()


def _behind_arithmetic(text: str, at: int) -> int:
    """Return the position behind the parenthesis that closes the one at `at`, 0 without one."""
    depth = 0
    for match in _PARENTHESES.finditer(text, at):
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return match.end()
    return 0


def _behind_nested(text: str, at: int) -> int:
    """Return the position behind the `"..."` or `${...}` that begins at `at`, 0 without its end.

    Within double quotes stand commands (`$(...)`) with quotes of their own.
    """
    is_string = text[at] == '"'
    ends = ['"' if is_string else "}"]
    at += 1 if is_string else 2
    while ends:
        within = ends[-1]
        at = _end(_WITHIN[within], text, at)
        if at >= len(text):
            return 0
        character = text[at]
        if character == within:
            ends.pop()
        elif character == '"':
            ends.append('"')
        elif character == "\\" or text.startswith(("$(", "${"), at):
            if character == "$":
                ends.append(")" if text[at + 1] == "(" else "}")
            at += 1
        elif character == "(":
            ends.append(")")
        elif character == "'" and not (is_string and within == "}"):
            at = _end(_SINGLE, text, at) - 1
            if at < 0:
                return 0
        at += 1
    return at


def _behind_heredocs(text: str, at: int, waiting: list[tuple[str, bool]]) -> int:
    """Return the position behind the heredocs at `at`; those that end leave `waiting`."""
    while waiting and at < len(text):
        end = text.find("\n", at)
        line = text[at:] if end < 0 else text[at:end]
        at = len(text) if end < 0 else end + 1
        name, may_have_tabs = waiting[0]
        if (line.lstrip("\t") if may_have_tabs else line) == name:
            del waiting[0]
    return at
