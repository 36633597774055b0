"""Keys while a command runs, with a line that a test ends when it likes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.passthrough import Passthrough, SessionDetached, SessionLeft
from rshell.cli.prompt.pump import OutputPump
from rshell.cli.streams import InputDescriptor, OutputDescriptor
from rshell.transport.streams import ByteReader
from rshell.values import ExitStatus
from tests.support.pipes import lasting_pipe

DEADLINE = 30.0


class FakeChannel:
    room = 1000
    is_over = False
    on_room: Callable[[], None] | None = None

    def want_room(self) -> None:
        pass


class Line:
    """A command that ends when `stop` of its keys have come, leaving `unread`."""

    def __init__(self, stop: bytes, unread: str = "", name: str = "") -> None:
        self.name = name
        self.channel = FakeChannel()
        self.on_done: Callable[[ShellEnding], None] = lambda done: None
        self.on_unread: Callable[[str], None] = lambda text: None
        self.on_stop: Callable[[], object] = lambda: None
        self.got = b""
        self._stop = stop
        self._done = ShellEnding(1, ExitStatus(code=0), "/", 0, 0, 0.0, unread=unread)
        self._ended = asyncio.Event()

    async def run(self, command: str) -> ShellEnding:
        await self._ended.wait()
        return self._done

    async def follow(self) -> ShellEnding:
        return await self.run("what ran before we came")

    def write_nowait(self, data: bytes) -> None:
        self.got += data
        if self.got.endswith(self._stop):
            self.on_done(self._done)
            self._ended.set()
            self.on_stop()


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


async def run(line: Line, *, follows: bool = False) -> list[str]:
    """Run a command, or follow one; return what came back for the prompt."""
    back: list[str] = []
    pump = OutputPump(ByteReader(lambda count: None), OutputDescriptor(1), show)
    try:
        async with asyncio.timeout(DEADLINE):
            terminal = Passthrough(cast(ShellLine, line), pump, back.append)
            await (terminal.follow() if follows else terminal.run("cat"))
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


async def test_what_comes_after_an_escape_is_written_behind_what_came_before(
    keyboard: int,
) -> None:
    """It overtook what waited for the terminal, as if there were a prompt to be above."""
    os.write(keyboard, b"~.")
    reader = ByteReader(lambda count: None)
    above: list[bytes] = []

    async def show_above(block: bytes) -> None:
        above.append(block)

    with lasting_pipe() as (reading, writing):
        output, source = OutputDescriptor(writing), InputDescriptor(reading)
        pump = OutputPump(reader, output, show_above)
        terminal = Passthrough(cast(ShellLine, Line(b"never")), pump, lambda text: None)
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(SessionLeft):
                await terminal.run("cat")
            reader.feed(b"late")
            assert await source.read() == b"late"
            await pump.close(finish=False)
    assert not above


async def test_an_escape_at_the_very_end_of_a_command_is_not_left_for_the_next(
    keyboard: int,
) -> None:
    line = Line(b"\r")
    line.on_stop = lambda: os.write(keyboard, b"~.")
    os.write(keyboard, b"last\r")
    with pytest.raises(SessionLeft):
        await run(line)
    assert line.got == b"last\r"


async def test_a_command_that_ran_already_gets_the_keys_and_gives_back_the_rest(
    keyboard: int,
) -> None:
    line = Line(b"q", unread="late ", name="work")
    line.channel.room = 3
    os.write(keyboard, b"abqcd")
    assert await run(line, follows=True) == ["late cd"]
    assert line.got == b"abq"


@pytest.mark.parametrize("keys", [b"~d", b"~."])
async def test_in_a_named_session_each_way_out_detaches(keyboard: int, keys: bytes) -> None:
    os.write(keyboard, keys)
    line = Line(b"never", name="work")
    with pytest.raises(SessionDetached):
        await run(line)
    assert line.got == b""


async def test_elsewhere_the_same_keys_are_for_the_command(keyboard: int) -> None:
    os.write(keyboard, b"~d")
    line = Line(b"d")
    assert await run(line) == [""]
    assert line.got == b"~d"


class Shown:
    """What was written above the prompt, which has the terminal unless a command does."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    async def show(self, block: bytes) -> None:
        self.blocks.append(block)


async def test_what_was_printed_before_is_shown_as_it_is_and_keys_are_for_the_prompt_after_it(
    keyboard: int,
) -> None:
    read, write = os.pipe()
    above, reader = Shown(), ByteReader(lambda count: None)
    pump = OutputPump(reader, OutputDescriptor(write), above.show)
    line = Line(b"never", name="work")
    back: list[str] = []
    terminal = Passthrough(cast(ShellLine, line), pump, back.append)
    os.write(keyboard, b"typed early")
    try:
        async with asyncio.timeout(DEADLINE):
            showing = asyncio.ensure_future(terminal.show(9))
            await asyncio.sleep(0)
            reader.feed(b"before ")
            await pump.reach(7)
            assert not showing.done()
            reader.feed(b"us")
            await showing
            assert os.read(read, 100) == b"before us" and above.blocks == []
            reader.feed(b"later")
            await pump.reach(14)
            assert above.blocks == [b"later"]
            assert back == ["typed early"]
            stuck = asyncio.ensure_future(terminal.show(100))
            await asyncio.sleep(0)
            os.write(keyboard, b"~.")  # is heard all the same
            with pytest.raises(SessionDetached):
                await stuck
    finally:
        await pump.close(finish=False)
        os.close(read)
        os.close(write)
    assert line.got == b""
