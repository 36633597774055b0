"""The remote shell's output, on its way to the terminal.

Strategy: one task for the whole session copies blocks as they come. While a command has the
terminal they are written as they are; between commands, a background job's output is shown
above the prompt, by whoever owns the prompt.

Hazard: a command has ended for the user when its last byte is on the terminal, which is later
than its ending arrives. `reach` waits for exactly the bytes that came before the ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rshell.cli.streams import OutputDescriptor
from rshell.terminal.output import ModeTracker
from rshell.transport.streams import ByteReader

_LAST_SECONDS = 2.0  # for a terminal that is slow or stuck to take what is left


class OutputPump:
    """Copies `reader` to `output`; `show_above` shows what comes between commands.

    `modes` follows what commands print. `error` is what ended the copying, None while it goes on.
    """

    def __init__(
        self,
        reader: ByteReader,
        output: OutputDescriptor,
        show_above: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self.modes = ModeTracker()
        self.has_terminal = False
        self._reader = reader
        self._output = output
        self._show_above = show_above
        self._copied = 0
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def received(self) -> int:
        """How many bytes have arrived so far."""
        return self._reader.received

    @property
    def shown(self) -> int:
        """How many bytes are on the terminal, as far as can be known here."""
        return max(0, self._copied - self._output.pending)

    async def reach(self, count: int) -> None:
        """Wait until `count` bytes in all are on the terminal. Raises what ended the copying."""
        while self._copied < count:
            if self._task.done():
                self._task.result()
                return
            self._changed.clear()
            await self._changed.wait()
        await self._output.drain()

    async def close(self, *, finish: bool) -> None:
        """Stop copying. With `finish`, the reader has ended, and what it has left is shown.

        What was handed to the terminal is on it afterwards: whoever puts its modes right comes
        last.
        """
        if finish:
            await asyncio.wait((self._task,), timeout=_LAST_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._output.finish()

    async def _run(self) -> None:
        try:
            async for block in self._reader:
                self.modes.feed(block)
                if self.has_terminal:
                    await self._output.write(block)
                else:
                    await self._show_above(block)
                self._copied += len(block)
                self._changed.set()
        finally:
            self._changed.set()
