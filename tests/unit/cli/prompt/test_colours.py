"""The colours of the line, in the lines of a text."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples, fragment_list_to_text

from rshell.cli.prompt import colours
from rshell.cli.prompt.colours import ShellLexer
from rshell.cli.prompt.names import KnownNames
from tests.unit.channels.shell.test_scanner import TEXTS


class Names:
    """Lacks all names that begin with an x, unless they are still typed."""

    version = 0

    def lack(self, name: str, *, may_grow: bool) -> bool:
        return name.startswith("x") and not may_grow


def coloured(text: str) -> list[StyleAndTextTuples]:
    lexer = ShellLexer(cast(KnownNames, Names()), is_fish=False)
    document = Document(text)
    line = lexer.lex_document(document)
    assert line(len(document.lines)) == []
    return [line(number) for number in range(len(document.lines))]


def test_an_unknown_command_is_told_and_one_that_is_typed_is_not() -> None:
    assert [fragment for fragment in coloured("ls; xs -l\nxy")[0] if fragment[1]] == [
        ("class:command", "ls"),
        ("class:operator", ";"),
        ("", " "),
        ("class:unknown", "xs"),
        ("", " "),
        ("class:option", "-l"),
    ]
    assert ("class:command", "xy") in coloured("ls\nxy")[1]


@given(TEXTS)
def test_the_text_is_what_it_was(text: str) -> None:
    assert [fragment_list_to_text(line) for line in coloured(text)] == text.split("\n")


def test_a_long_text_has_no_colours() -> None:
    text = "ls 'a'\n" * 2000
    assert len(text) > colours._LONGEST
    assert coloured(text)[7] == [("", "ls 'a'")]
