"""The one channel of a client's calls: opened once, and again when it has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.channels.files.server import serve_files
from rshell.errors import ChannelReset, RshellError
from rshell.transport.channel import Channel
from tests.support.session import DEADLINE, tls_session


async def test_calls_share_a_channel_and_a_new_one_takes_its_place(tmp_path: Path) -> None:
    channels: list[Channel] = []

    async def serve(channel: Channel, context: Context) -> None:
        channels.append(channel)
        await serve_files(channel, context)

    async with tls_session(handlers={"files": serve}, commands=True, cwd=tmp_path) as client:
        await asyncio.gather(*(client.files.stat(".") for _ in range(20)))
        assert len(channels) == 1
        channels[0].reset("failed", "as a test would have it")
        with pytest.raises(RshellError):
            for _ in range(1000):
                await client.files.stat(".")
        await client.files.stat(".")
        assert len(channels) == 2
    with pytest.raises(RshellError):
        await client.files.stat(".")


async def test_a_file_of_a_channel_that_ended_is_no_file_of_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    async with tls_session(cwd=tmp_path) as client:
        first = await client.files.open("a")
        client.files._calls.channel.reset("failed", "as a test would have it")
        async with client.files.open("b") as second:  # which has the number that `first` had
            with pytest.raises(ChannelReset):
                await first.read()
            with pytest.raises(ChannelReset):
                await first.close()
            assert await second.read() == b"b"


async def test_nobody_waits_for_answers_when_all_tasks_are_cancelled(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    async with tls_session(cwd=tmp_path) as client:
        is_open = asyncio.Event()

        async def hold() -> None:
            async with client.files.open("a"):
                is_open.set()
                await asyncio.Event().wait()

        holding = asyncio.ensure_future(hold())
        await is_open.wait()
        for task in (*client.files._calls._tasks, holding):  # as asyncio.run does at its end
            task.cancel()
        async with timeout(DEADLINE):
            await asyncio.wait([holding])
        with pytest.raises((asyncio.CancelledError, ChannelReset)):
            holding.result()
