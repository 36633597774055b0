"""Pseudo-terminals: flags, sizes, and what happens to the slave's readers."""

from __future__ import annotations

import os
import termios

import pytest

from rshell.terminal.pty import DEFAULT_SIZE, get_size, open_pty, set_size
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
