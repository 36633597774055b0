"""Questions and transfers at the prompt, on a terminal of pipes; the client does nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from rshell.aio import timeout
from rshell.channels.files.progress import TransferTotals
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.errands.client import ErrandPlan
from rshell.channels.shell.messages import Errand
from rshell.cli.prompt.errands import Errands
from rshell.cli.prompt.passthrough import OutputPump, Passthrough
from rshell.cli.streams import OutputDescriptor
from rshell.cli.terminal import Terminal
from rshell.client.client import Client
from rshell.transport.streams import ByteReader
from rshell.values import Bounds, TerminalSize

DEADLINE = 30.0
PUT = Errand(1, "put", "/there", ("a.txt",))


class Line:
    """A command that runs until `stop` is called."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.is_starting = False
        self.on_done: Callable[[Any], None] = lambda done: None
        self.on_errand: Callable[[Errand], None] = lambda errand: None
        self.on_errand_over: Callable[[int], None] = lambda number: None
        self.got = b""
        self.ended: list[tuple[int, int, str]] = []
        self.has_ended = asyncio.Event()
        self.stop = asyncio.Event()

    async def run(self, command: str) -> Any:
        await self.stop.wait()
        self.on_done(None)
        return Done()

    def write_nowait(self, data: bytes) -> None:
        self.got += data

    def stop_waiting(self) -> None:
        pass

    def end_errand(self, number: int, status: int, reason: str = "") -> None:
        self.ended.append((number, status, reason))
        self.has_ended.set()


class Channel:
    room = 1000
    is_over = False
    on_room: Callable[[], None] | None = None


class Done:
    unread = ""


class FakeClient:
    """Does what it is told, or waits; `links` are its own limits."""

    def __init__(self, pause: float) -> None:
        self.links = self
        self.limits = Bounds(answer_pause=pause)
        self.plans: list[ErrandPlan] = []
        self.waits = False

    async def run_errand(self, plan: ErrandPlan, **_: Any) -> TransferTotals:
        self.plans.append(plan)
        if self.waits:
            await asyncio.Event().wait()
        return TransferTotals()


class Desk:
    """A command at work, at whose terminal somebody types; `shown` is what is on the terminal."""

    def __init__(self, keyboard: int, client: FakeClient, out: int) -> None:
        self.client, self.line = client, Line()
        self.reader = ByteReader(lambda count: None)
        self.terminal = Terminal()
        self.terminal.output = OutputDescriptor(out)
        self.pump = OutputPump(self.reader, self.terminal, self._above)
        self.back: list[str] = []
        passing = Passthrough(
            cast(ShellLine, self.line), self.terminal, self.pump, self.back.append, self.back.append
        )
        self.errands = Errands(
            cast(Client, client),
            cast(ShellLine, self.line),
            self.terminal,
            self.pump,
            passing,
            "box",
        )
        self.passing = passing
        self._keyboard, self._shown = keyboard, Path(f"/proc/self/fd/{out}")

    async def _above(self, block: bytes) -> None:
        raise AssertionError("nothing is shown above a prompt here")

    @property
    def shown(self) -> str:
        return self._shown.read_bytes().decode()

    async def sees(self, text: str) -> None:
        await self.until(lambda: text in self.shown)

    async def kept(self, keys: bytes) -> None:
        """Wait until keys are kept for the command while a question is there."""
        await self.until(lambda: self._kept() == keys)

    def _kept(self) -> bytes:
        asking = self.errands._asking
        return b"" if asking is None else bytes(asking._keys.kept)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0.001)

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    async def answered(self) -> tuple[int, int, str]:
        await self.line.has_ended.wait()
        self.line.has_ended.clear()
        return self.line.ended[-1]


@asynccontextmanager
async def at_work(keyboard: int, tmp_path: Path, *, pause: float = 0.0) -> AsyncIterator[Desk]:
    out = os.open(tmp_path / "terminal", os.O_RDWR | os.O_CREAT)
    desk = Desk(keyboard, FakeClient(pause), out)
    async with timeout(DEADLINE):
        running = asyncio.ensure_future(desk.passing.run("cat"))
        await asyncio.sleep(0)
        try:
            yield desk
        finally:
            desk.line.stop.set()
            await running
            await desk.errands.close()
            await desk.pump.close(finish=False)
            os.close(out)


@pytest.fixture
async def keyboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[int]:
    """Descriptor 0 is a pipe; yield the end to type at."""
    size = TerminalSize(columns=80, rows=24)
    monkeypatch.setattr("rshell.cli.terminal.get_size", lambda fd: size)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    read, write = os.pipe()
    before = os.dup(0)
    os.dup2(read, 0)
    os.close(read)
    yield write
    os.dup2(before, 0)
    os.close(before)
    os.close(write)


