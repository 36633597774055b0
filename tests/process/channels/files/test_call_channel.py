"""The one channel of a client's calls: opened once, and again when it has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rshell.channels.base import Context
from rshell.channels.files.server import serve_files
from rshell.errors import RshellError
from rshell.transport.channel import Channel
from tests.support.session import tls_session


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
