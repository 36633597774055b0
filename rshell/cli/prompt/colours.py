"""The colours of the prompt and of what is typed.

Colours help to see what the shell will see. A text of more than some thousand characters, a paste
as a rule, has none: it would be read anew at each key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import BaseStyle, Style

from rshell.channels.shell.syntax import COMMAND, highlight
from rshell.cli.prompt.names import KnownNames

_LONGEST = 10_000  # characters, which take 20 ms at each key on a slow machine

_STYLE = Style.from_dict(
    {
        "who": "ansigreen",
        "cwd": "ansiblue bold",
        "sign": "",
        "failed": "ansired bold",
        "continuation": "ansibrightblack",
        "waiting": "ansibrightblack",
        "quote": "ansiyellow",
        "comment": "ansibrightblack",
        "variable": "ansicyan",
        "operator": "ansimagenta",
        "keyword": "ansimagenta bold",
        "option": "ansiblue",
        "unknown": "ansired",
    }
)

# What is not typed must look otherwise all the same.
_WITHOUT_COLOURS = Style.from_dict(
    {
        "cwd": "bold",
        "failed": "bold",
        "continuation": "dim",
        "waiting": "dim",
        "auto-suggestion": "dim",
    }
)


def style(*, has_colours: bool) -> BaseStyle:
    """Return the style of the prompt."""
    return _STYLE if has_colours else _WITHOUT_COLOURS


class ShellLexer(Lexer):
    """Colours a text of the shell's language. `names` are the commands that there are."""

    def __init__(self, names: KnownNames, *, is_fish: bool) -> None:
        self._names = names
        self._is_fish = is_fish

    def invalidation_hash(self) -> Hashable:
        """Change with what is known of names, as the same text then looks otherwise."""
        return self._names.version

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return what gives a line by its number, in pieces with their styles."""
        lines = document.lines
        if len(document.text) > _LONGEST:
            return lambda number: [("", lines[number])] if number < len(lines) else []
        coloured = self._colour(document.text)
        return lambda number: coloured[number] if number < len(coloured) else []

    def _colour(self, text: str) -> list[StyleAndTextTuples]:
        lines: list[StyleAndTextTuples] = [[]]
        behind = 0
        for start, end, kind in [*highlight(text, is_fish=self._is_fish), (len(text),) * 2 + ("",)]:
            if kind == COMMAND:
                name = text[start:end]
                is_unknown = self._names.lack(name, may_grow=end == len(text))
                kind = "unknown" if is_unknown else kind
            _append(lines, "", text[behind:start])
            _append(lines, f"class:{kind}", text[start:end])
            behind = end
        return lines


def _append(lines: list[StyleAndTextTuples], of: str, text: str) -> None:
    """Add a piece of text, which may be of many lines."""
    first, *rest = text.split("\n")
    lines[-1].append((of, first))
    lines += [[(of, line)] for line in rest]
