"""Answers that are one message or a list of them: whole, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rshell.channels.answers import read_reply, receive_answer, receive_list
from rshell.errors import ChannelReset, RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Json, Message
from rshell.transport.channel import Channel
from tests.support.session import memory_session, until


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
