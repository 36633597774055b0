"""The kernel's terminals: making a pair, sizes, and the modes of the one that we run on.

`os.openpty` gives descriptors that no child inherits by accident. Only the master is made
non-blocking: the two ends are separate open files, and a program on the slave keeps the blocking
terminal that it expects.

Hazards: with no slave open anywhere, the master's read says EIO rather than an end of file.
A pair that was never given a size reports 0 by 0, which is no TerminalSize. A process killed with
SIGKILL restores no modes; nobody can.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

from rshell.values import TerminalSize

DEFAULT_SIZE = TerminalSize(columns=80, rows=24)

# `termios` does not name it. Linux alone has this value.
_IUTF8 = 0o40000


def open_pty(size: TerminalSize | None = None) -> tuple[int, int]:
    """Open a pair and give it `size`, 80 by 24 without one.

    Returns (master, slave), which the caller closes; both are close-on-exec and the master is
    non-blocking. Raises OSError where the machine has no terminals left.
    """
    master, slave = os.openpty()
    try:
        os.set_blocking(master, False)
        set_size(master, size or DEFAULT_SIZE)
        _erase_whole_characters(slave)
    except BaseException:
        os.close(master)
        os.close(slave)
        raise
    return master, slave


def open_idle_terminal() -> int:
    """Open one end of a terminal whose other end nobody has. The caller closes it.

    It shows nothing, controls nobody, and takes no bytes: writing fails. Raises OSError where the
    machine has no terminals left, or none at all.
    """
    return os.open("/dev/ptmx", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)


def set_size(fd: int, size: TerminalSize) -> None:
    """Set the size of the terminal that `fd` is an end of.

    When it changed, the kernel sends SIGWINCH to the terminal's foreground group.
    Raises OSError if `fd` is no terminal.
    """
    sizes = _sizes(fd)
    sizes[:2] = array.array("H", [size.rows, size.columns])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, sizes)


def get_size(fd: int) -> TerminalSize:
    """Return the size of the terminal `fd`; 80 by 24 if it was never told one.

    Raises OSError if `fd` is no terminal.
    """
    rows, columns, *_ = _sizes(fd)
    if not (rows and columns):
        return DEFAULT_SIZE
    return TerminalSize(columns=columns, rows=rows)


def _sizes(fd: int) -> array.array[int]:
    """Return the kernel's `winsize`, which `termios` reads only from Python 3.11 on."""
    sizes = array.array("H", [0] * 4)  # rows, columns, and both again in pixels
    fcntl.ioctl(fd, termios.TIOCGWINSZ, sizes)
    return sizes


def _erase_whole_characters(slave: int) -> None:
    """Let Backspace in the kernel's own line editing (`cat`, `read`) take a UTF-8 character."""
    if sys.platform != "linux":
        return
    attributes = termios.tcgetattr(slave)
    attributes[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, attributes)


def take_unread(slave: int) -> bytes:
    """Take what was typed on the terminal and read by nobody, an unfinished line included.

    The terminal leaves its line mode for a moment, which makes an unfinished line readable.
    """
    before = termios.tcgetattr(slave)
    now = termios.tcgetattr(slave)
    now[3] &= ~termios.ICANON
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
    termios.tcsetattr(slave, termios.TCSANOW, now)
    unread = bytearray()
    poll = select.poll()
    poll.register(slave, select.POLLIN)
    try:
        # Unlike FIONREAD, poll waits for the kernel's worker that brings what was just written.
        while poll.poll(0) and (size := bytes_waiting(slave)):
            unread += os.read(slave, size)
    finally:
        termios.tcsetattr(slave, termios.TCSANOW, before)
    if before[3] & termios.ICANON:
        unread = unread.replace(b"\0", b"\x04")  # the kernel's note of a Ctrl-D
    return bytes(unread)


def bytes_waiting(fd: int) -> int:
    """Return how many bytes a pipe or a terminal holds that can be read."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


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


def make_raw(fd: int) -> None:
    """Hand every key to the program, at once: the terminal was ours before, and is again.

    Does nothing where it has gone.
    """
    with contextlib.suppress(termios.error):
        tty.setraw(fd, termios.TCSANOW)


def is_in_foreground(fd: int) -> bool:
    """Whether this process may use the terminal: its modes are for the foreground to set."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True  # it has no foreground: it is not our controlling terminal


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
