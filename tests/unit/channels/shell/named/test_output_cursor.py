"""The newest output of a named shell: kept by position, and sent with messages at their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from rshell import ChannelReset
from rshell.channels.shell.messages import Moved, ShellEnding, Unread
from rshell.channels.shell.named.output_cursor import OutputCursor, OutputRing
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds, ExitStatus
from tests.support.session import memory_session, until

PIECES = st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 9000).map(bytes)), max_size=40)


def read_all(ring: OutputRing, position: int, size: int) -> bytes:
    found = bytearray()
    while block := ring.read(position + len(found), size):
        assert len(block) <= size
        found += block
    return bytes(found)


@given(PIECES, st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 5000))
def test_the_newest_bytes_are_kept_at_their_positions(
    pieces: list[bytes], limit: int, back: int, size: int
) -> None:
    ring = OutputRing(limit)
    whole = b""
    for number, piece in enumerate(pieces):
        piece = bytes([number]) * len(piece)
        ring.append(piece)
        whole += piece
        assert ring.end == len(whole)
        assert ring.start == max(0, len(whole) - limit)
    position = max(ring.start, ring.end - back)
    assert read_all(ring, ring.start, size) == whole[ring.start :]
    assert read_all(ring, position, size) == whole[position:]
    assert ring.read(ring.end, size) == b""


def test_a_position_stays_good_while_output_comes() -> None:
    ring = OutputRing(100)
    ring.append(b"abc")
    assert ring.read(1, 10) == b"bc"
    ring.append(b"def")
    assert ring.read(3, 10) == b"def"
    ring.append(bytes(200))
    assert (ring.start, ring.end) == (106, 206)
    assert ring.read(106, 200) == bytes(100)


def test_a_large_block_is_handed_on_as_it_is() -> None:
    """Without a copy: what is sent is kept until it is acknowledged."""
    ring = OutputRing(10**6)
    block = bytes(100_000)
    ring.append(b"before")
    ring.append(block)
    assert ring.read(6, 200_000) is block


def test_keystrokes_do_not_become_a_million_blocks() -> None:
    ring = OutputRing(10**6)
    for _ in range(10_000):
        ring.append(b"x")
    assert len(ring._blocks) < 5


NARROW = Bounds(window=64 * 1024, window_largest=64 * 1024)
WINDOW = 64 * 1024
DONE = ShellEnding(1, ExitStatus(0), "/", 0, 0, 0.0)


@asynccontextmanager
async def followed(ring: OutputRing) -> AsyncIterator[tuple[OutputCursor, Channel]]:
    """Yield a cursor in a ring, and the channel at the client's end."""
    made: asyncio.Future[OutputCursor] = asyncio.get_running_loop().create_future()

    async def serve(channel: Channel) -> None:
        channel.accept()
        cursor = OutputCursor(channel, ring, ring.end)
        channel.on_room = cursor.pump
        made.set_result(cursor)
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
    ring = OutputRing(10**6)
    ring.append(b"before")
    async with followed(ring) as (cursor, channel):
        ring.append(bytes(WINDOW))
        cursor.pump()
        ring.append(b"late")
        cursor.pump()
        assert (cursor.room, cursor.position) == (0, 6 + WINDOW)
        cursor.tell(DONE)
        ring.append(b"later")
        cursor.tell(Moved())
        cursor.tell(DONE)
        cursor.finish()
        assert len(await channel.stream(1).readexactly(WINDOW)) == WINDOW
        assert await channel.stream(1).readexactly(9) == b"latelater"
        first, other, second = await messages(channel)
        assert (first["stdout"], other, second["stdout"]) == (WINDOW + 4, {"type": "moved"}, 5)
        assert channel.error is None


async def test_what_it_was_too_slow_for_is_counted_and_said() -> None:
    ring = OutputRing(1000)
    async with followed(ring) as (cursor, channel):
        ring.append(b"a" * 1000)
        cursor.pump()
        for _ in range(70):
            ring.append(b"b" * 1000)
            cursor.pump()
        sent = cursor.position
        assert sent == WINDOW
        ring.append(b"c" * 1000)
        cursor.tell(DONE)
        cursor.finish()
        whole = await channel.stream(1).read()
        skipped, done = await messages(channel)
        assert whole[sent:] == b"c" * 1000
        assert skipped == {"type": "skipped", "bytes": 71_000 - sent}
        assert done["stdout"] == len(whole) == sent + 1000


async def test_what_was_sent_and_read_is_told_in_positions_of_the_ring() -> None:
    ring = OutputRing(10**6)
    ring.append(b"before")
    async with followed(ring) as (cursor, channel):
        assert (cursor.sent, cursor.consumed, cursor.position) == (6, 6, 6)
        ring.append(bytes(WINDOW // 2))
        cursor.pump()
        assert cursor.position == 6 + WINDOW // 2
        await channel.stream(1).readexactly(WINDOW // 2)
        await until(lambda: cursor.consumed > 6)
        assert cursor.consumed == cursor.sent == 6 + WINDOW // 2


async def test_one_that_takes_no_messages_is_cut_off() -> None:
    ring = OutputRing(100_000)
    async with followed(ring) as (cursor, channel):
        ring.append(bytes(WINDOW))
        cursor.pump()
        for _ in range(2000):
            ring.append(b"x" * 70_000)
            cursor.tell(DONE)
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
        cursor.pump()
        cursor.tell(DONE)


async def test_one_that_takes_no_message_of_that_length_is_cut_off_alone() -> None:
    ring = OutputRing(1000)
    async with followed(ring) as (cursor, channel):
        cursor.tell(Unread("x" * 300_000))
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
