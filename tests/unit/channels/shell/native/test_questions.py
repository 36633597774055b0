"""Questions come one at a time, and the next one waits for a moment for one that is forgotten."""

from __future__ import annotations

import asyncio

from rshell.channels.shell.native.machine import Event, ShellMachine
from rshell.channels.shell.native.questions import Questions


class Shell:
    """A shell at its prompt, whose machine hears of every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.machine = ShellMachine()
        for event in (Event.REPORT, Event.TAKEN):
            self.machine.on(event)
        self.questions = Questions(self.machine, self.hear)

    def hear(self, event: Event) -> None:
        self.events.append(event)
        self.machine.on(event)
        if event is Event.TIMEOUT:
            self.questions.give_up()


async def asking(shell: Shell, number: int) -> asyncio.Task[list[str] | None]:
    task = asyncio.create_task(shell.questions.ask("complete", number, "ls "))
    await asyncio.sleep(0)
    return task


async def test_an_answer_is_that_of_its_question() -> None:
    shell = Shell()
    task = await asking(shell, 3)
    shell.questions.take(["2", "other"])
    shell.questions.take(["3", "this"])
    assert await task == ["this"]
    assert shell.events == [Event.QUESTION, Event.ANSWER]


async def test_the_next_question_waits_for_one_that_nobody_waits_for() -> None:
    shell = Shell()
    (await asking(shell, 1)).cancel()
    await asyncio.sleep(0)
    task = await asking(shell, 2)
    assert shell.events == [Event.QUESTION, Event.STALE]
    shell.questions.take(["1", "late"])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    shell.questions.take(["2", "this"])
    assert await task == ["this"]


async def test_a_shell_that_is_not_idle_is_asked_nothing() -> None:
    shell = Shell()
    shell.machine.on(Event.LINE)
    assert await shell.questions.ask("names", 1, "") is None
    assert not shell.events
