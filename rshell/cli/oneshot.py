"""One remote command with our own stdin, stdout and stderr, as ssh does it.

What comes in is passed on as it comes, never kept; a reader downstream that is slow slows the
remote command, and one that leaves (`| head`) ends it. That is stdout's say alone: where stderr
takes nothing any more, what was for it is dropped, and the command goes on. Input that can't be
read is no end of input: the command is ended and never told of one. The status is the command's.
With `--json` the output is collected instead, and printed as one object when all is known.

On a terminal (`-t`), keys go to the command as they are, `~.` leaves at once, and modes that the
command left on are turned off.

Hazard: stdin is read ahead by a little, and what the remote command leaves unread is lost to
those who share it, as with ssh. `-n` leaves it alone.
"""

from __future__ import annotations

import os
from typing import Protocol

from rshell.aio import accompanied, all_of
from rshell.channels.process.client import PIPE, Process, ProcessInput
from rshell.channels.process.messages import ProcessEnding
from rshell.cli.options import Options
from rshell.cli.report import Report, collect, tell_link
from rshell.cli.standard import line_of_ours
from rshell.cli.streams import InputDescriptor, Leaving, OutputDescriptor
from rshell.cli.terminal import Terminal, notice
from rshell.client.client import Client
from rshell.errors import RshellError
from rshell.terminal.pty import is_terminal
from rshell.transport.streams import ByteReader


class _Output(Protocol):
    """Where output goes: a descriptor of ours, the terminal, or what is collected."""

    async def write(self, block: bytes) -> None: ...

    async def drain(self) -> None: ...


class _Collected:
    """An output that is kept in `data`."""

    def __init__(self, data: bytearray) -> None:
        self._data = data

    async def write(self, block: bytes) -> None:
        collect(self._data, block)

    async def drain(self) -> None:
        pass


async def run_oneshot(
    client: Client, options: Options, leaving: Leaving, report: Report, stderr: OutputDescriptor
) -> int:
    """Run the command, tell how it ended, and return the status to exit with.

    Raises RshellError, BrokenPipeError where nobody reads our stdout, Left from a terminal, and
    what nobody foresaw; the command is ended then, as it is by cancelling.
    """
    terminal = Terminal() if options.terminal and is_terminal(0) else None
    outputs: tuple[_Output, _Output] = terminal or OutputDescriptor(1), stderr
    if report.as_json:
        outputs = _Collected(report.stdout), _Collected(report.stderr)

    def say(text: str) -> None:
        """Say something on a line of its own; a raw terminal needs its returns written."""
        if terminal is None:
            stderr.say(line_of_ours(text))
        else:
            stderr.say(terminal.begin_line() + notice(text))

    def say_of_link(text: str) -> None:
        say(text)
        if terminal is not None:
            terminal.expect_escape()
            terminal.draw_again()  # over it, once the link is well again

    async with client.open_process(
        options.command,
        stdin=None if options.no_stdin else PIPE,
        terminal=None if terminal is None else terminal.size,
        term=os.environ.get("TERM", "dumb"),
        timeout=options.timeout,
    ) as process:
        if not report.as_json:
            process.on_notice = say
            if process.notice:
                say(process.notice)
            if terminal is not None and options.tells_link:
                tell_link(client, say_of_link, way_out=" (~. leaves)")
        _pass_interrupt_on(terminal or leaving, process)
        if terminal is None:
            return report.ended(await _copy(process, None, outputs))
        async with terminal:
            terminal.on_resize = process.resize
            terminal.check_size()  # since we asked for the size
            ending = await terminal.unless_left(_copy(process, terminal, outputs))
        return report.ended(ending)


def _pass_interrupt_on(leaving: Leaving, process: Process[ByteReader]) -> None:
    """Send the first Ctrl-C to the remote command; at the second one we leave."""

    def interrupt() -> None:
        leaving.on_interrupt = leave
        process.send_signal("SIGINT")

    leave, leaving.on_interrupt = leaving.on_interrupt, interrupt


async def _copy(
    process: Process[ByteReader], terminal: Terminal | None, outputs: tuple[_Output, _Output]
) -> ProcessEnding:
    """Copy between us and the process until it has ended and its output is where it goes."""
    copying = _copy_outputs(process, outputs)
    if process.stdin is None:
        return await copying
    if terminal is not None:
        terminal.listen()
    return await accompanied(copying, _feed(process.stdin, terminal or InputDescriptor(0)))


async def _copy_outputs(
    process: Process[ByteReader], outputs: tuple[_Output, _Output]
) -> ProcessEnding:
    await all_of(*map(_copy_output, (process.stdout, process.stderr), outputs))
    for output in outputs:
        await output.drain()
    return await process.wait_ending()


async def _copy_output(reader: ByteReader, output: _Output) -> None:
    async for block in reader:
        await output.write(block)


async def _feed(stdin: ProcessInput, source: Terminal | InputDescriptor) -> None:
    """Pass our input on to its end. What is wrong with our own side is raised."""
    while True:
        block = await source.read()
        try:
            if not block:
                await stdin.close()
                return
            await stdin.write(block)
        except (BrokenPipeError, RshellError):
            return  # it does not read any more, or is lost; its ending will tell
