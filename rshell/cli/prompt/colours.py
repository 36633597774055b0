"""The colours of the prompt and of what is typed, and which commands there are.

Colours help to see what the shell will see. A text of more than some thousand characters, a paste
as a rule, has none: it would be read anew at each key.

A name that is no command's is coloured as such. The names are asked for once the first prompt is
there, and anew, at most once for each prompt, where a name is not among them: a command may have
brought it about. Until the answer is there, nothing is called unknown. While a name is typed it is
unknown only when it can't become one that is known.

Hazard: a later question makes an earlier one stale, at the server. So names are not asked for while
the shell works on candidates or on whether a line is whole, and give way to such a question.

Hazard: a server that has never heard of the question does not answer. One that can't tell them all
answers with none, and then nothing is unknown either.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Hashable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import BaseStyle, Style

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.syntax import COMMAND, highlight
from rshell.errors import RshellError

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


# The commands that there are.

_DEADLINE = 10.0  # seconds; a shell may take some to look through a PATH on a network


class KnownNames:
    """What the remote shell knows. `on_change` is called when that is news.

    `is_busy` says whether the shell works on another question.
    """

    def __init__(
        self, line: ShellLine, is_busy: Callable[[], bool], on_change: Callable[[], None]
    ) -> None:
        self._line = line
        self._is_busy = is_busy
        self._on_change = on_change
        self._names: list[str] = []  # sorted
        self._has_asked = False
        self._is_asked = False  # at this prompt
        self._is_sure = False  # that what is missing is missing now
        self._task: asyncio.Task[None] | None = None
        self.version = 0  # how often it was news

    def begin(self) -> None:
        """A prompt begins: a command may have changed everything."""
        self._is_asked = self._is_sure = False
        self.version += 1

    def want(self) -> None:
        """Ask for the names, unless that was done at this prompt or would be in the way."""
        if self._is_asked or self._is_busy():
            return
        self._is_asked = True
        self._task = asyncio.create_task(self._ask())

    def want_first(self) -> None:
        """Ask for the names if they were never asked for."""
        if not self._has_asked:
            self._has_asked = True
            self.want()

    def give_way(self) -> None:
        """Stop waiting, as the shell is asked something else; there is another time."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._is_asked = False

    async def close(self) -> None:
        """Stop what is under way."""
        self.give_way()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def lack(self, name: str, *, may_grow: bool) -> bool:
        """Whether there is no such command for sure; `may_grow` says that it is being typed."""
        at = bisect_left(self._names, name)
        found = self._names[at : at + 1]
        if not self._names or found == [name] or (may_grow and found and found[0].startswith(name)):
            return False
        if not self._is_sure:
            self.want()
        return self._is_sure

    async def _ask(self) -> None:
        try:
            async with timeout(_DEADLINE):
                names = await self._line.names()
        except (TimeoutError, RshellError):
            return
        self._names = sorted(set(names))
        self._is_sure = True
        self.version += 1
        self._on_change()
