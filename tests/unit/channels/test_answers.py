"""Answers that are one message or a list of them: whole, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rshell.channels.answers import receive_answer, receive_list
from rshell.errors import ChannelReset, RemoteProtocolError
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from tests.support.session import memory_session, until

ONE: Json = {"type": "thing", "name": "a"}
TWO: Json = {"type": "thing", "name": "b"}


def answering(*messages: Json) -> Callable[[Channel], Awaitable[None]]:
    """Return a server that says this whatever it is asked."""

    async def serve(channel: Channel) -> None:
        channel.accept()
        for message in messages:
            channel.send_message(message)
        channel.close()

    return serve


@pytest.mark.parametrize("things", [[], [ONE], [ONE, TWO]])
async def test_a_list_is_what_came_before_an_end_that_fits(things: list[Json]) -> None:
    async with memory_session(answering(*things, {"type": "end", "things": len(things)})) as both:
        assert await receive_list(await both.open(), "things") == things
        assert not both.live.session.channels


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (ONE,),
        (ONE, {"type": "end", "things": 2}),
        (ONE, {"type": "end"}),
        (ONE, {"type": "end", "others": 1}),
    ],
)
async def test_a_list_that_stops_short_is_an_error(messages: tuple[Json, ...]) -> None:
    async with memory_session(answering(*messages)) as both:
        with pytest.raises(RemoteProtocolError, match="list of things"):
            await receive_list(await both.open(), "things")


async def test_an_answer_is_one_message_and_none_is_an_error() -> None:
    async with memory_session(answering(ONE)) as both:
        assert await receive_answer(await both.open()) == ONE
    async with memory_session(answering()) as both:
        with pytest.raises(RemoteProtocolError, match="without an answer"):
            await receive_answer(await both.open())


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
            await receive_answer(await both.open("fails"))
        asking = asyncio.ensure_future(receive_list(await both.open("waits"), "things"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: heard[-1].is_over)
