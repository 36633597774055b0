"""The kernel's terminals: flags, sizes, and modes that are undone on every way out."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import pytest

from rshell.terminal.pty import (
    DEFAULT_SIZE,
    get_size,
    is_terminal,
    open_pty,
    process_output,
    raw_mode,
    set_size,
)
from rshell.values import TerminalSize


def test_the_pair_is_not_inherited_and_only_the_master_does_not_block() -> None:
    master, slave = open_pty(TerminalSize(columns=132, rows=43))
    try:
        assert not os.get_inheritable(master)
        assert not os.get_inheritable(slave)
        assert not os.get_blocking(master)
        assert os.get_blocking(slave)
        assert get_size(slave) == TerminalSize(columns=132, rows=43)
    finally:
        os.close(master)
        os.close(slave)


def test_a_new_size_is_seen_at_the_other_end() -> None:
    master, slave = open_pty(None)
    try:
        assert get_size(slave) == DEFAULT_SIZE
        set_size(master, TerminalSize(columns=1, rows=65535))
        assert get_size(slave) == TerminalSize(columns=1, rows=65535)
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_that_was_never_told_a_size_has_the_usual_one() -> None:
    master, slave = os.openpty()
    try:
        assert get_size(slave) == DEFAULT_SIZE
    finally:
        os.close(master)
        os.close(slave)


def test_a_pipe_is_refused() -> None:
    ours, theirs = os.pipe()
    try:
        with pytest.raises((OSError, termios.error)):
            set_size(ours, DEFAULT_SIZE)
        with pytest.raises((OSError, termios.error)):
            get_size(ours)
    finally:
        os.close(ours)
        os.close(theirs)


def test_backspace_takes_a_whole_utf8_character() -> None:
    master, slave = open_pty()
    try:
        os.write(master, "aé\x7fb\n".encode())
        assert os.read(slave, 100) == b"ab\n"
    finally:
        os.close(master)
        os.close(slave)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal."""
    master, slave = open_pty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_every_key_comes_as_it_is_typed(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    keys = b"\x03\x04\x1a\x1c\r\n\x7f\x11\x13q"
    with raw_mode(slave):
        os.write(master, keys)
        assert os.read(slave, 100) == keys
        os.write(slave, b"a\nb")
        assert os.read(master, 100) == b"a\nb"  # and nothing was echoed


def test_the_modes_before_are_back_after_it(terminal: tuple[int, int]) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with raw_mode(slave):
        assert termios.tcgetattr(slave) != before
    assert termios.tcgetattr(slave) == before


def test_a_program_of_this_machine_gets_its_lines_and_a_raw_terminal_back_after_it(
    terminal: tuple[int, int],
) -> None:
    """An editor that was started from a raw terminal wrote a staircase."""
    master, slave = terminal
    before = termios.tcgetattr(slave)
    with raw_mode(slave):
        raw = termios.tcgetattr(slave)
        process_output(slave, True)
        os.write(slave, b"a\nb")
        shown = b""
        while len(shown) < 4:  # it comes in pieces
            shown += os.read(master, 100)
        assert shown == b"a\r\nb"
        process_output(slave, False)
        assert termios.tcgetattr(slave) == raw
    process_output(slave, False)  # too late: it is not ours any more
    assert termios.tcgetattr(slave) == before


def test_a_terminal_that_has_gone_is_nobodys_error() -> None:
    reading, writing = os.pipe()
    process_output(reading, True)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_modes_are_back_after_an_exception_too(
    terminal: tuple[int, int], error: type[BaseException]
) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with pytest.raises(error), raw_mode(slave):
        raise error
    assert termios.tcgetattr(slave) == before


def test_nesting_goes_back_one_step_at_a_time(terminal: tuple[int, int]) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with raw_mode(slave):
        raw = termios.tcgetattr(slave)
        with raw_mode(slave):
            pass
        assert termios.tcgetattr(slave) == raw
    assert termios.tcgetattr(slave) == before


def test_modes_that_a_program_left_are_undone(terminal: tuple[int, int]) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with raw_mode(slave):
        odd = termios.tcgetattr(slave)
        odd[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(slave, termios.TCSANOW, odd)
    assert termios.tcgetattr(slave) == before


def test_what_is_no_terminal_is_refused_and_left_alone() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(termios.error), raw_mode(reading):
            pytest.fail("a pipe has no modes")
        assert not is_terminal(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_what_is_a_terminal(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    assert is_terminal(slave)
    assert is_terminal(master)
    closed = os.dup(slave)
    os.close(closed)
    assert not is_terminal(closed)
    assert not is_terminal(-1)
