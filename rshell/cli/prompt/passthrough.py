"""While a command runs, the terminal is its own: keys to the remote shell, its output back.

Keys are sent on as they are read. What does not fit waits, up to a bound, and `~.` is heard on a
link that is stuck; past that, a paste waits in the terminal. A command that ran before we came, in
a named shell, is followed like one of our own.

One task for the whole session copies output as it comes. While a command has the terminal it is
written as it is; between commands, a background job's output is shown above the prompt.

Hazard: keys typed after the command has ended belong to the next prompt. They are kept back at
once, and what was typed and read by nobody, here or there, goes to that prompt in order.

Hazard: what the server says was read by nobody is the server's word. If it is what was typed last
on this terminal, as the terminal there would keep it, it acts as keys. Else it is text, which is
put into the line and does nothing, whatever is in it.

Hazard: what a named shell printed before we came is shown again. Questions to a terminal in there
were answered long ago, and are taken out.

Hazard: a command has ended for the user when its last byte is on the terminal, which is later
than its ending arrives. `reach` waits for exactly the bytes that came before the ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.standard import StreamError
from rshell.cli.terminal import Terminal
from rshell.errors import RshellError
from rshell.terminal.answers import Questions
from rshell.terminal.marks import MarkFilter
from rshell.transport.streams import ByteReader

Start = Callable[[], Coroutine[Any, Any, ShellEnding]]

_TYPED = 1024 * 1024  # bytes that are remembered, since they may come back
_EDITED = 16 * 1024  # characters; a terminal in line mode holds less
_INTERRUPT = b"\x03"
_LAST_SECONDS = 2.0  # for a terminal that is slow or stuck to take what is left


class OutputPump:
    """Copies `reader` to the terminal; `show_above` shows what comes between commands.

    The first `again` bytes are output that was shown before. `marks` takes the shell's marks out,
    except while that has the terminal to itself (`is_foreign`). `on_failure` gets what keeps the
    terminal from being written to; that the channel was cut short, its owner knows.
    """

    def __init__(
        self,
        reader: ByteReader,
        terminal: Terminal,
        show_above: Callable[[bytes], Awaitable[None]],
        *,
        again: int = 0,
        marks: MarkFilter | None = None,
    ) -> None:
        self.has_terminal = self.is_foreign = False
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._again = again
        self._questions = Questions()
        self._marks = marks
        self._reader = reader
        self._terminal = terminal
        self._show_above = show_above
        self._copied = 0
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()  # to write
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._note_failure)

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
        if self._marks is not None and (kept := self._marks.rest()):
            await self._terminal.write(kept)
        await self._terminal.drain()

    async def hold(self) -> None:
        """Write nothing more from now on, until `release`; what has come so far is on the terminal.

        Cancelling is safe. Raises what keeps the terminal from being written to.
        """
        count = self._reader.received
        while self._copied < count and not self._task.done():
            self._changed.clear()
            await self._changed.wait()
        await self._turn.acquire()
        try:
            await self._terminal.drain()
        except BaseException:
            self._turn.release()
            raise

    def release(self) -> None:
        """Go on after `hold`."""
        self._turn.release()

    async def close(self, *, finish: bool) -> None:
        """Stop copying. With `finish`, the reader has ended, and what it has left is shown.

        What was handed to the terminal is on it afterwards: what puts its modes right comes last.
        """
        if finish:
            await asyncio.wait((self._task,), timeout=_LAST_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._terminal.output.finish()

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        is_ours = isinstance(error, StreamError) or not isinstance(error, RshellError)
        if error is not None and is_ours:
            self.on_failure(error)

    async def _run(self) -> None:
        try:
            async for block in self._reader:
                size = len(block)
                if self._again:
                    block = self._without_questions(block)
                if self._marks is not None and not self.is_foreign:
                    block = self._marks.take(block)
                async with self._turn:
                    if self.has_terminal:
                        await self._terminal.write(block)
                    elif block:
                        self._terminal.modes.feed(block)
                        await self._show_above(block)
                self._copied += size
                self._changed.set()
        finally:
            self._changed.set()

    def _without_questions(self, block: bytes) -> bytes:
        again, block = block[: self._again], block[self._again :]
        self._again -= len(again)
        shown = self._questions.take(again)
        return shown if self._again else shown + self._questions.rest() + block


class Typed:
    """Remembers what was typed last, to tell it from what a server makes up."""

    def __init__(self) -> None:
        self._last = bytearray()

    def note(self, keys: bytes) -> None:
        """Remember keys that are sent."""
        self._last += keys
        del self._last[:-_TYPED]

    def ends_with(self, text: str) -> bool:
        """Whether `text` is the end of what was typed, as a terminal keeps it, line editing done.

        Undecodable bytes are surrogates in it.
        """
        if not text:
            return True
        typed = self._last.decode(errors="surrogateescape").replace("\r", "\n")
        text = text.replace("\r", "\n")
        return typed.endswith(text) or _edited(typed[-_EDITED:]).endswith(text)


def _edited(typed: str) -> str:
    """Return what a terminal in line mode makes of keys: it erases characters and lines itself."""
    kept: list[str] = []
    for key in typed:
        if key in "\b\x7f":
            if kept and kept[-1] != "\n":
                kept.pop()
        elif key == "\x15":
            while kept and kept[-1] != "\n":
                kept.pop()
        else:
            kept.append(key)
    return "".join(kept)


class Passthrough:
    """Runs commands on the user's own terminal.

    What was typed and read by no command goes to `type_ahead`, to act as keys. What the server
    says was typed, though nobody did so here, goes to `insert`. `on_interrupt` is called when the
    command is sent Ctrl-C, and `on_end` when it has ended.
    """

    def __init__(
        self,
        line: ShellLine,
        terminal: Terminal,
        pump: OutputPump,
        type_ahead: Callable[[str], None],
        insert: Callable[[str], None],
    ) -> None:
        self._type_ahead = type_ahead
        self._insert = insert
        self._typed = Typed()
        self._line = line
        self._terminal = terminal
        self._pump = pump
        self._channel = line.channel
        self._holds_back = True  # no command runs any more; keys stay here
        self._hear: Callable[[bytes], None] | None = None
        self.on_interrupt: Callable[[], object] = lambda: None
        self.on_end: Callable[[], object] = lambda: None
        self._mark = 0
        terminal.on_keys = self._send_waiting
        line.on_done = self._note_end
        line.on_unread = self._give_back

    @property
    def is_running(self) -> bool:
        """Whether a command has the terminal, and has not ended."""
        return self._pump.has_terminal and not self._holds_back

    def divert(self, hear: Callable[[bytes], None]) -> None:
        """Have keys go to `hear`, and not to the command, until `give_back_keys`."""
        self._hear = hear
        hear(self._terminal.take())

    def give_back_keys(self, kept: bytes) -> None:
        """Have keys go to the command again, beginning with those that were `kept` for it."""
        self._hear = None
        self._terminal.waiting[:0] = kept
        self._send_waiting()

    async def run(self, command: str) -> ShellEnding:
        """Run `command` and return its ending, once all its output is on the terminal.

        Raises Left, and what cuts the session short.
        """
        return await self._pass(lambda: self._line.run(command))

    async def follow(self) -> ShellEnding:
        """Return the ending of what has the terminal already, a command or the start; as `run`."""
        self._pump.is_foreign = self._line.is_starting
        try:
            return await self._pass(self._line.follow)
        finally:
            self._pump.is_foreign = False

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
        self._type_ahead(self._terminal.take_rest().decode(errors="surrogateescape"))

    async def _pass(self, start: Start) -> ShellEnding:
        self._channel.on_room = self._send_waiting
        self._begin(holds_back=False)
        try:
            done = await self._terminal.unless_left(self._run(start))
        finally:
            self._channel.on_room = None
            self._give_up()
        # Together, for bytes of a character may have come apart.
        self._give_back(done.unread, self._terminal.take_rest().decode(errors="surrogateescape"))
        return done

    def _give_back(self, unread: str, keys: str = "") -> None:
        if self._typed.ends_with(unread):
            self._type_ahead(unread + keys)
        else:
            self._insert(unread)
            self._type_ahead(keys)

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
        self.on_end()

    def _send_waiting(self) -> None:
        """Send the keys that fit. Once the command has ended, Ctrl-C waits for nothing more."""
        if self._hear is not None:
            self._hear(self._terminal.take())
            return
        if _INTERRUPT in self._terminal.waiting:
            self.on_interrupt()
        if self._holds_back and _INTERRUPT in self._terminal.waiting:
            self._line.stop_waiting()
        while self._terminal.waiting and not self._holds_back and not self._channel.is_over:
            room = self._channel.room
            if room <= 0:
                self._channel.want_room()
                break
            keys = self._terminal.take(room)
            self._typed.note(keys)
            self._line.write_nowait(keys)
