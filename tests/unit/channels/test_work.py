"""What runs on a server: counted while it runs, told what there is to tell, forgotten after."""

from __future__ import annotations

import itertools

from rshell.channels.work import Work
from rshell.transport.channel import Channel
from tests.support.session import memory_session, until


def test_work_is_what_has_begun_and_not_ended() -> None:
    work = Work()
    assert work.is_idle and work.commands == 0 and work.sessions() == set()
    command, job = work.begin("a"), work.begin()
    with work.begin("b", is_command=False):
        assert work.commands == 2 and work.sessions() == {"a", "b", ""}
    assert work.sessions() == {"a", ""}
    for _ in range(2):
        command.end()
    assert not work.is_idle and work.commands == 1
    job.end()
    assert work.is_idle


def test_a_block_that_fails_ends_its_task_too() -> None:
    work = Work()
    try:
        with work.begin("a"):
            raise KeyError("a bug")
    except KeyError:
        pass
    assert work.is_idle


async def test_a_notice_reaches_what_runs_and_what_begins_or_opens_later() -> None:
    work = Work()
    numbers = itertools.count()
    served: list[Channel] = []

    async def serve(channel: Channel) -> None:
        served.append(channel)
        if channel.kind == "open":
            channel.accept()
        await channel.wait_closed()

    async with memory_session(serve) as session:
        early = await session.open("open")
        late = await session.open("open")
        unanswered = session.live.open_channel("waits", {})
        await until(lambda: len(served) == 3)
        tasks = [work.begin("a", served[0]), work.begin("a", served[2]), work.begin()]
        work.notify(lambda: f"number {next(numbers)}")
        assert await early.receive_message() == {"type": "notice", "text": "number 0"}
        work.begin("a", served[1])
        seen = await late.receive_message()
        assert seen is not None and seen["type"] == "notice" and seen["text"] != "number 0"
        served[2].accept()
        tasks[1].tell()  # the first one was lost: the channel was not open
        await unanswered.wait_opened()
        assert (await unanswered.receive_message() or {})["type"] == "notice"
        for channel in (early, late, unanswered):
            channel.close()


async def test_what_has_ended_is_told_nothing() -> None:
    work = Work()

    async def serve(channel: Channel) -> None:
        channel.accept()
        work.begin("a", channel).end()
        work.notify(lambda: "text")
        channel.close()

    async with memory_session(serve) as session:
        channel = await session.open()
        assert await channel.receive_message() is None
