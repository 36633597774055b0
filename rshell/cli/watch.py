"""`-S NAME --share`: somebody else's terminal, or one's own from elsewhere, to look at.

What the shell's terminal shows is written as it is; what is ours to say comes on lines of its own.
Keys do nothing but leave.

Hazard: a program there turns modes on in this terminal, too. They are turned off when its command
has ended, and on every way out.
"""

from __future__ import annotations

from rshell.channels.shell.messages import CommandBegun, ShellEnding, Skipped
from rshell.channels.shell.named.client import ShellWatch, WatchEvent
from rshell.cli.report import tell_link
from rshell.cli.streams import Left
from rshell.cli.terminal import Terminal, command_line, notice
from rshell.client.client import Client
from rshell.errors import ChannelReset
from rshell.values import TerminalSize

_LEAVING_KEYS = (b"\x03", b"\x04")  # Ctrl-C, Ctrl-D


async def run_watch(client: Client, name: str) -> int:
    """Watch a named shell until it ends or the user leaves; return the status to exit with.

    Raises what cuts the session with the server short; the terminal is as it was found, too.
    """
    terminal = Terminal(left_status=0)
    async with client.watch_named_shell(name, terminal.size) as watch, terminal:
        watcher = _Watcher(terminal, watch, name)
        tell_link(client, terminal.say)
        try:
            return await watcher.run()
        finally:
            client.links.on_change = lambda: None


class _Watcher:
    """Writes a named shell to the terminal."""

    def __init__(self, terminal: Terminal, watch: ShellWatch, name: str) -> None:
        self._terminal = terminal
        self._watch = watch
        self._name = name
        self._is_told_size = False

    async def run(self) -> int:
        """Show the shell; return the status to exit with."""
        terminal = self._terminal
        terminal.on_keys = self._leave_by_key
        terminal.listen()
        farewell = ""
        try:
            await terminal.unless_left(self._show())
            farewell = f"{self._name} has ended"
            return 0
        except Left as left:
            if left.status == 0:
                farewell = f"no longer watching {self._name}, which goes on"
            return left.status
        finally:
            terminal.farewell = terminal.begin_line() + (notice(farewell) if farewell else b"")

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

    async def _take(self, event: WatchEvent) -> None:
        terminal = self._terminal
        if isinstance(event, bytes):
            await terminal.write(event)
        elif isinstance(event, CommandBegun):
            await self._begin(event.command)
        elif isinstance(event, ShellEnding):
            await terminal.output.write(terminal.undo() + terminal.begin_line())
        elif isinstance(event, Skipped):
            await self._say(f"{event.bytes} bytes are missing here: this terminal is too slow")
        else:
            await self._compare(event)

    async def _begin(self, command: str) -> None:
        await self._terminal.output.write(self._terminal.begin_line() + command_line(command))

    async def _compare(self, size: TerminalSize) -> None:
        """Say, once, that the shell does not fit into this window."""
        window = self._terminal.size
        is_larger = size.columns > window.columns or size.rows > window.rows
        if is_larger and not self._is_told_size:
            self._is_told_size = True
            await self._say(
                f"{self._name} is {size.columns} by {size.rows}, larger than this window"
            )

    async def _say(self, text: str, *, is_faint: bool = False) -> None:
        # Not `terminal.say`, which would drop it where the terminal is slow.
        line = self._terminal.begin_line() + notice(text, is_faint=is_faint)
        await self._terminal.output.write(line)

    def _leave_by_key(self) -> None:
        keys = self._terminal.take()
        if any(key in keys for key in _LEAVING_KEYS):
            self._terminal.leave(Left(0))
