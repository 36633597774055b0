"""Records are told from whatever else a command writes to the pipe, however it comes cut.

Questions come one at a time, and the next one waits for a moment for one that is forgotten.
"""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.native.hooks import Questions, RecordReader
from rshell.channels.shell.native.machine import Event, ShellMachine


@given(st.lists(st.lists(st.text("ab\n é"), max_size=3), max_size=4))
def test_records_are_read_at_every_cut_with_anything_between(records: list[list[str]]) -> None:
    data = b"noise of a command\0" + b"".join(
        b"\0".join([b"S", b"%d" % len(fields), *(text.encode() for text in fields), b""])
        for fields in records
    )
    step = 1 + len(data) // 40
    for at in range(0, len(data) + 1, step):
        reader = RecordReader()
        found = reader.feed(data[:at]) + reader.feed(data[at:])
        assert found == [["S", *fields] for fields in records], at


def test_a_record_that_never_ends_is_not_kept_whole() -> None:
    reader = RecordReader()
    for _ in range(8):
        assert reader.feed(b"x" * (1 << 20)) == []
    assert len(reader._rest) <= 1 << 20
    assert reader.feed(b"\0S\0" + b"1\0yes\0") == [["S", "yes"]]


def test_no_record_is_kept_that_would_never_end() -> None:
    reader = RecordReader()
    assert not reader.feed(b"S\0" + b"9" * 5000 + b"\0")
    assert not reader.feed(b"S\x00999999\0")
    for _ in range(20):
        assert not reader.feed(b"x" * (1 << 20) + b"\0")
    assert reader.feed(b"S\x001\0yes\0") == [["S", "yes"]]


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
