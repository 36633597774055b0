"""Keys while a command runs, with a line that a test ends when it likes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from rshell.channels.shell.line import ShellLine
from rshell.channels.shell.messages import Done
from rshell.cli.prompt.passthrough import Passthrough, SessionLeft
from rshell.cli.prompt.pump import OutputPump
from rshell.cli.streams import OutputDescriptor
from rshell.transport.streams import ByteReader
from rshell.values import ExitStatus

DEADLINE = 30.0


class FakeChannel:
    room = 1000
    is_over = False
    on_room: Callable[[], None] | None = None

    def want_room(self) -> None:
        pass


class Line:
    """A command that ends when `stop` of its keys have come, leaving `unread`."""

    def __init__(self, stop: bytes, unread: str = "") -> None:
        self.channel = FakeChannel()
        self.on_done: Callable[[Done], None] = lambda done: None
        self.on_unread: Callable[[str], None] = lambda text: None
        self.got = b""
        self._stop = stop
        self._done = Done(1, ExitStatus(code=0), "/", 0, 0, 0.0, unread=unread)
        self._ended = asyncio.Event()

    async def run(self, command: str) -> Done:
        await self._ended.wait()
        return self._done

    def write_nowait(self, data: bytes) -> None:
        self.got += data
        if self.got.endswith(self._stop):
            self.on_done(self._done)
            self._ended.set()


@pytest.fixture
async def keyboard() -> AsyncIterator[int]:
    """Descriptor 0 is a pipe; yield the end to type at."""
    read, write = os.pipe()
    before = os.dup(0)
    os.dup2(read, 0)
    os.close(read)
    yield write
    os.dup2(before, 0)
    os.close(before)
    os.close(write)


async def show(block: bytes) -> None:
    pass


async def run(line: Line) -> list[str]:
    """Run a command; return what came back for the prompt."""
    back: list[str] = []
    pump = OutputPump(ByteReader(lambda count: None), OutputDescriptor(1), show)
    try:
        async with asyncio.timeout(DEADLINE):
            await Passthrough(cast(ShellLine, line), pump, back.append).run("cat")
    finally:
        await pump.close(finish=False)
    return back


async def test_keys_go_to_the_command(keyboard: int) -> None:
    os.write(keyboard, b"hello q")
    line = Line(b"q")
    assert await run(line) == [""]
    assert line.got == b"hello q"


async def test_keys_past_the_ending_come_back_behind_the_unread(keyboard: int) -> None:
    line = Line(b"abc", unread="before ")
    line.channel.room = 3
    os.write(keyboard, b"abcdef")
    assert await run(line) == ["before def"]
    assert line.got == b"abc"


async def test_an_escape_leaves_and_reaches_no_command(keyboard: int) -> None:
    os.write(keyboard, b"~.")
    line = Line(b"never")
    with pytest.raises(SessionLeft):
        await run(line)
    assert line.got == b""
