"""A persistent shell for programs: each command's whole reply, as a value.

`Shell` collects what `ShellLine` leaves to its owner. On a terminal, what the startup files print
and read is nobody's reply: it is over, and dropped, before the first command.

Hazard: a background job may print between two commands. Those bytes belong to the next command
that runs, as they would on a terminal.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from rshell.channels.base import ask, check_count
from rshell.channels.process.client import CompletedProcess, ProcessInput, passed_timeout
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding, ShellRequest
from rshell.errors import ChannelReset
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import TerminalSize, frozen

if TYPE_CHECKING:
    from rshell.channels.shell.errands.client import Agree, ErrandRunner

Text = TypeVar("Text", bytes, str)


@frozen
class ShellResult(CompletedProcess[Text], Generic[Text]):
    """How a command in a shell ended, and the shell's directory after it.

    `restarted` says that the shell itself ended (`exit`, `exec`, a signal) with this status,
    and a new one, without its variables and functions, has taken its place in `cwd`.
    """

    cwd: str = ""
    restarted: bool = False


class Shell:
    """A persistent remote shell, whose program is at the path `program`.

    Leaving its `async with` block ends it. `stdin` is the input of its commands, None unless it
    was asked for with PIPE or a terminal.
    """

    def __init__(self, channel: Channel, request: ShellRequest) -> None:
        self._line = ShellLine(channel)
        self.program = self._line.program
        self._line.on_done = self._take_output
        self._line.on_restart = self._note_restart
        self._turn = asyncio.Lock()
        self._errands: ErrandRunner | None = None
        self._streams = {number: channel.stream(number) for number in (STDOUT, STDERR)}
        for reader in self._streams.values():
            reader.collect()
        self._output = {STDOUT: b"", STDERR: b""}
        self._counted = {STDOUT: 0, STDERR: 0}  # with the end of a shell in which nothing ran
        has_input = request.stdin or request.terminal is not None
        self.stdin = ProcessInput(channel) if has_input else None

    async def __aenter__(self) -> Shell:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def cwd(self) -> str:
        """The shell's directory after its last command."""
        return self._line.cwd

    async def started(self) -> None:
        """Wait for the startup files of a shell on a terminal. Raises what ends the shell."""
        if self._line.is_starting:
            done = await self._line.follow()
            if done.left:
                raise ChannelReset("failed", f"the shell {done.status} as soon as it was started")

    async def run(
        self, command: str, *, check: bool = False, timeout: float | None = None
    ) -> ShellResult[bytes]:
        """Run `command`, any text of the shell's language, and return its whole reply.

        With `check`, raises ProcessFailed unless its status is 0. Past `timeout` seconds it is
        interrupted and ProcessTimeout raised; a command that does not yield costs the shell its
        life, after which a new one runs in the same directory. Cancelling does the same. Raises
        what cuts the session or channel short, and ValueError for a NUL in `command`, for text
        that no bytes can be made of, and for a timeout that is not positive.
        """
        async with self._turn:
            await self._line.outcome()  # of a command whose caller gave up
            try:
                done = await self._line.run(command, timeout=timeout)
            except asyncio.CancelledError:
                self._line.cancel()
                raise
            output = self._output
        if done.timed_out and timeout is not None:
            raise passed_timeout(timeout, command, output[STDOUT], output[STDERR])
        result = ShellResult(
            command=command,
            status=done.status,
            stdout=output[STDOUT],
            stderr=output[STDERR],
            duration=done.duration,
            cwd=done.cwd,
            restarted=done.restarted,
        )
        if check:
            result.check()
        return result

    def interrupt(self) -> None:
        """Interrupt the running command, if one runs, as Ctrl-C would."""
        self._line.signal("SIGINT")

    def resize(self, size: TerminalSize) -> None:
        """Tell the shell's terminal, if it has one, its new size."""
        self._line.resize(size)

    def take_errands(self, live: LiveSession, agree: Agree) -> None:
        """Do what commands in the shell ask for if `agree` says so."""
        from rshell.channels.shell.errands.client import take_errands

        self._errands = take_errands(live, self._line, agree)

    def close(self) -> None:
        """End the shell and what runs in it."""
        if self._errands is not None:
            self._errands.stop()
        self._line.close()

    def _take_output(self, done: ShellEnding) -> None:
        """Take what arrived before `done`: at once, for a background job may print on."""
        if self._errands is not None:
            self._errands.stop()
        self._output = {number: reader.take() for number, reader in self._streams.items()}
        before, self._counted = self._counted, {STDOUT: 0, STDERR: 0}
        for number, last in ((STDOUT, done.stdout), (STDERR, done.stderr)):
            if not done.number:  # of the start; what came after it is the first command's, gone too
                self._counted[number] = before[number] + last - len(self._output[number])
                continue
            check_count(len(self._output[number]), before[number] + last)

    def _note_restart(self, done: ShellEnding) -> None:
        self._counted[STDOUT] += done.stdout
        self._counted[STDERR] += done.stderr


async def start_shell(
    live: LiveSession, request: ShellRequest, agree: Agree | None = None
) -> Shell:
    """Open a shell for a program and wait until it takes commands.

    `agree` decides on the errands of its commands.
    Raises ChannelRefused, ChannelReset for a shell that ends before it does, and what cuts the
    session short. Cancelling ends what was started.
    """
    shell = Shell(await ask(live, "shell", request), request)
    if agree is not None:
        shell.take_errands(live, agree)
    try:
        await shell.started()
    except BaseException:
        shell.close()
        raise
    return shell
