"""Descriptors that may block, end, fail, or belong to others as well; signals and ways out."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rshell.aio import timeout
from rshell.cli.standard import StreamError
from rshell.cli.streams import (
    _BEHIND,
    BLOCK,
    InputDescriptor,
    Leaving,
    Left,
    OutputDescriptor,
    on_signals,
    take_signals_back,
)
from rshell.execution.pipes import grow_pipe
from tests.support.pipes import lasting_pipe

DEADLINE = 30.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    with lasting_pipe() as ends:
        yield ends


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who is stuck goes without; here nobody is, but for two tests that say so."""
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", DEADLINE)


async def read_all(source: InputDescriptor) -> bytes:
    collected = bytearray()
    async with timeout(DEADLINE):
        while block := await source.read():
            assert len(block) <= BLOCK
            collected += block
        assert await source.read() == b""
    return bytes(collected)


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert await read_all(InputDescriptor(fd)) == data
    finally:
        os.close(fd)


async def test_nothing_is_taken_before_it_is_asked_for(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"others")
    source = InputDescriptor(pipe[0])
    del source
    assert os.read(pipe[0], 100) == b"others"


async def test_a_cancelled_read_loses_nothing(pipe: tuple[int, int]) -> None:
    source = InputDescriptor(pipe[0])
    waiting = asyncio.ensure_future(source.read())
    await asyncio.sleep(0)
    waiting.cancel()
    os.write(pipe[1], b"kept")
    os.close(pipe[1])
    assert await read_all(source) == b"kept"


async def test_a_descriptor_that_others_made_non_blocking_has_not_ended(
    pipe: tuple[int, int],
) -> None:
    """EAGAIN taken for the end would cut the input of the remote command short."""
    os.set_blocking(pipe[0], False)
    source = InputDescriptor(pipe[0])
    waiting = asyncio.ensure_future(source.read())
    sent = asyncio.get_running_loop().run_in_executor(None, os.write, pipe[1], b"late")
    async with timeout(DEADLINE):
        assert await waiting == b"late"
    await sent
    os.close(pipe[1])
    assert await read_all(source) == b""


async def test_a_read_that_fails_is_not_the_end(tmp_path: Path) -> None:
    """Half of a file, taken for the whole of it, and the status 0."""
    write_only = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    directory = os.open(tmp_path, os.O_RDONLY)
    memory = os.open("/proc/self/mem", os.O_RDONLY)  # nothing is mapped at 0
    try:
        for fd, number in (
            (write_only, errno.EBADF),
            (directory, errno.EISDIR),
            (memory, errno.EIO),
        ):
            source = InputDescriptor(fd)
            for _ in range(2):
                async with timeout(DEADLINE):
                    with pytest.raises(StreamError, match="can't read") as caught:
                        await source.read()
                assert caught.value.errno == number
    finally:
        for fd in (write_only, directory, memory):
            os.close(fd)


