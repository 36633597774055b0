"""The client's side of named shells: answers that are checked, and watching."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rshell.channels.process.messages import Terminal
from rshell.channels.shell.messages import (
    CommandBegun,
    Joined,
    NamedShellInfo,
    ShellEnding,
    ShellRequest,
    Skipped,
)
from rshell.channels.shell.named.client import (
    ShellWatch,
    WatchEvent,
    end_named_shell,
    list_named_shells,
    watch_named_shell,
)
from rshell.errors import ChannelRefused, ChannelReset, RemoteProtocolError
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds, ExitStatus, TerminalSize
from tests.support.session import memory_session, until

SIZE = TerminalSize(columns=80, rows=24)
REQUEST = ShellRequest(terminal=Terminal(SIZE), name="work", share=True)
FOUND = Joined(True, 3, SIZE, 0, 0, running="make")
DONE = ShellEnding(3, ExitStatus(code=0), "/", 0, 0, 0.5)
BEGUN = CommandBegun(4, "ls", "/")
COMMAND: Json = {"type": "command", "number": 4, "command": "ls", "cwd": "/"}

Serve = Callable[[Channel], Awaitable[None]]


def joined(events: list[WatchEvent]) -> list[WatchEvent]:
    """Return events with neighbouring blocks as one."""
    found: list[WatchEvent] = []
    for event in events:
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


async def test_events_come_in_the_order_in_which_they_were_sent() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept(FOUND.encode())
        channel.send_message({"type": "resized", "columns": 90, "rows": 30})
        await channel.write(b"before", 1)
        channel.send_message(DONE.encode())
        channel.send_message(COMMAND)
        await channel.write(b"one", 1)
        await channel.write(b"two", 1)
        channel.send_message({"type": "of a later version"})
        channel.send_message({"type": "skipped", "bytes": 5})
        await channel.write(b"after", 1)
        channel.close()

    expected = [
        TerminalSize(columns=90, rows=30),
        b"before",
        DONE,
        BEGUN,
        b"onetwo",
        Skipped(5),
        b"after",
    ]
    for piece in (1, 7, 64 * 1024):  # bytes that arrive together
        async with (
            memory_session(serve, piece=piece) as both,
            await watch_named_shell(both.live, REQUEST) as watch,
        ):
            assert watch.found == FOUND
            assert joined([event async for event in watch]) == expected
            with pytest.raises(StopAsyncIteration):
                await watch.__anext__()


SAID: list[tuple[bytes, Json | None, WatchEvent]] = [
    (b"x", None, b"x"),
    (b"", COMMAND, BEGUN),
    (b"y", None, b"y"),
]


async def test_each_comes_as_soon_as_it_is_there_and_cancelling_a_step_loses_none() -> None:
    channels: list[Channel] = []

    async def serve(channel: Channel) -> None:
        channels.append(channel)
        channel.accept(FOUND.encode())
        await channel.wait_closed()

    async with memory_session(serve) as both:
        async with await watch_named_shell(both.live, REQUEST) as watch:
            for data, message, event in SAID:
                step = asyncio.ensure_future(watch.__anext__())
                for _ in range(10):
                    await asyncio.sleep(0)
                step.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await step
                if data:
                    await channels[0].write(data, 1)
                if message is not None:
                    channels[0].send_message(message)
                assert await watch.__anext__() == event
        await until(lambda: channels[0].is_over)


async def test_a_watcher_that_stops_reading_stops_the_server() -> None:
    written = 0

    async def serve(channel: Channel) -> None:
        nonlocal written
        channel.accept(FOUND.encode())
        while True:
            await channel.write(bytes(1024), 1)
            written += 1024

    limits = Bounds(window=64 * 1024, window_largest=64 * 1024, channel_queue=1024)
    async with (
        memory_session(serve, limits=limits) as both,
        await watch_named_shell(both.live, REQUEST) as watch,
    ):
        assert await watch.__anext__()
        before = -1
        while written != before:
            before = written
            for _ in range(100):
                await asyncio.sleep(0)
        assert written < 256 * 1024


async def test_what_was_told_before_the_end_is_told_before_the_error() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept(FOUND.encode())
        await channel.write(b"last words", 1)
        channel.send_message(DONE.encode())
        for _ in range(100):  # a reset takes back what has not left yet
            await asyncio.sleep(0)
        channel.reset("killed", "somebody ended it")
        ended.set()

    ended = asyncio.Event()
    async with (
        memory_session(serve) as both,
        await watch_named_shell(both.live, REQUEST) as watch,
    ):
        await ended.wait()
        await until(lambda: not both.live.session.channels)
        assert [await watch.__anext__(), await watch.__anext__()] == [b"last words", DONE]
        for _ in range(2):
            with pytest.raises(ChannelReset) as caught:
                await watch.__anext__()
            assert caught.value.code == "killed"


@pytest.mark.parametrize(
    "message", [{"type": "done"}, {"type": "command"}, {"type": "skipped", "bytes": "many"}]
)
async def test_a_message_that_makes_no_sense_ends_it(message: Json) -> None:
    async def serve(channel: Channel) -> None:
        channel.accept(FOUND.encode())
        channel.send_message(message)
        await channel.wait_closed()

    async with memory_session(serve) as both:
        with pytest.raises(ChannelReset, match="needs"):
            async with await watch_named_shell(both.live, REQUEST) as watch:
                await watch.__anext__()


async def test_a_server_that_never_heard_of_it_is_an_error() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept({"shell": "/bin/sh"})
        await channel.wait_closed()

    async with memory_session(serve) as both:
        with pytest.raises(RemoteProtocolError, match="knows no named shells"):
            await watch_named_shell(both.live, REQUEST)


async def test_a_watch_that_is_left_unread_leaves_no_task() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept(FOUND.encode())
        await channel.wait_closed()

    async with memory_session(serve) as both:
        before = asyncio.all_tasks()
        watch: ShellWatch = await watch_named_shell(both.live, REQUEST)
        step = asyncio.ensure_future(watch.__anext__())
        await asyncio.sleep(0)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        await watch.__aexit__(None, None, None)
        await until(lambda: asyncio.all_tasks() <= before)


WORK = NamedShellInfo("work", "me", 1.0, True, 2, "/bin/sh", "/tmp", SIZE, "make")
IDLE = NamedShellInfo("idle", "me", 2.0, False, 0, "/bin/sh", "/", SIZE)


async def test_named_shells_are_listed_and_ended() -> None:
    async def serve(channel: Channel) -> None:
        """Have the shell "work", and one that is not there any more."""
        assert channel.kind == "sessions"
        request = channel.request
        if request == {"verb": "list"}:
            channel.accept()
            for info in (WORK, IDLE):
                channel.send_message(info.encode())
            channel.send_message({"type": "end", "sessions": 2})
        elif request == {"verb": "end", "name": "work"}:
            channel.accept()
            channel.send_message(WORK.encode())
        else:
            channel.refuse("unknown-session", "there is no such shell of yours here")

    async with memory_session(serve) as both:
        assert await list_named_shells(both.live) == [WORK, IDLE]
        assert await end_named_shell(both.live, "work") == WORK
        with pytest.raises(ChannelRefused, match="no such shell") as caught:
            await end_named_shell(both.live, "other")
        assert caught.value.code == "unknown-session"


@pytest.mark.parametrize("message", [{"type": "session"}, WORK.encode() | {"name": "\x1b[2J"}])
async def test_a_named_shell_that_there_can_not_be_is_an_error(message: Json) -> None:
    async def lie(channel: Channel) -> None:
        channel.accept()
        channel.send_message(message)
        channel.send_message({"type": "end", "sessions": 1})

    async with memory_session(lie) as both:
        with pytest.raises(RemoteProtocolError):
            await list_named_shells(both.live)
        with pytest.raises(RemoteProtocolError):
            await end_named_shell(both.live, "work")
