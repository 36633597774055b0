"""One remote command with our own stdin, stdout and stderr, as ssh does it.

Strategy: what comes in is passed on as it comes, never kept; a reader downstream that is slow
slows the remote command, and one that leaves (`| head`) ends it. The status is the command's.

On a terminal (`-t`), keys go to the command as they are, `~.` leaves at once, and modes that the
command left on are turned off.

Hazard: stdin is read ahead by a little, so what the remote command leaves unread is lost to
those who share it, as with ssh. `-n` leaves it alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from rshell.channels.process.client import PIPE, Process
from rshell.channels.process.messages import ProcessEnding
from rshell.cli.options import Options
from rshell.cli.prompt.escapes import Escape, EscapeFilter
from rshell.cli.signals import on_signals
from rshell.cli.streams import InputDescriptor, OutputDescriptor
from rshell.client.client import Client
from rshell.errors import RshellError
from rshell.terminal.output import ModeTracker, printable
from rshell.terminal.pty import get_size, is_terminal, raw_mode
from rshell.transport.streams import ByteReader

TIMEOUT_STATUS = 124
BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE
LEFT_STATUS = 255

_TERMINAL = 0


async def run_oneshot(client: Client, options: Options) -> int:
    """Run the command and return the status to exit with. Raises RshellError."""
    wants_terminal = options.terminal and is_terminal(_TERMINAL)
    async with client.open_process(
        options.command,
        stdin=None if options.no_stdin else PIPE,
        terminal=get_size(_TERMINAL) if wants_terminal else None,
        term=os.environ.get("TERM", "dumb"),
        timeout=options.timeout,
    ) as process:
        if wants_terminal:
            with raw_mode(_TERMINAL):
                return await _Copy(process, on_terminal=True).run()
        return await _Copy(process, on_terminal=False).run()


class _Copy:
    """Copies between our descriptors and a process until the process has ended.

    `on_terminal` says that the process has a terminal and ours is raw.
    """

    def __init__(self, process: Process[ByteReader], *, on_terminal: bool) -> None:
        self._process = process
        self._escapes = EscapeFilter() if on_terminal else None
        self._modes = ModeTracker()
        self._outputs = [OutputDescriptor(1), OutputDescriptor(2)]
        self._loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        self._left_status = 128 + signal.SIGINT
        self._interrupts = 0
        self._notices: set[asyncio.Task[None]] = set()
        process.on_notice = self._on_notice
        if process.notice:
            self._on_notice(process.notice)

    async def run(self) -> int:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGINT: self._on_interrupt,
            # The default of these would leave the terminal raw.
            signal.SIGTERM: partial(self._leave, 128 + signal.SIGTERM),
            signal.SIGHUP: partial(self._leave, 128 + signal.SIGHUP),
        }
        if self._escapes is not None:
            handlers[signal.SIGWINCH] = self._on_resize
        with on_signals(handlers):
            return await self._run()

    async def _run(self) -> int:
        process = self._process
        readers = (process.stdout, process.stderr)
        feeder = None if process.stdin is None else asyncio.create_task(self._feed())
        copiers = [
            asyncio.create_task(self._copy(reader, output))
            for reader, output in zip(readers, self._outputs, strict=True)
        ]
        left = asyncio.create_task(self._left.wait())
        ended = asyncio.create_task(self._wait(copiers))
        try:
            await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                return self._left_status
            return _status(await ended)
        except BrokenPipeError:
            return BROKEN_PIPE_STATUS
        finally:
            for task in (feeder, left, ended, *copiers, *self._notices):
                if task is not None:
                    task.cancel()
            if self._escapes is not None:
                await self._outputs[0].finish(self._modes.reset())

    async def _wait(self, copiers: list[asyncio.Task[None]]) -> ProcessEnding:
        await asyncio.gather(*copiers)
        for output in self._outputs:
            await output.drain()
        return await self._process.wait_ending()

    async def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        source = InputDescriptor(0)
        try:
            while block := await source.read():
                if keys := self._without_escapes(block):
                    await stdin.write(keys)
            await stdin.close()
        except (BrokenPipeError, RshellError):
            pass  # it does not read any more, or is lost; its ending will tell

    def _without_escapes(self, keys: bytes) -> bytes:
        """Act on `~.` and `~?` typed on a terminal; return what is for the process."""
        if self._escapes is None:
            return keys
        keys, escape = self._escapes.feed(keys)
        if escape is Escape.LEAVE:
            self._leave(LEFT_STATUS)
        elif escape is Escape.HELP:
            os.write(1, self._escapes.help)
        return keys

    async def _copy(self, reader: ByteReader, output: OutputDescriptor) -> None:
        async for block in reader:
            if self._escapes is not None:
                self._modes.feed(block)
            await output.write(block)

    def _on_notice(self, text: str) -> None:
        # Through the thread that writes stderr: a reader that is stuck must not stop the rest.
        task = asyncio.create_task(self._show(printable(text)))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _show(self, text: str) -> None:
        """Say something on a line of its own; a raw terminal needs its returns written."""
        start, end = "\r\n" if self._modes.mid_line else "", "\n"
        if self._escapes is not None:
            end, self._modes.mid_line = "\r\n", False
        with suppress(OSError):
            await self._outputs[1].write(f"{start}rshell: {text}{end}".encode())

    def _on_interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._process.send_signal("SIGINT")
        else:
            self._leave(128 + signal.SIGINT)

    def _leave(self, status: int) -> None:
        self._left_status = status
        self._left.set()

    def _on_resize(self) -> None:
        self._process.resize(get_size(_TERMINAL))


def _status(ending: ProcessEnding) -> int:
    return TIMEOUT_STATUS if ending.timed_out else ending.status.shell_status
