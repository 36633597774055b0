"""The keys that the hooks bind, which nobody types: pressing them, and taking them back."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from rshell.execution.piped_process import PipedProcess
from rshell.terminal.pty import take_unread

TAKE, PROBE, ASK = b"\x1b[7771~", b"\x1b[7772~", b"\x1b[7773~"
_OURS = re.compile(b"|".join(map(re.escape, (TAKE, PROBE, ASK))))


def press(piped: PipedProcess, keys: bytes) -> None:
    """Press keys that nobody typed; where the terminal's queue is full, a later look does."""
    if piped.terminal >= 0:
        with suppress(BlockingIOError):
            os.write(piped.terminal, keys)


def take_back_keys(piped: PipedProcess) -> bytes:
    """Take back the keys that nobody has read; return those that are not ours."""
    return b"" if piped.slave < 0 else _OURS.sub(b"", take_unread(piped.slave))
