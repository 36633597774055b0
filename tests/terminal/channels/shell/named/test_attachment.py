"""How an attached channel ends, and what is sent again to the next one because of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rshell.client.client import Client
from rshell.errors import ChannelReset
from rshell.values import ExitStatus
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