async def test_output_waits_for_the_answer_and_hides_no_question(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path) as desk:
        desk.reader.feed(b"before\x1b[8m\x1b[?25l\x1b]0;no end")
        desk.line.on_errand(PUT)
        await desk.sees(f"box asks for {tmp_path}/a.txt (1 B). Send it? [y/N] ")
        desk.reader.feed(b"after")
        wanted = "no end\x1b\\\x1b[?25h\x1b[0m\r\n\x1b[Jbox asks"
        assert wanted in desk.shown and "after" not in desk.shown
        desk.type(b"y")
        await desk.sees("[y/N] y")
        desk.type(b"\r")
        assert await desk.answered() == (1, 0, "")
        assert [plan.pins[f"{tmp_path}/a.txt"].path for plan in desk.client.plans] == [
            f"{tmp_path}/a.txt"
        ]
        await desk.sees("after")
        assert "y\r\n\x1b[?25l" in desk.shown  # as the command had it
        desk.type(b"for the command")
        await desk.until(lambda: desk.line.got == b"for the command")


async def test_two_noes_are_enough_for_a_command_and_one_never_for_all(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path) as desk:
        for number, keys, status in ((1, b"\r", 1), (2, b"\x03", 130)):
            desk.line.on_errand(PUT.replace(number=number))
            await desk.sees("Send it? " if number == 1 else "never in this session] ")
            desk.type(keys)
            assert (await desk.answered())[:2] == (number, status)
        assert desk.line.got == b"\x03"  # it is the command's as well
        await desk.sees("what else this command asks for is refused")
        desk.line.on_errand(PUT.replace(number=3))
        assert (await desk.answered())[:2] == (3, 1)
        desk.errands.begin_anew()
        desk.line.on_errand(PUT.replace(number=4))
        await desk.until(lambda: desk.shown.count("Send it? ") == 3)
        desk.type(b"never\r")
        assert (await desk.answered())[:2] == (4, 1)
        desk.errands.begin_anew()
        desk.line.on_errand(PUT.replace(number=5))
        assert await desk.answered() == (
            5, 1, "the answer was no before, and nobody is asked again",
        )  # fmt: skip
        assert desk.client.plans == [] and desk.shown.count("Send it? ") == 3


async def test_a_file_that_is_not_here_is_no_news_for_the_server(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path) as desk:
        desk.line.on_errand(Errand(1, "put", "/there", ("none",)))
        await desk.sees("none: No such file or directory. Nothing can be done. [Enter] ")
        assert desk.line.ended == []
        desk.type(b"y\r")
        assert await desk.answered() == (1, 1, "the answer was no")


async def test_without_a_name_the_person_says_which(keyboard: int, tmp_path: Path) -> None:
    async with at_work(keyboard, tmp_path) as desk:
        desk.line.on_errand(Errand(1, "put", "/there"))
        await desk.sees("box asks for files of this machine. Which? ")
        desk.type(b"a.txt\r")
        await desk.sees("a.txt (1 B). Send it? [y/N] ")
        desk.type(b"y\r")
        assert (await desk.answered())[:2] == (1, 0)
        desk.line.on_errand(Errand(2, "put", "/there"))
        await desk.until(lambda: desk.shown.count("Which? ") == 2)
        desk.type(b"\r")
        assert (await desk.answered())[:2] == (2, 1)
        assert len(desk.client.plans) == 1


async def test_what_was_typed_before_a_question_is_the_commands(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path, pause=1e9) as desk:
        desk.line.on_errand(PUT)
        await desk.sees("[y/N] ")
        desk.type(b"y\r")
        await desk.kept(b"y\r")
        desk.line.on_errand_over(1)  # and it is taken back, as the command has gone
        await desk.until(lambda: desk.line.got == b"y\r")
        assert desk.line.ended == [] and desk.client.plans == []


async def test_a_server_that_takes_everything_back_is_not_listened_to_for_ever(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path) as desk:
        for number in range(1, 21):
            desk.line.on_errand(PUT.replace(number=number))
            await desk.until(lambda: desk.errands.is_asking)
            desk.line.on_errand_over(number)
            await desk.until(lambda: not desk.errands.is_asking)
        desk.line.on_errand(PUT.replace(number=99))
        assert (await desk.answered())[:2] == (99, 1)
        assert len(desk.line.ended) == 1


async def test_the_end_of_the_command_ends_its_question_at_once(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path, pause=1e9) as desk:
        desk.line.on_errand(PUT)
        await desk.sees("[y/N] ")
        desk.type(b"ls\r")
        await desk.kept(b"ls\r")
    assert desk.back[-1] == "ls\r" and desk.line.ended == []
    desk.line.on_errand(PUT.replace(number=2))  # at the prompt nobody is asked
    assert (await desk.answered())[:2] == (2, 255)


async def test_control_c_stops_a_transfer_and_is_the_commands_too(
    keyboard: int, tmp_path: Path
) -> None:
    async with at_work(keyboard, tmp_path) as desk:
        desk.client.waits = True
        desk.line.on_errand(PUT)
        await desk.sees("[y/N] ")
        desk.type(b"y\r")
        await desk.until(lambda: desk.client.plans)
        desk.type(b"\x03")
        assert await desk.answered() == (1, 130, "")
        assert desk.line.got == b"\x03"
        await desk.sees("rshell-put: stopped; the same command goes on from here\r\n")
