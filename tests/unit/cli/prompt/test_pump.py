"""The pump: order, and waiting for exactly the bytes that count."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from rshell.cli.prompt.pump import OutputPump
from rshell.cli.streams import InputDescriptor, OutputDescriptor
from rshell.errors import RshellError
from rshell.transport.streams import ByteReader
from tests.support.pipes import lasting_pipe

DEADLINE = 30.0


class Bench:
    """A pump between a reader and a pipe."""

    def __init__(self, out: int) -> None:
        self.shown: list[bytes] = []
        self.reader = ByteReader(lambda count: None)
        self.pump = OutputPump(self.reader, OutputDescriptor(out), self._show)

    async def _show(self, block: bytes) -> None:
        self.shown.append(block)


@pytest.fixture
async def ends(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Bench, int]]:
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", DEADLINE)  # nobody is stuck here
    with lasting_pipe() as (read, write):
        bench = Bench(write)
        yield bench, read
        await bench.pump.close(finish=False)


async def test_blocks_are_on_the_terminal_in_order_when_reached(ends: tuple[Bench, int]) -> None:
    bench, read = ends
    bench.pump.has_terminal = True
    for block in (b"one ", b"two ", b"three"):
        bench.reader.feed(block)
    async with asyncio.timeout(DEADLINE):
        await bench.pump.reach(bench.pump.received)
    assert os.read(read, 100) == b"one two three"


async def test_reach_waits_for_the_last_byte(ends: tuple[Bench, int]) -> None:
    bench, _ = ends
    waiting = asyncio.ensure_future(bench.pump.reach(4))
    bench.reader.feed(b"abc")
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.shown == [b"abc"] and not waiting.done()
    bench.reader.feed(b"d")
    async with asyncio.timeout(DEADLINE):
        await waiting


async def test_output_between_commands_is_shown_above(ends: tuple[Bench, int]) -> None:
    bench, _ = ends
    bench.reader.feed(b"job")
    async with asyncio.timeout(DEADLINE):
        await bench.pump.reach(3)
    assert bench.shown == [b"job"] and bench.pump.modes.mid_line


async def test_an_error_ends_the_wait_after_what_came_before(ends: tuple[Bench, int]) -> None:
    bench, _ = ends
    bench.reader.feed(b"ab")
    bench.reader.fail(RshellError("cut"))
    with pytest.raises(RshellError, match="cut"):
        async with asyncio.timeout(DEADLINE):
            await bench.pump.reach(3)
    assert bench.shown == [b"ab"]


async def test_what_was_handed_on_is_on_the_terminal_after_closing(ends: tuple[Bench, int]) -> None:
    """Or the modes that a program set would come after what puts them right."""
    bench, read = ends
    bench.pump.has_terminal = True
    size = 1024 * 1024 + 4096  # more than a pipe takes
    bench.reader.feed(bytes(size))
    for _ in range(100):
        await asyncio.sleep(0)
    closing = asyncio.ensure_future(bench.pump.close(finish=False))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not closing.done()
    source = InputDescriptor(read)
    async with asyncio.timeout(DEADLINE):
        while size > 0:
            size -= len(await source.read())
        await closing


async def test_what_still_waits_for_the_terminal_does_not_count_as_shown(
    ends: tuple[Bench, int],
) -> None:
    bench, read = ends
    bench.pump.has_terminal = True
    bench.reader.feed(b"seen")
    async with asyncio.timeout(DEADLINE):
        await bench.pump.reach(4)
        assert bench.pump.shown == 4
        size = 1024 * 1024 + 4096  # more than a pipe takes
        bench.reader.feed(bytes(size))
        for _ in range(100):
            await asyncio.sleep(0)
        assert 4 <= bench.pump.shown < 4 + size
        source = InputDescriptor(read)
        rest = 4 + size
        while rest > 0:
            rest -= len(await source.read())
        await bench.pump.reach(4 + size)
    assert bench.pump.shown == 4 + size
