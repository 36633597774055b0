"""While a command runs, the terminal is its own: keys to the remote shell, its output back.

Keys are sent on as they are read. What does not fit waits, up to a bound, and `~.` is heard on a
link that is stuck; past that, a paste waits in the terminal. A command that ran before we came, in
a named shell, is followed like one of our own.

One task for the whole session copies output as it comes. While a command has the terminal it is
written as it is; between commands, a background job's output is shown above the prompt.

Hazard: keys typed after the command has ended belong to the next prompt. They are kept back at
once, and what was typed and read by nobody, here or there, goes to that prompt in order.

Hazard: a command has ended for the user when its last byte is on the terminal, which is later
than its ending arrives. `reach` waits for exactly the bytes that came before the ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.terminal import Terminal
from rshell.transport.streams import ByteReader

Start = Callable[[], Coroutine[Any, Any, ShellEnding]]

_LAST_SECONDS = 2.0  # for a terminal that is slow or stuck to take what is left


class OutputPump:
    """Copies `reader` to the terminal; `show_above` shows what comes between commands."""

    def __init__(
        self,
        reader: ByteReader,
        terminal: Terminal,
        show_above: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self.has_terminal = False
        self._reader = reader
        self._terminal = terminal
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
        return max(0, self._copied - self._terminal.output.pending)

    async def reach(self, count: int) -> None:
        """Wait until `count` bytes in all are on the terminal. Raises what ended the copying."""
        while self._copied < count:
            if self._task.done():
                self._task.result()
                return
            self._changed.clear()
            await self._changed.wait()
        await self._terminal.drain()

    async def close(self, *, finish: bool) -> None:
        """Stop copying. With `finish`, the reader has ended, and what it has left is shown.

        What was handed to the terminal is on it afterwards: what puts its modes right comes last.
        """
        if finish:
            await asyncio.wait((self._task,), timeout=_LAST_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._terminal.output.finish()

    async def _run(self) -> None:
        try:
            async for block in self._reader:
                if self.has_terminal:
                    await self._terminal.write(block)
                else:
                    self._terminal.modes.feed(block)
                    await self._show_above(block)
                self._copied += len(block)
                self._changed.set()
        finally:
            self._changed.set()


class Passthrough:
    """Runs commands on the user's own terminal.

    `give_back` gets what was typed and read by no command.
    """

    def __init__(
        self,
        line: ShellLine,
        terminal: Terminal,
        pump: OutputPump,
        give_back: Callable[[str], None],
    ) -> None:
        self._give_back = give_back
        self._line = line
        self._terminal = terminal
        self._pump = pump
        self._channel = line.channel
        self._holds_back = False  # the command has ended; its keys stay here
        self._mark = 0
        terminal.on_keys = self._send_waiting
        line.on_done = self._note_end
        line.on_unread = give_back

    async def run(self, command: str) -> ShellEnding:
        """Run `command` and return its ending, once all its output is on the terminal.

        Raises Left, and what cuts the session short.
        """
        return await self._pass(lambda: self._line.run(command))

    async def follow(self) -> ShellEnding:
        """Return the ending of the command that ran when we attached; as `run`."""
        return await self._pass(self._line.follow)

    async def show(self, count: int) -> None:
        """Put the first `count` bytes of output on the terminal, which nobody has then.

        Keys are for the prompt after it, but the escapes are heard, for a link may be stuck.
        Raises as `run` does.
        """
        self._begin(holds_back=True)
        try:
            await self._terminal.unless_left(self._pump.reach(count))
        finally:
            self._give_up()
        self._give_back(self._terminal.take_rest().decode(errors="surrogateescape"))

    async def _pass(self, start: Start) -> ShellEnding:
        self._channel.on_room = self._send_waiting
        self._begin(holds_back=False)
        try:
            done = await self._terminal.unless_left(self._run(start))
        finally:
            self._channel.on_room = None
            self._give_up()
        keys = self._terminal.take_rest()
        self._give_back(done.unread + keys.decode(errors="surrogateescape"))
        return done

    def _begin(self, *, holds_back: bool) -> None:
        """Take the terminal; `holds_back` says that its keys stay here."""
        self._holds_back = holds_back
        self._pump.has_terminal = True
        self._terminal.begin()

    def _give_up(self) -> None:
        """Leave the terminal to the prompt; where none follows, what comes is still the command's.

        Above a prompt, output is shown with the modes undone, and on lines of its own.
        """
        self._terminal.stop()
        self._pump.has_terminal = self._channel.is_over or self._terminal.is_left

    async def _run(self, start: Start) -> ShellEnding:
        done = await start()
        await self._pump.reach(self._mark)
        return done

    def _note_end(self, done: ShellEnding) -> None:
        self._mark = self._pump.received
        self._holds_back = True

    def _send_waiting(self) -> None:
        """Send the keys that fit."""
        while self._terminal.waiting and not self._holds_back and not self._channel.is_over:
            room = self._channel.room
            if room <= 0:
                self._channel.want_room()
                break
            self._line.write_nowait(self._terminal.take(room))
