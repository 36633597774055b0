"""`-S NAME --share`: somebody else's terminal, or one's own from elsewhere, to look at.

Strategy: what the shell's terminal shows is written as it is; what is ours to say comes on
lines of its own. Keys do nothing but leave.

Hazard: a program there turns modes on in this terminal, too. They are turned off when its command
has ended, and on every way out.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

from rshell.channels.shell.messages import CommandBegun, ShellEnding, Skipped
from rshell.channels.shell.named.client import ShellWatch, WatchEvent
from rshell.cli.notices import command_line, is_dumb, notice
from rshell.cli.prompt.escapes import Escape, EscapeFilter
from rshell.cli.signals import on_signals
from rshell.cli.streams import OutputDescriptor
from rshell.client.client import Client
from rshell.errors import ChannelReset
from rshell.terminal.modes import ModeTracker
from rshell.terminal.pty import get_size
from rshell.terminal.raw import raw_mode
from rshell.values import TerminalSize

_TERMINAL = 0
_READ = 4096
_LEAVING_KEYS = (b"\x03", b"\x04")  # Ctrl-C, Ctrl-D


async def run_watch(client: Client, name: str) -> int:
    """Watch a named shell until it ends or the user leaves; return the status to exit with.

    Raises what cuts the session with the server short; the terminal is as it was found, too.
    """
    size = get_size(_TERMINAL)
    async with client.watch_named_shell(name, size) as watch:
        with raw_mode(_TERMINAL):
            return await _Watcher(client, watch, name, size).run()


class _Watcher:
    """Writes a named shell to the terminal, which must be raw."""

    def __init__(self, client: Client, watch: ShellWatch, name: str, size: TerminalSize) -> None:
        self._client = client
        self._watch = watch
        self._name = name
        self._size = size
        self._is_told_size = False
        self._output = OutputDescriptor(1)
        self._modes = ModeTracker()
        self._escapes = EscapeFilter()
        self._loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        self._left_by: signal.Signals | None = None
        self._link_changed = asyncio.Event()

    async def run(self) -> int:
        """Show the named shell; return the status to exit with."""
        ending = (signal.SIGTERM, signal.SIGHUP)  # their default leaves the terminal raw
        with on_signals({number: partial(self._leave, number) for number in ending}):
            return await self._run()

    async def _run(self) -> int:
        self._loop.add_reader(_TERMINAL, self._read_keys)
        links = self._client.links
        links.on_change = self._link_changed.set
        telling = asyncio.create_task(self._tell_link())
        showing = asyncio.create_task(self._show())
        leaving = asyncio.create_task(self._left.wait())
        farewell = ""
        try:
            await asyncio.wait((showing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                showing.result()
                farewell = f"{self._name} has ended"
            else:
                farewell = f"no longer watching {self._name}, which goes on"
        finally:
            links.on_change = lambda: None
            self._loop.remove_reader(_TERMINAL)
            for task in (telling, showing, leaving):
                task.cancel()
            await asyncio.gather(telling, showing, leaving, return_exceptions=True)
            await self._finish(farewell)
        return 0 if self._left_by is None else 128 + self._left_by

    async def _show(self) -> None:
        found = self._watch.found
        await self._say(f"watching {self._name}; Ctrl-C leaves", is_faint=True)
        await self._compare(found.size)
        if found.running is not None:
            await self._begin(found.running)
        await self._take(found.modes.encode())
        try:
            async for event in self._watch:
                await self._take(event)
        except ChannelReset as error:
            if error.code != "killed":
                raise

    async def _tell_link(self) -> None:
        is_up = True
        while True:
            await self._link_changed.wait()
            self._link_changed.clear()
            if self._client.links.is_up != is_up and not self._client.is_closed:
                is_up = not is_up
                await self._say(
                    "the link is back" if is_up else "the link was cut; trying to come back"
                )

    async def _take(self, event: WatchEvent) -> None:
        if isinstance(event, bytes):
            self._modes.feed(event)
            await self._output.write(event)
        elif isinstance(event, CommandBegun):
            await self._begin(event.command)
        elif isinstance(event, ShellEnding):
            await self._output.write(self._put_right())
        elif isinstance(event, Skipped):
            await self._say(f"{event.bytes} bytes are missing here: this terminal is too slow")
        else:
            await self._compare(event)

    async def _begin(self, command: str) -> None:
        await self._output.write(self._begin_line() + command_line(command))

    async def _compare(self, size: TerminalSize) -> None:
        """Say, once, that the shell does not fit into this window."""
        is_larger = size.columns > self._size.columns or size.rows > self._size.rows
        if is_larger and not self._is_told_size:
            self._is_told_size = True
            await self._say(
                f"{self._name} is {size.columns} by {size.rows}, larger than this window"
            )

    async def _say(self, text: str, *, is_faint: bool = False) -> None:
        await self._output.write(self._begin_line() + notice(text, is_faint=is_faint))

    def _put_right(self) -> bytes:
        """Return what undoes the modes that are on, and begins a line."""
        reset = self._modes.reset()
        return (b"" if is_dumb() else reset) + self._begin_line()

    def _begin_line(self) -> bytes:
        ending = b"\r\n" if self._modes.mid_line else b""
        self._modes.mid_line = False
        return ending

    async def _finish(self, farewell: str) -> None:
        last = self._put_right()
        if farewell and self._left_by is None:
            last += notice(farewell)
        await self._output.finish(last)

    def _read_keys(self) -> None:
        try:
            keys = os.read(_TERMINAL, _READ)
        except BlockingIOError:
            return
        except OSError:
            keys = b""
        if not keys:  # the terminal has gone
            self._loop.remove_reader(_TERMINAL)
            self._left.set()
            return
        rest, escape = self._escapes.feed(keys)
        if escape is Escape.LEAVE or any(key in rest for key in _LEAVING_KEYS):
            self._left.set()

    def _leave(self, number: signal.Signals) -> None:
        self._left_by = number
        self._left.set()
