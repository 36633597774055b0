"""The prompt's small parts; the whole is tried at a terminal in tests/integration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.app import _restarted, _write
from rshell.values import ExitStatus


@contextmanager
def terminal() -> Iterator[int]:
    """Descriptor 1 is a pipe; yield its other end. No fixture: pytest captures anew after those."""
    read, write = os.pipe()
    before = os.dup(1)
    os.dup2(write, 1)
    os.close(write)
    try:
        yield read
    finally:
        os.dup2(before, 1)
        os.close(before)
        try:
            os.close(read)
        except OSError:
            pass  # the test has closed it


def test_all_is_written_in_order() -> None:
    with terminal() as end:
        _write(b"one")
        _write(b"two")
        assert os.read(end, 100) == b"onetwo"


def test_a_terminal_that_has_gone_raises_nothing() -> None:
    with terminal() as end:
        os.close(end)
        _write(b"lost")


def test_the_notice_says_how_the_shell_ended() -> None:
    killed = ShellEnding(1, ExitStatus(signal="SIGKILL", signal_number=9), "/", 0, 0, 0.0)
    assert "SIGKILL" in _restarted(killed) and "a new one" in _restarted(killed)
