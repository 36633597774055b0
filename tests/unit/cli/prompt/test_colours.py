"""The colours of the line, in the lines of a text.

And the names of commands: when they are asked for, and what is unknown for sure.
"""

from __future__ import annotations

import asyncio
from typing import cast

from hypothesis import given
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples, fragment_list_to_text

from rshell.channels.shell.client import ShellLine
from rshell.cli.prompt import colours
from rshell.cli.prompt.colours import KnownNames, ShellLexer
from tests.support.session import until
from tests.unit.channels.shell.test_scanner import TEXTS


class SomeNames:
    """Lacks all names that begin with an x, unless they are still typed."""

    version = 0

    def lack(self, name: str, *, may_grow: bool) -> bool:
        return name.startswith("x") and not may_grow


def coloured(text: str) -> list[StyleAndTextTuples]:
    lexer = ShellLexer(cast(KnownNames, SomeNames()), is_fish=False)
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


class Shell:
    """Knows some commands. Without `answers`, it says nothing."""

    def __init__(self, *known: str) -> None:
        self.known = known
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def names(self) -> tuple[str, ...]:
        self.asked += 1
        await self.answers.wait()
        return self.known


class Names(KnownNames):
    def __init__(self, shell: Shell) -> None:
        self.is_busy = False
        self.changes = 0
        super().__init__(cast(ShellLine, shell), lambda: self.is_busy, self._note)

    def _note(self) -> None:
        self.changes += 1

    async def learn(self) -> None:
        before = self.changes
        self.want()
        await until(lambda: self.changes > before)


async def test_a_name_is_unknown_only_when_the_shell_has_just_said_so() -> None:
    shell = Shell("ls", "make")
    names = Names(shell)
    assert not names.lack("mke", may_grow=False)  # nothing is known
    assert shell.asked == 0
    await names.learn()
    assert names.lack("mke", may_grow=False) and not names.lack("make", may_grow=False)
    names.begin()  # a command ran: mke may be there now
    shell.known = ("ls", "make", "mke")
    assert not names.lack("mke", may_grow=False)
    assert not names.lack("mkee", may_grow=False)
    await until(lambda: names.changes == 2)
    assert not names.lack("mke", may_grow=False) and names.lack("mkee", may_grow=False)
    assert shell.asked == 2  # once for each prompt


async def test_what_may_become_a_command_is_not_unknown_yet() -> None:
    names = Names(Shell("echo"))
    await names.learn()
    assert not names.lack("ec", may_grow=True)
    assert names.lack("ec", may_grow=False) and names.lack("ex", may_grow=True)


async def test_a_shell_that_can_not_tell_or_does_not_answer_makes_nothing_unknown() -> None:
    names = Names(Shell())
    await names.learn()
    assert not names.lack("mke", may_grow=False)
    shell = Shell("ls")
    shell.answers.clear()
    names = Names(shell)
    names.want()
    assert not names.lack("mke", may_grow=False)
    await names.close()


async def test_the_question_is_in_no_other_one_s_way() -> None:
    shell = Shell("ls")
    names = Names(shell)
    names.is_busy = True
    names.want()
    names.is_busy = False
    shell.answers.clear()
    names.want()
    await until(lambda: shell.asked == 1)
    names.give_way()
    names.want()  # again, as nothing was learnt
    shell.answers.set()
    await until(lambda: names.changes == 1)
    assert shell.asked == 2


async def test_the_first_prompt_asks_once() -> None:
    shell = Shell("ls")
    names = Names(shell)
    for _ in range(3):
        names.begin()
        names.want_first()
        await asyncio.sleep(0)
    await until(lambda: names.changes == 1)
    assert shell.asked == 1
