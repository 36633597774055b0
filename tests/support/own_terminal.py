"""A terminal on descriptors 0 and 1 of this very process, for what takes them over."""

from __future__ import annotations

import asyncio
import os
import termios

from rshell.terminal.pty import open_pty
from rshell.values import TerminalSize


class OwnTerminal:
    """Descriptors 0 and 1 are one terminal inside its `with` block; `master` is the person's side.

    It is no fixture: pytest captures the descriptors anew after those.
    """

    def __init__(self, size: TerminalSize) -> None:
        self._size = size

    def __enter__(self) -> OwnTerminal:
        self.master, self._slave = open_pty(self._size)
        self._saved = [os.dup(fd) for fd in (0, 1)]
        for fd in (0, 1):
            os.dup2(self._slave, fd)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for fd, saved in enumerate(self._saved):
            os.dup2(saved, fd)
            os.close(saved)
        os.close(self._slave)
        os.close(self.master)

    def modes(self) -> list[object]:
        return list(termios.tcgetattr(self._slave))

    async def read_until(self, ending: bytes) -> bytes:
        """Return what is shown from now on, once it ends so."""
        seen = b""
        while not seen.endswith(ending):
            try:
                seen += os.read(self.master, 65536)
            except BlockingIOError:
                await asyncio.sleep(0)
        return seen
