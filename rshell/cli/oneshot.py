"""One remote command with our own stdin, stdout and stderr, as ssh does it.

What comes in is passed on as it comes, never kept; a reader downstream that is slow slows the
remote command, and one that leaves (`| head`) ends it. The status is the command's. With `--json`
the output is collected instead, and printed as one object when all is known.

On a terminal (`-t`), keys go to the command as they are, `~.` leaves at once, and modes that the
command left on are turned off.

Hazard: stdin is read ahead by a little, and what the remote command leaves unread is lost to
those who share it, as with ssh. `-n` leaves it alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Protocol

from rshell.channels.process.client import PIPE, Process, ProcessInput
from rshell.channels.process.messages import ProcessEnding
from rshell.cli.collected import collect
from rshell.cli.options import Options
from rshell.cli.report import BROKEN_PIPE_STATUS, ended, fail, print_object, tell_link
from rshell.cli.streams import InputDescriptor, Leaving, Left, OutputDescriptor, on_signals
from rshell.cli.terminal import Terminal, notice
from rshell.client.client import Client
from rshell.errors import ChannelReset, RshellError
from rshell.terminal.output import printable
from rshell.terminal.pty import is_terminal
from rshell.transport.streams import ByteReader

TIMEOUT_STATUS = 124
INTERRUPTED_STATUS = 128 + signal.SIGINT


class _Output(Protocol):
    """Where output goes: a descriptor of ours, the terminal, or what is collected."""

    async def write(self, block: bytes) -> None: ...

    async def drain(self) -> None: ...


class _Collected:
    """An output that keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, block: bytes) -> None:
        collect(self.data, block)

    async def drain(self) -> None:
        pass


async def run_oneshot(client: Client, options: Options) -> int:
    """Run the command and return the status to exit with. Raises RshellError, and OSError.

    With `--json` an RshellError is printed as an object, too.
    """
    if options.json:
        return await _run_collecting(client, options)
    terminal = Terminal() if options.terminal and is_terminal(0) else None
    stderr = OutputDescriptor(2)

    def say(text: str) -> None:
        """Say something on a line of its own; a raw terminal needs its returns written."""
        if terminal is None:
            stderr.say(f"rshell: {printable(text)}\n".encode())
        else:
            stderr.say(terminal.begin_line() + notice(text))

    outputs = terminal or OutputDescriptor(1), stderr
    try:
        return _status(await _run(client, options, terminal or Leaving(), outputs, say))
    except Left as left:
        return left.status
    except BrokenPipeError:
        return BROKEN_PIPE_STATUS


async def _run_collecting(client: Client, options: Options) -> int:
    stdout, stderr = _Collected(), _Collected()
    try:
        ending = await _run(client, options, Leaving(), (stdout, stderr))
    except Left as left:
        if left.status != INTERRUPTED_STATUS:
            return left.status
        interrupted = ChannelReset("cancelled", "interrupted twice", by="local")
        return fail(interrupted, True, stdout.data, stderr.data)
    except RshellError as error:
        return fail(error, True, stdout.data, stderr.data)
    print_object(ended(ending, stdout.data, stderr.data))
    return _status(ending)


def _status(ending: ProcessEnding) -> int:
    return TIMEOUT_STATUS if ending.timed_out else ending.status.shell_status


async def _run(
    client: Client,
    options: Options,
    leaving: Leaving,
    outputs: tuple[_Output, _Output],
    say: Callable[[str], None] | None = None,
) -> ProcessEnding:
    """Run the command with these outputs; with a Terminal for `leaving`, on a terminal.

    `say` shows what the server has to say meanwhile. Raises Left, what `outputs` raise, and what
    cuts the session short.
    """
    terminal = leaving if isinstance(leaving, Terminal) else None
    async with client.open_process(
        options.command,
        stdin=None if options.no_stdin else PIPE,
        terminal=None if terminal is None else terminal.size,
        term=os.environ.get("TERM", "dumb"),
        timeout=options.timeout,
    ) as process:
        if say is not None:
            process.on_notice = say
            if process.notice:
                say(process.notice)
            if terminal is not None and options.tells_link:
                tell_link(client, say)
        async with leaving:
            if terminal is not None:
                terminal.on_resize = process.resize
                terminal.check_size()  # since we asked for the size
            is_sent = False

            def interrupt() -> None:
                """Ctrl-C is for the remote command; at the second one we leave."""
                nonlocal is_sent
                if is_sent:
                    leaving.leave(Left(INTERRUPTED_STATUS))
                else:
                    is_sent = True
                    process.send_signal("SIGINT")

            with on_signals({signal.SIGINT: interrupt}):
                return await leaving.unless_left(_copy(process, terminal, outputs))


async def _copy(
    process: Process[ByteReader], terminal: Terminal | None, outputs: tuple[_Output, _Output]
) -> ProcessEnding:
    """Copy between us and the process until it has ended and its output is where it goes."""
    tasks = [
        asyncio.create_task(_copy_output(process.stdout, outputs[0])),
        asyncio.create_task(_copy_output(process.stderr, outputs[1])),
    ]
    copying = asyncio.gather(*tasks)
    if process.stdin is not None:
        if terminal is not None:
            terminal.listen()
        tasks.append(asyncio.create_task(_feed(process.stdin, terminal or InputDescriptor(0))))
    try:
        await copying
        for output in outputs:
            await output.drain()
        return await process.wait_ending()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy_output(reader: ByteReader, output: _Output) -> None:
    async for block in reader:
        await output.write(block)


async def _feed(stdin: ProcessInput, source: Terminal | InputDescriptor) -> None:
    try:
        while block := await source.read():
            await stdin.write(block)
        await stdin.close()
    except (BrokenPipeError, RshellError):
        pass  # it does not read any more, or is lost; its ending will tell
