"""The names of commands: when they are asked for, and what is unknown for sure."""

from __future__ import annotations

import asyncio
from typing import cast

from rshell.channels.shell.client import ShellLine
from rshell.cli.prompt.names import KnownNames
from tests.support.session import until


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
