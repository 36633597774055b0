"""The local terminal while a remote program owns it.

Strategy: one context manager changes the modes and puts them back on every way out, an
exception included.

Hazard: a process killed with SIGKILL restores nothing; nobody can.
"""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Iterator


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Hand every key to the program as it comes; the modes before are restored on leaving.

    Raises termios.error if `fd` is no terminal.
    """
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead is for the program too
        yield
    finally:
        # At once: a terminal that takes no output would never be drained.
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(fd, termios.TCSANOW, before)


def process_output(fd: int, wanted: bool) -> None:
    """Have a raw terminal make lines of newlines, or not, for a program of this machine on it.

    Does nothing where it is not raw any more, or has gone.
    """
    with contextlib.suppress(termios.error):
        modes = termios.tcgetattr(fd)
        if not modes[3] & termios.ICANON:
            modes[1] = modes[1] | termios.OPOST if wanted else modes[1] & ~termios.OPOST
            termios.tcsetattr(fd, termios.TCSADRAIN, modes)


def is_terminal(fd: int) -> bool:
    """Whether `fd` is an open terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
