"""The terminal of a command, on a real one: raw and back, keys, sizes, and what is left on it."""

from __future__ import annotations

import asyncio
import os
import signal
import termios

import pytest

from rshell.aio import timeout
from rshell.cli.streams import Left
from rshell.cli.terminal import _WAITING, Terminal
from rshell.terminal.pty import set_size
from rshell.values import TerminalSize
from tests.support.own_terminal import OwnTerminal
from tests.support.session import until

DEADLINE = 30.0
SIZE = TerminalSize(columns=10, rows=24)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a terminal that is stuck goes without the last word; here none is."""
    monkeypatch.setattr("rshell.cli.streams._LAST_SECONDS", DEADLINE)
    monkeypatch.setenv("TERM", "xterm")


async def test_it_is_raw_inside_and_as_before_after_it_with_modes_undone_and_a_last_word() -> None:
    with OwnTerminal(SIZE) as desk:
        before = desk.modes()
        terminal = Terminal()
        async with timeout(DEADLINE):
            with pytest.raises(KeyError):
                async with terminal:
                    assert desk.modes() != before
                    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
                    await terminal.write(b"\x1b[?1000hmid")
                    terminal.say("ours")
                    terminal.farewell = b"bye"
                    raise KeyError
        assert desk.modes() == before
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        async with timeout(DEADLINE):
            seen = await desk.read_until(b"bye")
        assert seen == b"\x1b[?1000hmid\r\nrshell: ours\r\n\x1b[?1000l\x1b[0mbye"


async def test_a_line_without_an_end_is_marked_once() -> None:
    with OwnTerminal(SIZE) as desk:
        async with timeout(DEADLINE), Terminal() as terminal:
            await terminal.write(b"mid")
            await terminal.drain()
            terminal.put(terminal.tidy() + terminal.tidy())
            mark, blanks = (await desk.read_until(b"\r \r")).removeprefix(b"mid").split(b" ", 1)
            assert mark in ("\x1b[2m\u23ce\x1b[0m".encode(), b"%")
            assert blanks == b" " * (SIZE.columns - 2) + b"\r \r"
            terminal.is_dumb = True
            await terminal.write(b"\x1b[?1000hmid")
            await terminal.drain()
            terminal.put(terminal.tidy())
            assert await desk.read_until(b"\r\n") == b"\x1b[?1000hmid\r\n"


async def test_keys_wait_in_the_terminal_until_somebody_listens_and_after() -> None:
    with OwnTerminal(SIZE) as desk:
        async with timeout(DEADLINE), Terminal() as terminal:
            os.write(desk.master, b"early")
            await asyncio.sleep(0)
            assert not terminal.waiting
            terminal.listen()
            assert await terminal.read() == b"early"
            terminal.stop()
            os.write(desk.master, b"late")
            await asyncio.sleep(0)
            assert not terminal.waiting
            terminal.begin()
            reading = asyncio.ensure_future(terminal.read())
            assert await reading == b"late"


async def test_no_more_keys_are_read_than_may_wait() -> None:
    with OwnTerminal(SIZE) as desk:
        async with timeout(DEADLINE), Terminal() as terminal:
            terminal.waiting += bytes(_WAITING - 2)
            terminal.listen()
            os.write(desk.master, b"abc")
            await until(lambda: len(terminal.waiting) > _WAITING)
            os.write(desk.master, b"def")
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(terminal.waiting) == _WAITING + 1
            terminal.take(_WAITING)
            await until(lambda: len(terminal.waiting) == 4)
            assert terminal.take_rest() == b"cdef"


async def test_an_escape_a_signal_and_a_hangup_leave_with_their_status() -> None:
    with OwnTerminal(SIZE) as desk:

        async def never() -> None:
            await asyncio.Event().wait()

        for cause, status in ((b"~.", 255), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            async with timeout(DEADLINE), Terminal() as terminal:
                terminal.listen()
                if isinstance(cause, bytes):
                    os.write(desk.master, cause)
                else:
                    os.kill(os.getpid(), cause)
                with pytest.raises(Left) as caught:
                    await terminal.unless_left(never())
                assert caught.value.status == status


async def test_the_list_of_escapes_is_shown_and_a_held_tilde_given_back() -> None:
    with OwnTerminal(SIZE) as desk:
        async with timeout(DEADLINE), Terminal() as terminal:
            terminal.listen()
            os.write(desk.master, b"~?")
            await desk.read_until(b"send one ~\r\n")
            os.write(desk.master, b"~")
            await until(lambda: terminal._escapes._holds_tilde)
            assert (terminal.take_rest(), terminal.take_rest()) == (b"~", b"")


async def test_a_new_size_is_told_once() -> None:
    with OwnTerminal(SIZE) as desk:
        sizes: list[TerminalSize] = []
        async with timeout(DEADLINE), Terminal() as terminal:
            assert terminal.size == SIZE
            terminal.on_resize = sizes.append
            terminal.check_size()
            assert sizes == []
            larger = TerminalSize(columns=20, rows=24)
            set_size(desk.master, larger)
            os.kill(os.getpid(), signal.SIGWINCH)
            await until(lambda: sizes == [larger])
            terminal.take_back()
            assert sizes == [larger] and terminal.size == larger


async def test_who_goes_on_after_a_stop_finds_it_raw_its_modes_set_and_the_program_drawing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After SIGSTOP and `fg` the shell's modes were left: keys echoed, and Ctrl-C killed us."""
    monkeypatch.setattr("rshell.cli.terminal._NUDGE", 0.001)
    with OwnTerminal(SIZE) as desk:
        before, sizes = termios.tcgetattr(0), list[TerminalSize]()
        async with timeout(DEADLINE), Terminal() as terminal:
            raw = desk.modes()
            terminal.on_resize = sizes.append
            await terminal.write(b"\x1b[?1049h")
            await desk.read_until(b"\x1b[?1049h")
            termios.tcsetattr(0, termios.TCSANOW, before)  # the shell has it
            with monkeypatch.context() as patched:
                patched.setattr("os.tcgetpgrp", lambda _: -1)
                os.kill(os.getpid(), signal.SIGCONT)  # `bg`: it is not ours to touch
                for _ in range(10):
                    await asyncio.sleep(0)
            assert desk.modes() != raw and sizes == []
            os.kill(os.getpid(), signal.SIGCONT)
            await until(lambda: sizes[-1:] == [SIZE])
            assert desk.modes() == raw and sizes[0] != SIZE and len(sizes) == 2
            await desk.read_until(b"\x1b[?1049h")


async def test_a_terminal_that_has_gone_raises_nothing() -> None:
    with OwnTerminal(SIZE):
        terminal = Terminal()
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        os.close(writing)
        terminal.put(b"lost")
        terminal.say("lost")
        async with timeout(DEADLINE):
            await terminal.output.finish(b"lost")
