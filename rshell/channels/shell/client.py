"""The client's side of a `shell` channel: `Shell.run`, again and again.

Strategy: `ShellLine` speaks the channel's messages. `Shell` is what programs use; it collects a
command's output and returns it with the ending.

Hazard: a background job may print between two commands. Those bytes belong to the next command
that runs, as they would on a terminal.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from rshell.channels.process.client import CompletedProcess, ProcessInput
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.channels.shell.line import ShellLine, open_shell_channel
from rshell.channels.shell.messages import ShellEnding, ShellRequest
from rshell.errors import ProcessTimeout, RemoteProtocolError
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import TerminalSize

Text = TypeVar("Text", bytes, str)


@dataclass(frozen=True, slots=True)
class ShellResult(CompletedProcess[Text], Generic[Text]):
    """How a command in a shell ended, and the shell's directory after it.

    `restarted` says that the shell itself ended (`exit`, `exec`, a signal) with this status,
    and a new one, without its variables and functions, has taken its place in `cwd`.
    """

    cwd: str = ""
    restarted: bool = False


class Shell:
    """A persistent remote shell. Leaving its `async with` block ends it.

    `stdin` is the input of its commands, None unless it was asked for with PIPE or a terminal.
    """

    def __init__(self, channel: Channel, request: ShellRequest) -> None:
        self._line = ShellLine(channel)
        self._line.on_done = self._take_output
        self._line.on_restart = self._note_restart
        self._turn = asyncio.Lock()
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

    @property
    def program(self) -> str:
        """The path of the shell's program."""
        return self._line.program

    async def run(
        self, command: str, *, check: bool = False, timeout: float | None = None
    ) -> ShellResult[bytes]:
        """Run `command`, any text of the shell's language, and return its whole reply.

        With `check`, raises ProcessFailed unless its status is 0. Past `timeout` seconds it is
        interrupted and ProcessTimeout raised; a command that does not yield costs the shell its
        life, after which a new one runs in the same directory. Cancelling does the same. Raises
        what cuts the session or channel short, and ValueError for a NUL in `command` or a
        timeout that is not positive.
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
            raise ProcessTimeout(
                f"the command passed its timeout of {timeout:g} s and was ended: {command!r}",
                timeout=timeout,
                stdout=output[STDOUT],
                stderr=output[STDERR],
            )
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
        """Interrupt the running command, as Ctrl-C would. Harmless when none runs."""
        self._line.signal("SIGINT")

    def resize(self, size: TerminalSize) -> None:
        """Tell the shell's terminal its new size. Harmless without one."""
        self._line.resize(size)

    def close(self) -> None:
        """End the shell and what runs in it. Harmless when it is over."""
        self._line.close()

    def _take_output(self, done: ShellEnding) -> None:
        """Take what arrived before `done`: at once, for a background job may print on."""
        self._output = {number: reader.take() for number, reader in self._streams.items()}
        before, self._counted = self._counted, {STDOUT: 0, STDERR: 0}
        for number, last in ((STDOUT, done.stdout), (STDERR, done.stderr)):
            count = before[number] + last
            arrived = len(self._output[number])
            if arrived != count:
                raise RemoteProtocolError(
                    f"{arrived} bytes of output arrived of the {count} that were sent"
                )

    def _note_restart(self, done: ShellEnding) -> None:
        self._counted[STDOUT] += done.stdout
        self._counted[STDERR] += done.stderr


async def start_shell(live: LiveSession, request: ShellRequest) -> Shell:
    """Open a shell for a program; as `open_line`."""
    return Shell(await open_shell_channel(live, request), request)
