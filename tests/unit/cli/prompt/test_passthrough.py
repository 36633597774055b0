"""Keys and output while a command runs, with a line that a test ends when it likes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.passthrough import OutputPump, Passthrough
from rshell.cli.standard import StreamError
from rshell.cli.streams import InputDescriptor, Left, OutputDescriptor
from rshell.cli.terminal import Detached, Terminal
from rshell.errors import RshellError
from rshell.transport.streams import ByteReader
from rshell.values import ExitStatus, TerminalSize
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
        self.is_starting = False
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

    def stop_waiting(self) -> None:
        pass

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


@pytest.fixture(autouse=True)
def sized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our terminal is pipes here, and nobody is stuck."""
    size = TerminalSize(columns=80, rows=24)
    monkeypatch.setattr("rshell.cli.terminal.get_size", lambda fd: size)
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", DEADLINE)


def terminal_on(out: int, line: Line | None = None) -> Terminal:
    """Our terminal, which shows what it is given at `out`."""
    terminal = Terminal(detaches=line is not None and bool(line.name))
    terminal.output = OutputDescriptor(out)
    return terminal


async def show(block: bytes) -> None:
    pass


async def run(line: Line, *, follows: bool = False) -> list[str]:
    """Run a command, or follow one; return what came back for the prompt, text in brackets."""
    back: list[str] = []

    def insert(text: str) -> None:
        back.append(f"[{text}]")

    terminal = terminal_on(1, line)
    pump = OutputPump(ByteReader(lambda count: None), terminal, show)
    try:
        async with timeout(DEADLINE):
            passing = Passthrough(cast(ShellLine, line), terminal, pump, back.append, insert)
            await (passing.follow() if follows else passing.run("cat"))
    finally:
        await pump.close(finish=False)
    return back


async def test_keys_go_to_the_command(keyboard: int) -> None:
    os.write(keyboard, b"hello q")
    line = Line(b"q")
    assert await run(line) == [""]
    assert line.got == b"hello q"


async def test_keys_past_the_ending_come_back_behind_the_unread(keyboard: int) -> None:
    line = Line(b"abc", unread="bc")
    line.channel.room = 3
    os.write(keyboard, b"abcdef")
    assert await run(line) == ["bcdef"]
    assert line.got == b"abc"


async def test_what_a_server_makes_up_is_text_and_what_was_typed_are_keys(keyboard: int) -> None:
    for typed, unread, back in (
        (b"vi\x18\x05q", "\x18\x05q", ["\x18\x05q"]),
        (b"\x05\x18q", "\x18\x05", ["[\x18\x05]", ""]),
        (b"ls\rq", "ls\nq", ["ls\nq"]),
        (b"ks\x7f\x7fls\rq", "ls\nq", ["ls\nq"]),
        (b"no\x15yes q", "yes q", ["yes q"]),
        (b"one\r\x7fq", "q", ["q"]),
        (b"abq", "rm -rf ~\n", ["[rm -rf ~\n]", ""]),
        (b"\xc3\xa4\xffq", "\xe4\udcffq", ["\xe4\udcffq"]),
    ):
        os.write(keyboard, typed)
        assert await run(Line(b"q", unread=unread)) == back, (typed, unread)


async def test_an_escape_leaves_and_reaches_no_command(keyboard: int) -> None:
    os.write(keyboard, b"~.")
    line = Line(b"never")
    with pytest.raises(Left):
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
        terminal, source = terminal_on(writing), InputDescriptor(reading)
        pump = OutputPump(reader, terminal, show_above)
        line = cast(ShellLine, Line(b"never"))
        passing = Passthrough(line, terminal, pump, lambda text: None, lambda text: None)
        async with timeout(DEADLINE):
            with pytest.raises(Left):
                await passing.run("cat")
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
    with pytest.raises(Left):
        await run(line)
    assert line.got == b"last\r"


async def test_a_command_that_ran_already_gets_the_keys_and_gives_back_the_rest(
    keyboard: int,
) -> None:
    line = Line(b"q", unread="late ", name="work")
    line.channel.room = 3
    os.write(keyboard, b"abqcd")
    assert await run(line, follows=True) == ["[late ]", "cd"]
    assert line.got == b"abq"


