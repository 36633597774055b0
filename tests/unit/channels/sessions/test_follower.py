"""A channel behind a ring: output as it has room, messages at their place, gaps that are said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rshell import ChannelReset, Limits
from rshell.channels.sessions.follower import Follower
from rshell.channels.sessions.ring import Ring
from rshell.channels.shell.messages import Moved, ShellEnding, Unread
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import ExitStatus
from tests.support.session import memory_session, until

NARROW = Limits(window=64 * 1024, window_largest=64 * 1024)
WINDOW = 64 * 1024
DONE = ShellEnding(1, ExitStatus(0), "/", 0, 0, 0.0)


@asynccontextmanager
async def followed(ring: Ring) -> AsyncIterator[tuple[Follower, Channel]]:
    """Yield a follower of a ring, and the channel at the client's end."""
    made: asyncio.Future[Follower] = asyncio.get_running_loop().create_future()

    async def serve(channel: Channel) -> None:
        channel.accept()
        follower = Follower(channel, ring, ring.end)
        channel.on_room = follower.pump
        made.set_result(follower)
        await channel.wait_closed()

    async with memory_session(serve, limits=NARROW) as session, await session.open() as channel:
        yield await made, channel


async def messages(channel: Channel) -> list[Json]:
    """Return all messages up to the channel's end."""
    found = []
    while (message := await channel.receive_message()) is not None:
        found.append(message)
    return found


async def test_messages_come_at_their_place_in_the_output() -> None:
    ring = Ring(10**6)
    ring.append(b"before")
    async with followed(ring) as (follower, channel):
        ring.append(bytes(WINDOW))
        follower.pump()
        ring.append(b"late")
        follower.pump()
        assert (follower.room, follower.position) == (0, 6 + WINDOW)
        follower.tell(DONE)
        ring.append(b"later")
        follower.tell(Moved())
        follower.tell(DONE)
        follower.finish()
        assert len(await channel.stream(1).readexactly(WINDOW)) == WINDOW
        assert await channel.stream(1).readexactly(9) == b"latelater"
        first, other, second = await messages(channel)
        assert (first["stdout"], other, second["stdout"]) == (WINDOW + 4, {"type": "moved"}, 5)
        assert channel.error is None


async def test_what_it_was_too_slow_for_is_counted_and_said() -> None:
    ring = Ring(1000)
    async with followed(ring) as (follower, channel):
        ring.append(b"a" * 1000)
        follower.pump()
        for _ in range(70):
            ring.append(b"b" * 1000)
            follower.pump()
        sent = follower.position
        assert sent == WINDOW
        ring.append(b"c" * 1000)
        follower.tell(DONE)
        follower.finish()
        whole = await channel.stream(1).read()
        skipped, done = await messages(channel)
        assert whole[sent:] == b"c" * 1000
        assert skipped == {"type": "skipped", "bytes": 71_000 - sent}
        assert done["stdout"] == len(whole) == sent + 1000


async def test_what_was_sent_and_read_is_told_in_positions_of_the_ring() -> None:
    ring = Ring(10**6)
    ring.append(b"before")
    async with followed(ring) as (follower, channel):
        assert (follower.sent, follower.consumed, follower.position) == (6, 6, 6)
        ring.append(bytes(WINDOW // 2))
        follower.pump()
        assert follower.position == 6 + WINDOW // 2
        await channel.stream(1).readexactly(WINDOW // 2)
        await until(lambda: follower.consumed > 6)
        assert follower.consumed == follower.sent == 6 + WINDOW // 2


async def test_one_that_takes_no_messages_is_cut_off() -> None:
    ring = Ring(100_000)
    async with followed(ring) as (follower, channel):
        ring.append(bytes(WINDOW))
        follower.pump()
        for _ in range(2000):
            ring.append(b"x" * 70_000)
            follower.tell(DONE)
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
        follower.pump()
        follower.tell(DONE)


async def test_one_that_takes_no_message_of_that_length_is_cut_off_alone() -> None:
    ring = Ring(1000)
    async with followed(ring) as (follower, channel):
        follower.tell(Unread("x" * 300_000))
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
