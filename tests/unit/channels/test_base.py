"""What kinds share: what runs on a server, and answers, which are whole or an error."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from rshell.channels.base import Work, read_reply, receive_answer, receive_list
from rshell.errors import ChannelReset, RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Json, Message
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


class Thing(Message, type="thing"):
    name: str = fields.text()


class ThingsEnd(Message, type="end", label="the end of the list of things"):
    count: int = fields.integer(key="things")


ONE, TWO = Thing("a"), Thing("b")
END = ThingsEnd(2)


def answering(*messages: Json | Message) -> Callable[[Channel], Awaitable[None]]:
    """Return a server that says this whatever it is asked."""

    async def serve(channel: Channel) -> None:
        channel.accept()
        for message in messages:
            channel.send_message(message.encode() if isinstance(message, Message) else message)
        channel.close()

    return serve


@pytest.mark.parametrize("things", [[], [ONE], [ONE, TWO]])
async def test_a_list_is_what_came_before_an_end_that_fits(things: list[Thing]) -> None:
    async with memory_session(answering(*things, ThingsEnd(len(things)))) as both:
        assert await receive_list(await both.open(), Thing, ThingsEnd) == things
        assert not both.live.session.channels


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (ONE,),
        (ONE, END),
        (ONE, {"type": "end"}),
        (ONE, {"type": "end", "others": 1}),
        (ONE, {"type": "other"}, END),
        (ONE, {"name": "b"}, END),
        (ONE, {"type": "thing"}, END),
    ],
)
async def test_a_list_that_stops_short_is_an_error(messages: tuple[Json | Message, ...]) -> None:
    async with memory_session(answering(*messages)) as both:
        with pytest.raises(RemoteProtocolError, match=r"list of things|needs 'type'|needs 'name'"):
            await receive_list(await both.open(), Thing, ThingsEnd)


async def test_an_answer_is_one_message_and_none_is_an_error() -> None:
    async with memory_session(answering(ONE)) as both:
        assert await receive_answer(await both.open(), Thing) == ONE
    for messages in ((), ({"type": "other"},)):
        async with memory_session(answering(*messages)) as both:
            with pytest.raises(RemoteProtocolError, match="without an answer"):
                await receive_answer(await both.open(), Thing)


async def test_a_reply_that_makes_no_sense_resets_the_channel() -> None:
    async with memory_session(answering()) as both:
        channel = await both.open()
        with pytest.raises(RemoteProtocolError, match="name"):
            read_reply(channel, Thing)
        assert channel.is_over
        channel.reply = {"name": "a"}
        assert read_reply(channel, Thing) == ONE


async def test_a_server_that_gives_up_is_heard_and_one_that_waits_can_be_left() -> None:
    heard: list[Channel] = []

    async def serve(channel: Channel) -> None:
        channel.accept()
        heard.append(channel)
        if channel.kind == "fails":
            channel.reset("failed", "the disk has gone")
        await channel.wait_closed()

    async with memory_session(serve) as both:
        with pytest.raises(ChannelReset, match="the disk has gone"):
            await receive_answer(await both.open("fails"), Thing)
        asking = asyncio.ensure_future(receive_list(await both.open("waits"), Thing, ThingsEnd))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: heard[-1].is_over)