async def test_no_thread_to_be_had_is_an_error_and_no_wait_for_ever(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await InputDescriptor(pipe[0]).read()
        output = OutputDescriptor(pipe[1])
        output.say(b"dropped")
        with pytest.raises(RuntimeError, match="new thread"):
            await output.write(b"x")
        optional = OutputDescriptor(pipe[1], is_optional=True)
        await optional.write(b"dropped")
        await optional.drain()


async def test_what_fails_in_a_thread_is_seen_by_who_waits_for_it(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("rshell.cli.streams.read_some", fail)
    monkeypatch.setattr("rshell.cli.streams.write_some", fail)
    async with timeout(DEADLINE):
        with pytest.raises(MemoryError):
            await InputDescriptor(pipe[0]).read()
        output = OutputDescriptor(pipe[1])
        await output.write(b"x")
        with pytest.raises(MemoryError):
            await output.drain()


async def test_an_optional_output_that_fails_is_dropped_and_holds_nobody_up(
    pipe: tuple[int, int],
) -> None:
    os.close(pipe[0])
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        for fd in (pipe[1], full):
            output = OutputDescriptor(fd, is_optional=True)
            async with timeout(DEADLINE):
                for _ in range(20):
                    await output.write(bytes(BLOCK))
                await output.drain()
                output.say(b"dropped")
                await output.finish(b"dropped")
    finally:
        os.close(full)


async def test_blocks_are_written_in_order_and_waited_for(pipe: tuple[int, int]) -> None:
    output = OutputDescriptor(pipe[1])
    data = [bytes([number]) * BLOCK for number in range(20)]

    async def write() -> None:
        for block in data:
            await output.write(block)
        await output.drain()
        os.close(pipe[1])

    async with timeout(DEADLINE):
        writing = asyncio.ensure_future(write())
        assert await read_all(InputDescriptor(pipe[0])) == b"".join(data)
        await writing


async def test_a_reader_that_does_not_read_is_waited_for_in_little_memory(
    pipe: tuple[int, int],
) -> None:
    output = OutputDescriptor(pipe[1])
    written = 0

    async def flood() -> None:
        nonlocal written
        while True:
            await output.write(b"x" * BLOCK)
            written += BLOCK

    flooding = asyncio.ensure_future(flood())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert written < 20 * BLOCK and not flooding.done()
    flooding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flooding
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        await output.drain()


async def test_a_reader_that_has_left_breaks_every_later_write(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    output = OutputDescriptor(pipe[1])
    await output.write(b"to nobody")
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            await output.drain()
        with pytest.raises(BrokenPipeError):
            await output.write(b"more")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_is_an_error_and_not_silence() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        output = OutputDescriptor(fd)
        await output.write(b"lost")
        with pytest.raises(OSError, match="space") as caught:
            await output.drain()
        assert caught.value.errno == errno.ENOSPC
    finally:
        os.close(fd)


async def test_a_non_blocking_output_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    output = OutputDescriptor(pipe[1])
    data = b"y" * (4 * BLOCK)
    await output.write(data)
    reading = asyncio.ensure_future(read_all(InputDescriptor(pipe[0])))
    async with timeout(DEADLINE):
        await output.drain()
        os.close(pipe[1])
        assert await reading == data


def test_what_is_no_pipe_is_left_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        grow_pipe(file.fileno(), 1024 * 1024)


async def test_the_last_word_is_not_overtaken(pipe: tuple[int, int]) -> None:
    """Modes that are put right, then left on by a block that still waited in the thread."""
    output = OutputDescriptor(pipe[1])
    data = bytes(BLOCK)
    for _ in range(4):
        await output.write(data)
    async with timeout(DEADLINE):
        finishing = asyncio.ensure_future(output.finish(b"last"))
        source = InputDescriptor(pipe[0])
        rest = 4 * BLOCK
        while rest > 0:
            block = await source.read()
            rest -= len(block)
        await finishing
    assert (block[len(block) + rest :] or await source.read()) == b"last"
    os.close(pipe[1])


async def test_a_reader_that_is_slow_goes_without_the_rest_and_gets_the_last_word(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the program's modes would stay on a terminal that had much to show still."""
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", 0.01)
    before = fill(pipe[1])
    output = OutputDescriptor(pipe[1])
    for _ in range(3):
        await output.write(bytes(BLOCK))
    async with timeout(DEADLINE):
        await output.finish()
        monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", DEADLINE)
        finishing = asyncio.create_task(output.finish(b"last"))
        source = InputDescriptor(pipe[0])
        written = b""
        while not written.endswith(b"last"):
            written += await source.read()
        await finishing
    # The thread may be in the midst of writing the first.
    assert before + len(b"last") <= len(written) <= before + BLOCK + len(b"last")
    assert output.pending >= 2 * BLOCK
    os.close(pipe[1])


def fill(fd: int) -> int:
    """Fill a pipe to its last byte; return how many it took."""
    grow_pipe(fd, 1024 * 1024)  # as the one who writes to it would
    os.set_blocking(fd, False)
    size = 0
    for block in (bytes(4096), b"\0"):
        with suppress(BlockingIOError):
            while True:
                size += os.write(fd, block)
    os.set_blocking(fd, True)
    return size


async def test_the_last_word_waits_for_no_reader_that_is_stuck(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", 0.01)
    output = OutputDescriptor(pipe[1])
    for _ in range(5):  # more than the largest pipe takes
        await output.write(bytes(BLOCK))
    async with timeout(DEADLINE):
        await output.finish(b"last")
    os.set_blocking(pipe[0], False)
    written = bytearray()
    async with timeout(DEADLINE):
        while output._pending:  # it may be stuck in a write
            with suppress(BlockingIOError):
                written += os.read(pipe[0], BLOCK)
            await asyncio.sleep(0)
    with suppress(BlockingIOError):
        while True:
            written += os.read(pipe[0], BLOCK)
    assert not written.strip(b"\0")  # what came too late was not written


async def test_lines_of_ours_are_in_order_and_dropped_where_nobody_reads(
    pipe: tuple[int, int],
) -> None:
    output = OutputDescriptor(pipe[1])
    await output.write(b"one ")
    output.say(b"two ")
    await output.write(b"three")
    async with timeout(DEADLINE):
        await output.drain()
        assert os.read(pipe[0], 100) == b"one two three"
        line = bytes(BLOCK)
        for _ in range(100):
            output.say(line)
        assert _BEHIND < output.pending <= 2 * _BEHIND + BLOCK
        os.close(pipe[0])
        with pytest.raises(BrokenPipeError):
            await output.drain()
    pending = output.pending
    output.say(b"to nobody")
    assert output.pending == pending


async def test_a_handler_is_called_and_taken_away() -> None:
    came: asyncio.Queue[str] = asyncio.Queue()
    before = signal.getsignal(signal.SIGUSR1)
    with on_signals(
        {
            signal.SIGUSR1: lambda: came.put_nowait("one"),
            signal.SIGUSR2: lambda: came.put_nowait("two"),
        }
    ):
        for number, name in ((signal.SIGUSR2, "two"), (signal.SIGUSR1, "one")):
            os.kill(os.getpid(), number)
            async with timeout(DEADLINE):
                assert await came.get() == name
    assert signal.getsignal(signal.SIGUSR1) is before is signal.SIG_DFL


async def test_handlers_are_taken_away_after_an_error() -> None:
    with pytest.raises(KeyError), on_signals({signal.SIGUSR1: lambda: None}):
        raise KeyError
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_stretches_nest_and_are_taken_back_from_others() -> None:
    came: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def send() -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        async with timeout(DEADLINE):
            return await came.get()

    with on_signals({signal.SIGUSR1: lambda: came.put_nowait("outer")}):
        with on_signals({signal.SIGUSR1: lambda: came.put_nowait("inner")}):
            assert await send() == "inner"
            loop.add_signal_handler(signal.SIGUSR1, came.put_nowait, "others")
            assert await send() == "others"
            loop.remove_signal_handler(signal.SIGUSR1)
            take_signals_back()
            assert await send() == "inner"
        assert await send() == "outer"
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_signals({signal.SIGHUP: lambda: pytest.fail("it was to be ignored")}):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_signal_leaves_with_its_number_and_what_was_at_work_is_cancelled() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    leaving, told = Leaving(), list[BaseException]()
    leaving.on_leave = told.append
    async with timeout(DEADLINE), leaving:
        working = asyncio.ensure_future(leaving.unless_left(work()))
        await begun.wait()
        leaving.leave(Left(7))
        os.kill(os.getpid(), signal.SIGTERM)  # counts more than any key
        with pytest.raises(Left) as caught:
            await working
    assert cancelled.is_set() and leaving.is_left
    assert told[-1] is caught.value and caught.value.status == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_every_signal_that_ends_us_leaves_with_its_number() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        before = signal.getsignal(number)
        async with timeout(DEADLINE), Leaving() as leaving:
            os.kill(os.getpid(), number)
            with pytest.raises(Left, match=number.name) as caught:
                await leaving.unless_left(asyncio.sleep(DEADLINE))
            assert caught.value.status == 128 + number
        assert signal.getsignal(number) in (before, signal.default_int_handler)


async def test_an_interrupt_can_be_for_somebody_else() -> None:
    came = asyncio.Event()
    async with timeout(DEADLINE), Leaving() as leaving:
        leaving.on_interrupt = came.set
        os.kill(os.getpid(), signal.SIGINT)
        await leaving.unless_left(came.wait())


async def test_an_error_that_nobody_waits_for_ends_the_work() -> None:
    leaving = Leaving()
    leaving.leave(KeyError("lost"))
    with pytest.raises(KeyError):
        await leaving.unless_left(asyncio.sleep(DEADLINE))


async def test_the_first_way_out_counts_and_ends_what_comes_later() -> None:
    async def work() -> int:
        return 5

    leaving = Leaving()
    leaving.raise_if_left()
    assert await leaving.unless_left(work()) == 5
    for status in (7, 8):
        leaving.leave(Left(status))
    with pytest.raises(Left) as caught:
        await leaving.unless_left(work())
    assert caught.value.status == 7
    with pytest.raises(Left):
        leaving.raise_if_left()
