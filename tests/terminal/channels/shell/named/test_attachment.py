"""How an attached channel ends, and what is sent again to the next one because of it.

The ring below keeps the newest output by position; cursors send it with messages at their place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.messages import Moved, ShellEnding, Unread
from rshell.channels.shell.named.attachment import OutputCursor, OutputRing
from rshell.client.client import Client
from rshell.errors import ChannelReset
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds, ExitStatus
from tests.support.audit import audited
from tests.support.guests import (
    MORTAL,
    Guest,
    attach,
    die,
    guest,
    inn,
    until_listed,
)
from tests.support.session import memory_session, until

Leave = Callable[[Client, Guest], Awaitable[None]]


async def close(client: Client, guest: Guest) -> None:
    guest.channel.close()


async def reset(client: Client, guest: Guest) -> None:
    guest.channel.reset("cancelled", "enough")


async def say_goodbye(client: Client, guest: Guest) -> None:
    await client.close()


async def make_no_sense(client: Client, guest: Guest) -> None:
    guest.say("run")
    await guest.channel.wait_closed()


async def end(client: Client, guest: Guest) -> None:
    die(client)


@pytest.mark.parametrize(
    ("leave", "kept"),
    [(close, 0), (reset, 0), (say_goodbye, 0), (make_no_sense, 0), (end, 5)],
)
async def test_what_is_sent_again_depends_on_how_a_client_left(leave: Leave, kept: int) -> None:
    async with inn() as server, guest(server, MORTAL) as one, guest(server) as two:
        first = await attach(one)
        await first.run("echo one")
        await first.see(b"one\r\n")
        await leave(one, first)
        await until_listed(two, attached=False)
        second = await attach(two)
        assert (second.joined.kept, second.joined.dropped) == (kept, 0)
        assert (second.joined.last is not None) == bool(kept)


@pytest.mark.parametrize(("shown", "kept"), [(0, 5), (3, 2), (5, 0)])
async def test_what_a_client_has_not_shown_is_sent_again(shown: int, kept: int) -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        await first.run("echo one")
        await first.see(b"one\r\n")
        first.say("leave", shown=shown)
        first.channel.close()
        await until_listed(client, attached=False)
        second = await attach(client)
        assert (second.joined.kept, second.joined.dropped) == (kept, 0)
        assert (second.joined.last is not None) == bool(kept)
        if kept:
            assert await second.see(b"\n") == b"one\r\n"[shown:]


async def test_what_is_shown_is_counted_for_each_channel_alone() -> None:
    async with inn() as server, guest(server) as client:
        for number in range(3):
            this = await attach(client)
            assert this.joined.kept == (number > 0)
            await this.run("echo one")
            this.say("leave", shown=4 + (number > 0))
            this.channel.close()
            await until_listed(client, attached=False)


@pytest.mark.parametrize("shown", [6, -1, 2**70, "5", None])
async def test_nobody_has_shown_what_was_not_sent(shown: object) -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        await first.run("echo one")
        await first.see(b"one\r\n")
        first.say("leave", shown=shown)
        await first.channel.wait_closed()
        assert isinstance(first.channel.error, ChannelReset)
        assert first.channel.error.code == "bad-message"
        assert (await attach(client)).joined.attached


async def test_a_place_that_is_taken_in_the_same_moment_as_it_is_left() -> None:
    """The server hears of both before the first channel's handler has ended."""
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        await first.run("echo one")
        first.channel.close()
        second = await attach(client)
        assert second.joined.kept == 0
        assert (await second.run("echo two")).status == ExitStatus(0)
        assert await second.see(b"two\r\n") == b"two\r\n"
        assert len(audited("shell-detached")) == 1 and not audited("shell-moved")


async def test_input_that_was_typed_is_counted_for_each_channel_alone() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        first.begin("read -r x")
        await first.channel.write(b"first\r")
        assert (await first.done()).taken == 6
        await first.channel.write(b"early")
        assert (await first.message("unread"))["text"] == "early"
        second = await attach(client)
        second.begin("read -r x")
        await second.channel.write(b"2\r")
        assert (await second.done()).taken == 2


async def test_many_who_take_the_place_from_each_other_lose_nothing() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        first.begin('for i in 1 2 3 4 5 6 7 8 9; do read -r x; echo "got $i"; done')
        seen = b""
        for number in range(1, 10):
            guest_ = await attach(client)
            await guest_.channel.write(b"%d\r" % number)
            seen += await guest_.see(b"got %d\r\n" % number)
        assert (await guest_.done()).status == ExitStatus(0)
        # What one was sent may come again to the next, but not in another order.
        places = [seen.index(b"got %d" % number) for number in range(1, 10)]
        assert places == sorted(places)


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
        cursor.after(cursor.channel.close)
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
        cursor.after(cursor.channel.close)
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
