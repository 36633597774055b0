"""While a command runs, the terminal is its own.

Strategy: keys are read as they come and sent on. What does not fit waits here, up to a bound, so
that `~.` is heard on a link that is stuck; past that, a paste waits in the terminal. A command
that ran before we came, in a named shell, is followed like one of our own.

Hazard: keys typed after the command has ended belong to the next prompt. They are kept back at
once, and what was typed and read by nobody, here or there, goes to that prompt in order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.escapes import Escape, EscapeFilter
from rshell.cli.prompt.pump import OutputPump

Result = TypeVar("Result")
Start = Callable[[], Coroutine[Any, Any, ShellEnding]]

_KEYS = 0
_READ = 4096
_WAITING = 1024 * 1024  # bytes read ahead of what can be sent


class SessionLeft(Exception):
    """The user typed `~.`, or the terminal has gone."""


class SessionDetached(Exception):
    """The user asked to leave a named shell, which is to go on."""


class Passthrough:
    """Runs commands on the user's own terminal, which must be in raw mode.

    `give_back` gets what was typed and read by no command.
    """

    def __init__(self, line: ShellLine, pump: OutputPump, give_back: Callable[[str], None]) -> None:
        self._give_back = give_back
        self._line = line
        self._pump = pump
        self._channel = line.channel
        self._loop = asyncio.get_running_loop()
        self._escapes = self._new_escapes()
        self._listening = False
        self._left = asyncio.Event()
        self._cause: type[SessionLeft | SessionDetached] = SessionLeft
        self._waiting = bytearray()
        self._holds_back = False  # the command has ended; its keys stay here
        self._mark = 0
        line.on_done = self._note_end
        line.on_unread = give_back

    async def run(self, command: str) -> ShellEnding:
        """Run `command` and return its ending, once all its output is on the terminal.

        Raises SessionLeft, SessionDetached, and what cuts the session short.
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
            await self._unless_left(self._pump.reach(count))
        finally:
            self._give_up()
        self._give_back(self._keys().decode(errors="surrogateescape"))

    async def _pass(self, start: Start) -> ShellEnding:
        self._channel.on_room = self._send_waiting
        self._begin(holds_back=False)
        try:
            done = await self._unless_left(self._run(start))
        finally:
            self._channel.on_room = None
            self._give_up()
        self._give_back(done.unread + self._keys().decode(errors="surrogateescape"))
        return done

    def _begin(self, *, holds_back: bool) -> None:
        """Take the terminal; `holds_back` says that its keys stay here."""
        self._escapes = self._new_escapes()
        self._waiting.clear()
        self._holds_back = holds_back
        self._pump.has_terminal = True
        self._listen()

    def _give_up(self) -> None:
        """Leave the terminal to the prompt; where none follows, what comes is still the command's.

        Above a prompt, output is written at once, and would overtake what waits for the terminal.
        """
        self._stop()
        self._pump.has_terminal = self._channel.is_over or self._left.is_set()

    def _keys(self) -> bytes:
        """Return the keys that stayed here."""
        return bytes(self._waiting) + self._escapes.release()

    async def _run(self, start: Start) -> ShellEnding:
        done = await start()
        await self._pump.reach(self._mark)
        return done

    async def _unless_left(self, work: Coroutine[Any, Any, Result]) -> Result:
        working = asyncio.create_task(work)
        leaving = asyncio.create_task(self._left.wait())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if self._left.is_set() or not working.done():
                raise self._cause  # and never at the next command
            return working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    def _new_escapes(self) -> EscapeFilter:
        return EscapeFilter(detaches=bool(self._line.name))

    def _note_end(self, done: ShellEnding) -> None:
        self._mark = self._pump.received
        self._holds_back = True

    def leave(self) -> None:
        """Make the `run` at work raise SessionLeft, or the next one."""
        self._left.set()

    # Keys.

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._loop.add_reader(_KEYS, self._read_keys)

    def _stop(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(_KEYS)

    def _read_keys(self) -> None:
        try:
            keys = os.read(_KEYS, _READ)
        except BlockingIOError:
            return
        except OSError:
            keys = b""
        if not keys:  # the terminal has gone
            self._left.set()
            self._stop()
            return
        keys, escape = self._escapes.feed(keys)
        if escape is Escape.HELP:
            os.write(1, self._escapes.help)
        elif escape is not None:
            # The shell of a session without a name ends with us, which is not a success.
            self._cause = SessionDetached if self._line.name else SessionLeft
            self._left.set()
        if keys:
            self._waiting += keys
            self._send_waiting()

    def _send_waiting(self) -> None:
        """Send what fits; while too much waits, nothing more is read."""
        while self._waiting and not self._holds_back and not self._channel.is_over:
            room = self._channel.room
            if room <= 0:
                self._channel.want_room()
                break
            self._line.write_nowait(bytes(self._waiting[:room]))
            del self._waiting[:room]
        if len(self._waiting) >= _WAITING:
            self._stop()
        elif not self._left.is_set():
            self._listen()
