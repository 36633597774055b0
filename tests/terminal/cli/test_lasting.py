"""Watching at a terminal, with a named shell that does what a test wants."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import cast

import pytest

from rshell.aio import Opening, timeout
from rshell.channels.shell.messages import CommandBegun, Joined, ShellEnding, Skipped
from rshell.channels.shell.named.client import ShellWatch, WatchEvent
from rshell.cli.lasting import run_watch
from rshell.client.client import Client
from rshell.errors import ChannelReset, LinkLost, RshellError
from rshell.values import ExitStatus, TerminalSize
from tests.support.links import Links
from tests.support.own_terminal import OwnTerminal

SIZE = TerminalSize(columns=80, rows=24)
LARGER = TerminalSize(columns=81, rows=24)
DONE = ShellEnding(1, ExitStatus(code=0), "/", 0, 0, 0.5)
DEADLINE = 30.0
END = b"<what is shown ends here>"


class Watched:
    """Yields these events, then raises the error, ends, or goes on in silence."""

    def __init__(
        self,
        *events: WatchEvent,
        error: RshellError | None = None,
        goes_on: bool = False,
        found: Joined | None = None,
    ) -> None:
        self.found = found or Joined(True, 1, SIZE, 0, 0)
        self._events = events
        self._error = error
        self._goes_on = goes_on
        self.quiet = asyncio.Event()
        self.told = asyncio.Event()
        self.is_closed = False
        self.links = Links()

    async def __aenter__(self) -> Watched:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[WatchEvent]:
        for event in self._events:
            yield event
        if self._error is not None:
            raise self._error
        if self._goes_on:
            self.quiet.set()
            await asyncio.Event().wait()

    def watch_named_shell(self, name: str, size: TerminalSize) -> Opening[ShellWatch]:
        assert (name, size) == ("work", SIZE)

        async def start() -> ShellWatch:
            return cast(ShellWatch, self)

        return Opening(start)


async def watch(
    shell: Watched, *, keys: bytes = b"", number: int = 0, when: asyncio.Event | None = None
) -> tuple[int, str]:
    """Watch until the end, or until these keys, or this signal, have come.

    They come when it is quiet, or at another event.
    """
    with OwnTerminal(SIZE) as terminal:
        before = terminal.modes()
        async with timeout(DEADLINE):
            running = asyncio.ensure_future(run_watch(cast(Client, shell), "work"))
            if keys or number:
                await (when or shell.quiet).wait()
            if keys:
                os.write(terminal.master, keys)
            if number:
                os.kill(os.getpid(), number)
            try:
                status = await running
            finally:
                assert terminal.modes() == before
            os.write(1, END)
            shown = await terminal.read_until(END)
    return status, shown.removesuffix(END).decode()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a terminal that is stuck goes without the last word; here none is."""
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", DEADLINE)


@pytest.fixture
def dim(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TERM", "xterm")
    return "\x1b[2m{}\x1b[0m\r\n"


async def test_output_is_shown_as_it_is_and_commands_on_lines_of_their_own(dim: str) -> None:
    shell = Watched(CommandBegun(1, "ls\x1b[2J", "/"), b"\x1b[31mred\x1b[0m\r\n", DONE)
    status, shown = await watch(shell)
    assert status == 0
    first, rest = shown.split("\r\n", 1)
    assert "watching work" in first
    assert rest.startswith(dim.format("$ ls\\x1b[2J") + "\x1b[31mred\x1b[0m\r\n")
    assert shown.endswith("rshell: work has ended\r\n")


async def test_what_runs_already_is_named(dim: str) -> None:
    shell = Watched(b"x", found=Joined(True, 1, SIZE, 0, 0, running="make"))
    assert dim.format("$ make") + "x" in (await watch(shell))[1]


async def test_missing_bytes_and_a_larger_terminal_are_told_the_latter_once(dim: str) -> None:
    found = Joined(True, 1, LARGER, 0, 0)
    _, shown = await watch(Watched(b"half", Skipped(7), LARGER, SIZE, LARGER, found=found))
    assert "half\r\nrshell: 7 bytes are missing here" in shown
    assert shown.count("rshell: work is 81 by 24, larger than this window\r\n") == 1
    _, shown = await watch(Watched(SIZE, LARGER))
    assert shown.count("larger than this window") == 1
    assert "larger" not in (await watch(Watched(SIZE)))[1]


async def test_modes_are_put_right_when_a_command_ends_and_when_we_leave(dim: str) -> None:
    on, off = b"\x1b[?1049h\x1b[?1000h", "\x1b[?1049l\x1b[?1000l"
    _, shown = await watch(Watched(on, DONE, b"after"))
    assert off in shown.partition("after")[0]
    status, shown = await watch(Watched(on, goes_on=True), keys=b"\x03")
    assert status == 0 and off in shown.partition("no longer watching")[0]


async def test_keys_do_nothing_but_leave() -> None:
    for keys in (b"\x03", b"qd~d\r\x03", b"typed\x04", b"~."):
        status, shown = await watch(Watched(goes_on=True), keys=keys)
        assert status == 0
        assert shown.endswith("rshell: no longer watching work, which goes on\r\n")


async def test_a_signal_leaves_with_its_number() -> None:
    status, shown = await watch(Watched(goes_on=True), number=signal.SIGTERM)
    assert status == 128 + signal.SIGTERM and "no longer" not in shown


async def test_a_shell_that_somebody_ends_has_ended() -> None:
    status, shown = await watch(Watched(b"x", error=ChannelReset("killed", "it was ended")))
    assert status == 0 and shown.endswith("x\r\nrshell: work has ended\r\n")


@pytest.mark.parametrize("error", [LinkLost("it is gone"), ChannelReset("failed", "oops")])
async def test_whatever_else_ends_it_is_an_error(error: RshellError) -> None:
    with pytest.raises(type(error)):
        await watch(Watched(error=error))


async def test_a_cut_and_a_return_are_told_on_lines_of_their_own() -> None:
    shell = Watched(b"half", goes_on=True)
    watching = asyncio.ensure_future(watch(shell, number=signal.SIGTERM, when=shell.told))
    await shell.quiet.wait()
    for is_up in (False, False, True):
        shell.links.change(is_up=is_up)
        for _ in range(20):
            await asyncio.sleep(0)
    shell.told.set()
    _, shown = await watching
    assert shown.count("the link was cut") == 1
    assert (
        "half\r\nrshell: the link was cut; trying to come back\r\nrshell: the link is back" in shown
    )