async def test_in_a_named_shell_each_way_out_detaches(keyboard: int) -> None:
    for keys in (b"~d", b"~."):
        os.write(keyboard, keys)
        line = Line(b"never", name="work")
        with pytest.raises(Detached):
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
    line = Line(b"never", name="work")
    terminal = terminal_on(write, line)
    pump = OutputPump(reader, terminal, above.show)
    back: list[str] = []
    passing = Passthrough(cast(ShellLine, line), terminal, pump, back.append, back.append)
    os.write(keyboard, b"typed early")
    try:
        async with timeout(DEADLINE):
            showing = asyncio.ensure_future(passing.show(9))
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
            stuck = asyncio.ensure_future(passing.show(100))
            await asyncio.sleep(0)
            os.write(keyboard, b"~.")  # is heard all the same
            with pytest.raises(Detached):
                await stuck
    finally:
        await pump.close(finish=False)
        os.close(read)
        os.close(write)
    assert line.got == b""


class Bench:
    """A pump between a reader and a pipe."""

    def __init__(self, out: int) -> None:
        self.shown: list[bytes] = []
        self.reader = ByteReader(lambda count: None)
        self.terminal = terminal_on(out)
        self.pump = OutputPump(self.reader, self.terminal, self._show)

    async def _show(self, block: bytes) -> None:
        self.shown.append(block)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Bench, int]]:
    with lasting_pipe() as (read, write):
        bench = Bench(write)
        yield bench, read
        await bench.pump.close(finish=False)


async def test_blocks_are_on_the_terminal_in_order_when_reached(ends: tuple[Bench, int]) -> None:
    bench, read = ends
    bench.pump.has_terminal = True
    for block in (b"one ", b"two ", b"three"):
        bench.reader.feed(block)
    async with timeout(DEADLINE):
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
    async with timeout(DEADLINE):
        await waiting


async def test_what_is_shown_again_asks_the_terminal_nothing() -> None:
    with lasting_pipe() as (read, write):
        reader, terminal = ByteReader(lambda count: None), terminal_on(write)
        pump = OutputPump(reader, terminal, show, again=16)
        pump.has_terminal = True
        try:
            for block in (b"one\x1b[", b"c\x1b]11;?\x07", b"two\x1b[cthree\x1b[6n"):
                reader.feed(block)
            async with timeout(DEADLINE):
                await pump.reach(reader.received)
            assert os.read(read, 100) == b"onetwo\x1b[cthree\x1b[6n"
        finally:
            await pump.close(finish=False)


async def test_output_between_commands_is_shown_above(ends: tuple[Bench, int]) -> None:
    bench, _ = ends
    bench.reader.feed(b"job")
    async with timeout(DEADLINE):
        await bench.pump.reach(3)
    assert bench.shown == [b"job"] and bench.terminal.modes.mid_line


async def test_an_error_ends_the_wait_after_what_came_before(ends: tuple[Bench, int]) -> None:
    bench, _ = ends
    bench.reader.feed(b"ab")
    bench.reader.fail(RshellError("cut"))
    with pytest.raises(RshellError, match="cut"):
        async with timeout(DEADLINE):
            await bench.pump.reach(3)
    assert bench.shown == [b"ab"]


async def test_a_copying_that_fails_does_not_do_so_unseen(
    ends: tuple[Bench, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt stayed, and showed nothing any more."""
    bench, _ = ends
    failures: list[BaseException] = []
    bench.pump.on_failure = failures.append

    async def fails(block: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(bench.pump, "_show_above", fails)
    bench.reader.feed(b"job")
    with pytest.raises(MemoryError):
        async with timeout(DEADLINE):
            await bench.pump.reach(3)
    await asyncio.sleep(0)
    assert [type(error) for error in failures] == [MemoryError]


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
    async with timeout(DEADLINE):
        while size > 0:
            size -= len(await source.read())
        await closing


async def test_what_still_waits_for_the_terminal_does_not_count_as_shown(
    ends: tuple[Bench, int],
) -> None:
    bench, read = ends
    bench.pump.has_terminal = True
    bench.reader.feed(b"seen")
    async with timeout(DEADLINE):
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


async def test_a_terminal_that_takes_nothing_is_told_of_though_a_command_runs_on() -> None:
    with lasting_pipe() as (unwritable, _):
        terminal = terminal_on(unwritable)
        reader = ByteReader(lambda count: None)
        pump = OutputPump(reader, terminal, show)
        pump.has_terminal = True
        told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        pump.on_failure = told.set_result
        async with timeout(DEADLINE):
            while not told.done():  # the first may be on its way when the next is written
                reader.feed(b"x")
                await asyncio.sleep(0)
        assert isinstance(told.result(), StreamError)
        await pump.close(finish=False)
