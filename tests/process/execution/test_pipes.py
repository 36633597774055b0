"""Reading and writing a command's pipes: room, ends, growth, cancellation, and release."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tty
from contextlib import suppress

import pytest

from rshell.aio import timeout
from rshell.execution.pipes import Lull, PipeSink, PipeSource, input_pipe, output_pipe
from rshell.values import ExitStatus
from tests.support.execution import (
    DEADLINE,
    ROOM,
    Output,
    finish,
    no_leak,
    on_terminal,
    piped,
    script,
)

KIB = 1024
MIB = 1024 * KIB
F_GETPIPE_SZ = 1032  # `fcntl` names it from Python 3.10 on


async def test_all_bytes_arrive_and_then_the_end() -> None:
    with no_leak():
        async with piped(script("head -c 5000000 /dev/zero")) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=0)
            async with timeout(DEADLINE):
                await output.ended.wait()
            assert output.text == bytes(5_000_000)
            assert source.bytes_read == 5_000_000
            assert source.is_closed


async def test_nothing_is_read_without_room() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        output = Output(room=3)
        source = output.source(ours, block=2)
        os.write(theirs, b"abcdefgh")
        os.close(theirs)
        await output.until(b"abc")
        for _ in range(3):
            await asyncio.sleep(0)
        assert output.chunks == [b"ab", b"c"]
        output.room = 2
        source.resume()
        await output.until(b"abcde")
        assert not output.ended.is_set()
        output.room = ROOM
        source.resume()
        async with timeout(DEADLINE):
            await output.ended.wait()
        assert output.text == b"abcdefgh"
        assert not source.held_open


async def test_draining_ends_at_once_although_a_child_holds_the_pipe() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        output = Output()
        source = output.source(ours, block=4)
        os.write(theirs, b"0123456789")
        source.drain_then_end()
        assert output.text == b"0123456789"
        assert output.ended.is_set()
        assert source.held_open
        os.close(theirs)


async def test_draining_waits_for_room_and_goes_on_with_resume() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        output = Output(room=4)
        source = output.source(ours)
        os.write(theirs, b"0123456789")
        source.drain_then_end()
        assert output.text == b"0123"
        os.write(theirs, b"written later")
        output.room = 100
        source.resume()
        # What a child writes afterwards is no part of this command's output.
        assert output.text == b"0123456789"
        assert output.ended.is_set()
        assert source.held_open
        os.close(theirs)


async def test_draining_an_empty_pipe_needs_no_room() -> None:
    with no_leak():
        for close_first in (True, False):
            ours, theirs = output_pipe()
            output = Output(room=0)
            source = output.source(ours)
            if close_first:
                os.close(theirs)
            source.drain_then_end()
            assert output.ended.is_set()
            assert source.held_open is not close_first
            if not close_first:
                os.close(theirs)


async def test_once_all_writers_are_gone_everything_is_read() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        output = Output(room=1)
        source = output.source(ours)
        os.write(theirs, b"abc")
        source.drain_then_end()
        os.write(theirs, b"def")
        os.close(theirs)
        output.room = 100
        source.resume()
        assert output.text == b"abcdef"
        assert output.ended.is_set()
        assert not source.held_open


async def test_a_child_that_never_stops_writing_does_not_keep_the_drain_going() -> None:
    text = "sh -c 'echo $$; exec yes' & exec true"
    with no_leak():
        async with piped(script(text)) as (process, source, output):
            await output.until(b"\n")
            pid = int(output.text.split()[0])
            await finish(process, source, output)
            assert source.held_open
            with suppress(ProcessLookupError):  # the pipe that broke has ended it
                os.kill(pid, 9)


async def test_closing_inside_the_callback_is_quiet() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        seen: list[bytes] = []

        def on_data(data: bytes) -> None:
            seen.append(data)
            source.close()
            source.resume()

        source = PipeSource(ours, on_data, pytest.fail, block=1, room=lambda: 100)
        os.write(theirs, b"abc")
        source.drain_then_end()
        source.drain_then_end()
        assert seen == [b"a"]
        os.close(theirs)


async def test_resuming_inside_the_callback_keeps_the_order() -> None:
    ours, theirs = output_pipe()
    seen: list[bytes] = []

    def on_data(data: bytes) -> None:
        seen.append(data)
        source.resume()

    ended = asyncio.Event()
    source = PipeSource(ours, on_data, ended.set, block=1, room=lambda: 100)
    os.write(theirs, b"abc")
    source.drain_then_end()
    assert seen == [b"a", b"b", b"c"]
    assert ended.is_set()
    os.close(theirs)


async def test_only_a_pipe_that_was_full_is_grown() -> None:
    ours, theirs = output_pipe()
    output = Output()
    source = output.source(ours, block=MIB)
    usual = fcntl.fcntl(theirs, F_GETPIPE_SZ)
    os.write(theirs, b"x")
    await output.until(b"x")
    assert fcntl.fcntl(theirs, F_GETPIPE_SZ) == usual
    os.write(theirs, b"y" * usual)
    await output.until(b"y" * usual)
    assert fcntl.fcntl(theirs, F_GETPIPE_SZ) == MIB
    source.close()
    os.close(theirs)


async def test_a_terminal_loses_nothing_at_the_leaders_end() -> None:
    """More than the line discipline holds is in flight when a program on a pty exits."""
    with no_leak():
        for _ in range(10):
            text = "stty -opost; head -c 60000 /dev/zero | tr '\\0' a; printf END"
            async with on_terminal(script(text)) as (process, source, output, _):
                assert await finish(process, source, output) == ExitStatus(code=0)
                assert len(output.text) == 60003
                assert output.text.endswith(b"aEND")
                assert not source.held_open


async def test_a_busy_terminal_is_read_in_blocks() -> None:
    """It gives 4 KiB at a time, and a turn of the loop for each is what output then costs."""
    master, slave = os.openpty()
    output = Output()
    try:
        tty.setraw(slave)
        os.set_blocking(slave, False)
        written = os.write(slave, bytes(16384))
        assert written > 8192
        output.room = written - 1
        source = output.source(master)
        await output.until(bytes(written - 1))
        assert len(output.chunks) < 4
        output.room = 1
        source.resume()
        await output.until(bytes(written))
        source.close()
    finally:
        os.close(slave)


async def test_a_terminal_that_a_child_holds_ends_with_the_leader() -> None:
    text = 'trap "" HUP; sleep 100 & echo $!'
    async with on_terminal(script(text)) as (process, source, output, _):
        await finish(process, source, output)
        assert source.held_open
        os.kill(int(output.text), 9)


async def test_a_write_waits_until_all_of_it_is_in_the_pipe() -> None:
    with no_leak():
        theirs, ours = input_pipe()
        sink = PipeSink(ours)
        data = os.urandom(MIB)
        os.set_blocking(theirs, False)
        output = Output()
        writing = asyncio.ensure_future(sink.write(data))
        await asyncio.sleep(0)
        assert not writing.done()
        output.source(theirs)
        async with timeout(DEADLINE):
            await writing
            await sink.write(memoryview(b"last"))
            sink.close()
            sink.close()
            await output.ended.wait()
        assert output.text == data + b"last"


async def test_a_pipe_whose_reader_waits_for_us_is_grown() -> None:
    with no_leak():
        theirs, ours = input_pipe()
        sink = PipeSink(ours, pipe_size=MIB)
        writing = asyncio.ensure_future(sink.write(bytes(130 * KIB)))
        await asyncio.sleep(0)
        assert len(os.read(theirs, MIB)) == 64 * KIB  # all of it at once
        async with timeout(DEADLINE):
            await writing
        assert len(os.read(theirs, MIB)) == 66 * KIB
        assert fcntl.fcntl(ours, F_GETPIPE_SZ) == MIB
        sink.close()
        os.close(theirs)


async def test_a_reader_that_goes_away_breaks_the_write() -> None:
    with no_leak():
        theirs, ours = input_pipe()
        sink = PipeSink(ours)
        writing = asyncio.ensure_future(sink.write(bytes(MIB)))
        await asyncio.sleep(0)
        os.close(theirs)
        with pytest.raises(BrokenPipeError):
            async with timeout(DEADLINE):
                await writing
        with pytest.raises(BrokenPipeError):
            await sink.write(b"x")
        sink.close()


async def test_closing_breaks_the_write_that_waits() -> None:
    with no_leak():
        theirs, ours = input_pipe()
        sink = PipeSink(ours)
        writing = asyncio.ensure_future(sink.write(bytes(MIB)))
        await asyncio.sleep(0)
        sink.close()
        with pytest.raises(BrokenPipeError):
            async with timeout(DEADLINE):
                await writing
        with pytest.raises(BrokenPipeError):
            await sink.write(b"x")
        os.close(theirs)


async def test_a_cancelled_write_lets_the_next_one_in() -> None:
    with no_leak():
        theirs, ours = input_pipe()
        sink = PipeSink(ours)
        writing = asyncio.ensure_future(sink.write(bytes(MIB)))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await sink.write(b"second")
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert not asyncio.get_running_loop().remove_writer(ours)
        os.set_blocking(theirs, False)
        output = Output()
        source = output.source(theirs)
        async with timeout(DEADLINE):
            await sink.write(b"end")
        await output.until(b"end")
        sink.close()
        source.close()


FEW = 24  # lulls in ten thousand pieces that they gain nothing for


def test_a_lull_is_for_streams_that_come_in_pieces_and_gain_by_it() -> None:
    """Each: bytes of a piece without a lull and with one, seconds between, lulls of 10,000."""
    cases = {
        "pieces of a stream": (32 * KIB, 200 * KIB, 0.0001, range(9_990, 10_000)),
        "large pieces of a stream": (120 * KIB, 250 * KIB, 0.0001, range(9_990, 10_000)),
        "a large answer to each": (120 * KIB, 120 * KIB, 0.0001, range(1, FEW)),
        "an answer to each": (32 * KIB, 32 * KIB, 0.0001, range(1, FEW)),
        "keys": (1, 20, 0.0001, range(1)),
        "now and then": (32 * KIB, 200 * KIB, 0.1, range(1)),
        "as much as is taken at once": (256 * KIB, 256 * KIB, 0.0001, range(1)),
    }
    for name, (piece, after, apart, wanted) in cases.items():
        lull, now, is_on, count = Lull(), 0.0, False, 0
        for _ in range(10_000):
            now += apart + is_on * Lull.SECONDS
            is_on = lull.is_due(after if is_on else piece, 256 * KIB, now)
            count += is_on
        assert count in wanted, (name, count)


async def test_pieces_are_read_together_and_none_waits_for_the_next() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        output = Output()
        source = output.source(ours)
        for at in range(20):
            os.write(theirs, bytes([at]) * 8 * KIB)
            await output.until(bytes([at]) * 8 * KIB)
        os.write(theirs, bytes(8 * KIB))
        source.drain_then_end()  # in a lull as well
        assert len(output.text) == 21 * 8 * KIB and output.ended.is_set()
        os.close(theirs)


async def test_a_source_that_is_closed_in_a_lull_reads_no_more() -> None:
    with no_leak():
        ours, theirs = output_pipe()
        output = Output()
        source = output.source(ours)
        for at in b"ab":
            os.write(theirs, bytes([at]) * 8 * KIB)
            await output.until(bytes([at]) * 8 * KIB)
        os.write(theirs, b"c")
        source.close()
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(2 * Lull.SECONDS, later.set_result, None)
        await later
        assert b"c" not in output.text and not output.ended.is_set()
        os.close(theirs)
