"""The interactive prompt: lines edited here, run there.

Strategy: the terminal is raw from beginning to end and given back on every way out. Either
prompt_toolkit has it, or the remote program; a command's output is written as it comes, and
what the program left behind (modes, a line without an end) is put right before the next prompt.
A named shell was there before us and goes on after us: what it printed meanwhile comes first,
and a command that runs there gets the terminal at once.

Hazard: between two owners of the terminal nobody may read it. Keys typed then wait in the
terminal; keys that reached a program's terminal and were never read come back from the server.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.config import load_config
from rshell.cli.notices import is_dumb, notice
from rshell.cli.prompt.completer import RemoteCompleter
from rshell.cli.prompt.editor import Editor
from rshell.cli.prompt.history import open_history
from rshell.cli.prompt.passthrough import Passthrough, SessionDetached, SessionLeft
from rshell.cli.prompt.pump import OutputPump
from rshell.cli.prompt.status import Status
from rshell.cli.streams import OutputDescriptor
from rshell.client.client import Client
from rshell.errors import ChannelReset, RshellError
from rshell.terminal.pty import get_size
from rshell.values import TerminalSize

LEFT_STATUS = 255

_TERMINAL = 0


class Prompt:
    """One session at the prompt."""

    def __init__(self, client: Client, line: ShellLine, where: str, size: TerminalSize) -> None:
        reply = line.reply
        self._client = client
        self._line = line
        self._status = Status(
            user=reply.user,
            host=reply.host,
            home=reply.home,
            cwd=line.cwd,
            where=where,
            named=line.name,
            round_trip=client.round_trip,
        )
        self._is_dumb = is_dumb()
        self._completer = RemoteCompleter(line)
        self._editor = Editor(
            line,
            self._status,
            history=open_history(where),
            completer=self._completer,
            is_vi=load_config().editing_mode == "vi",
            is_dumb=self._is_dumb,
        )
        self._output = OutputDescriptor(1)
        self._pump = OutputPump(line.channel.stream(1), self._output, self._show_above)
        self._terminal = Passthrough(line, self._pump, self._editor.type_ahead)
        self._loop = asyncio.get_running_loop()
        self._watch = asyncio.create_task(self._watch_session())
        self._ticks: asyncio.TimerHandle | None = None
        client.links.on_change = self._on_link
        self._size = size  # as the remote side knows it
        self._notices: set[asyncio.Task[None]] = set()
        self._left_by: signal.Signals | None = None
        self._farewell = ""  # what to say when the terminal is put right
        line.on_restart = self._notice_restart
        line.on_notice = self._say_above

    @property
    def handlers(self) -> dict[signal.Signals, Callable[[], None]]:
        """What is to be done on signals, from before `run` until after `close`."""
        ending = (signal.SIGTERM, signal.SIGHUP)  # their default leaves the terminal raw
        handlers: dict[signal.Signals, Callable[[], None]] = {signal.SIGWINCH: self._on_resize}
        return handlers | {number: partial(self._leave, number) for number in ending}

    async def run(self) -> int:
        """Read and run commands until the user leaves; return the status to exit with."""
        try:
            done = await self._begin()
            while done is None or not done.left:
                done = await self._turn()
            return done.status.shell_status
        except SessionLeft:
            return LEFT_STATUS if self._left_by is None else 128 + self._left_by
        except SessionDetached:
            name = self._line.name
            self._farewell = (
                f"detached from {name}; rshell {self._status.where} -S {name} comes back"
            )
            return 0
        except ChannelReset as error:
            if error.code != "moved":
                raise
            self._farewell = error.reason
            return 0

    async def close(self) -> None:
        """Give back what the prompt took."""
        self._client.links.on_change = lambda: None
        if self._ticks is not None:
            self._ticks.cancel()
        for task in (self._watch, *self._notices):
            task.cancel()
        await asyncio.gather(self._watch, *self._notices, return_exceptions=True)
        await self._editor.close()
        await self._pump.close(finish=self._line.channel.is_over)
        self._line.close(self._pump.shown)
        farewell = notice(self._farewell) if self._farewell else b""
        # Not just written: a terminal that takes nothing must not keep us.
        await self._output.finish(self._tidying() + farewell)

    async def _begin(self) -> ShellEnding | None:
        """Show what comes before the first prompt; return the ending of what ran there, if any."""
        found = self._line.found
        if found is None or not found.attached:
            return await self._terminal.run(":")  # which the rc file's output comes before
        _write(notice(f"attached to {self._line.name}", is_faint=True))
        if found.dropped:
            _write(notice(f"{found.dropped} bytes before this were dropped"))
        self._pump.modes.feed(found.modes.encode())
        _write(found.modes.encode())
        self._on_resize()  # since we asked for the size
        if found.running is not None:
            return self._note(await self._terminal.follow())
        await self._terminal.show(found.kept)
        if found.last is not None:
            self._note(found.last)
        return None

    async def _turn(self) -> ShellEnding | None:
        """Read a command and run it; return its ending, None where there was no command."""
        self._tidy()
        try:
            command = await self._next_command()
        except KeyboardInterrupt:
            return None
        except EOFError:
            command = "exit"
        if not command.strip():
            return None
        self._completer.forget()
        self._on_resize()
        try:
            return self._note(await self._terminal.run(command))
        except ValueError as error:  # it is too long, or holds a NUL
            self._notify(str(error))
            return None

    async def _next_command(self) -> str:
        self._on_resize()
        self._raise_if_over()
        try:
            return await self._editor.read()
        finally:
            # prompt_toolkit has taken the signal over while it ran.
            self._loop.add_signal_handler(signal.SIGWINCH, self._on_resize)

    def _note(self, done: ShellEnding) -> ShellEnding:
        self._status.last = done
        self._status.cwd = done.cwd
        self._status.round_trip = self._client.round_trip
        if done.restarted:
            self._notify(_restarted(done))
        return done

    def _tidy(self) -> None:
        self._on_resize()
        _write(self._tidying())

    def _tidying(self) -> bytes:
        """Return what puts right what a program left behind, and begins on a line of our own."""
        modes = self._pump.modes
        out = modes.reset()
        mid_line, modes.mid_line = modes.mid_line, False
        if self._is_dumb:
            out = b"\r\n" if mid_line else b""
        elif mid_line:
            # At the left edge the blanks fill the line and the mark is wiped out again;
            # elsewhere they wrap, and the prompt starts on the next line.
            columns = self._size.columns
            mark = "\x1b[2m\u23ce\x1b[0m" if _speaks_utf8() else "%"
            out += (mark + " " * (columns - 1) + "\r \r").encode()
        return out

    async def _show_above(self, block: bytes) -> None:
        """A background job printed while the prompt is on the screen."""

        def write() -> None:
            modes = self._pump.modes
            ending = b"\r\n" if modes.mid_line else b""
            modes.mid_line = False
            _write(block + (b"" if self._is_dumb else modes.reset()) + ending)

        await self._editor.show_above(write)

    def _notice_restart(self, done: ShellEnding) -> None:
        """The shell ended although no command ran."""
        self._say_above(_restarted(done))

    def _say_above(self, text: str) -> None:
        """Say something above the prompt, or on a line of its own where a command runs."""
        line = notice(text)
        if self._pump.has_terminal:
            start = b"\r\n" if self._pump.modes.mid_line else b""
            self._pump.modes.mid_line = False
            said = self._say_between(start + line)
        else:
            said = self._editor.show_above(lambda: _write(line))
        task = asyncio.create_task(said)
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _say_between(self, line: bytes) -> None:
        with suppress(OSError):  # the terminal has gone; SIGHUP says so
            await self._output.write(line)  # in order with what the command prints

    def _notify(self, text: str) -> None:
        self._tidy()
        _write(notice(text))

    def _leave(self, number: signal.Signals) -> None:
        self._left_by = number
        self._terminal.leave()
        self._editor.interrupt(SessionLeft())

    async def _watch_session(self) -> None:
        """End the prompt when the session ends under it."""
        await self._line.channel.wait_closed()
        try:
            self._raise_if_over()
        except RshellError as error:
            self._editor.interrupt(error)

    def _raise_if_over(self) -> None:
        if self._left_by is not None:
            raise SessionLeft
        if self._line.channel.is_over:
            raise self._line.cause

    def _on_link(self) -> None:
        """The link was cut, or is back: the toolbar counts meanwhile."""
        links = self._client.links
        if self._ticks is not None:
            self._ticks.cancel()
            self._ticks = None
        if links.is_up:
            if self._status.cut_for is not None:
                # A program on the screen may have missed a change; this makes it draw again.
                self._line.resize(self._size)
            self._status.cut_for = None
        else:
            self._status.cut_for = self._loop.time() - links.lost_at
            self._ticks = self._loop.call_later(1.0, self._on_link)
        self._editor.refresh()

    def _on_resize(self) -> None:
        try:
            size = get_size(_TERMINAL)
        except (OSError, termios.error):
            return  # it has gone; SIGHUP says so
        if size != self._size:
            self._size = size
            self._line.resize(size)


def _restarted(done: ShellEnding) -> str:
    return f"the shell {done.status}; a new one runs here"


def _write(data: bytes) -> None:
    view = memoryview(data)
    with suppress(OSError):  # the terminal has gone; SIGHUP says so
        while view:
            view = view[os.write(1, view) :]


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
