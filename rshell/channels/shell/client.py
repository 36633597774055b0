"""The client's side of a `shell` channel: `Shell.run`, again and again.

Strategy: `ShellLine` speaks the channel's messages: one command at a time, its ending, questions
beside it. `Shell` is what programs use; it collects a command's output and returns it with the
ending. The interactive prompt uses `ShellLine` and writes output as it comes.

Hazard: a background job may print between two commands. Those bytes belong to the next command
that runs, as they would on a terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from rshell.channels.base import STDERR, STDIN, STDOUT
from rshell.channels.process.client import CompletedProcess, ProcessInput
from rshell.channels.process.messages import encode_size
from rshell.channels.shell.messages import (
    COMMAND_LIMIT,
    Checked,
    Completions,
    Done,
    Question,
    RunCommand,
    ShellRequest,
)
from rshell.errors import ProcessTimeout, RemoteProtocolError
from rshell.protocol.messages import Json
from rshell.transport.carrier import SessionCarrier
from rshell.transport.channel import Channel
from rshell.values import TerminalSize

Text = TypeVar("Text", bytes, str)


@dataclass(frozen=True, slots=True)
class ShellResult(CompletedProcess[Text], Generic[Text]):
    """How a command in a shell ended, and the shell's folder after it.

    `restarted` says that the shell itself ended (`exit`, `exec`, a signal) with this status,
    and a new one, without its variables and functions, has taken its place in `cwd`.
    """

    cwd: str = ""
    restarted: bool = False


class ShellLine:
    """The messages of a shell channel. `cwd` is the shell's folder, `program` its path.

    `on_done` gets each ending at once, before later output; `on_unread` what was typed on the
    terminal while no command ran; `on_restart` how a shell ended that no command ran in;
    `on_notice` what the server has to say while a command runs. It is any text.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.cwd = str(channel.reply.get("cwd", ""))
        self.program = str(channel.reply.get("shell", ""))
        self.on_done: Callable[[Done], None] = lambda done: None
        self.on_unread: Callable[[str], None] = lambda text: None
        self.on_restart: Callable[[Done], None] = lambda done: None
        self.on_notice: Callable[[str], None] = lambda text: None
        self._sent = 0  # bytes of input
        self._late: list[str] | None = None
        self._returned: asyncio.Future[None] | None = None
        self._number = 0
        self._reply: asyncio.Future[Done] | None = None
        self._questions: dict[int, asyncio.Future[Completions | Checked]] = {}
        self._question = 0
        channel.listen(self._on_message)

    async def __aenter__(self) -> ShellLine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    async def run(self, command: str, *, timeout: float | None = None) -> Done:
        """Run a command and return its ending.

        Its `unread` holds all that was sent by `write_nowait` and that no command got.
        Cancelling leaves it running: `cancel` it. Raises what cuts the channel short, and
        ValueError for a command that is too long or holds a NUL.
        """
        if "\0" in command:
            raise ValueError("a command can't hold a NUL character")
        if len(command) > COMMAND_LIMIT:
            raise ValueError(f"a command can't be longer than {COMMAND_LIMIT} characters")
        self._number += 1
        self.channel.send_message(RunCommand(self._number, command, timeout).encode())
        self._reply = asyncio.get_running_loop().create_future()
        done = await self.outcome()
        assert done is not None
        return done if done.left else await self._with_late(done)

    async def _with_late(self, done: Done) -> Done:
        """Wait for the input that was on its way when the command ended."""
        late = self._late
        assert late is not None
        while sum(map(_size, late)) < self._sent - done.taken:
            self._returned = asyncio.get_running_loop().create_future()
            await self._or_closed(self._returned)
        self._late = None
        return replace(done, unread=done.unread + "".join(late)) if late else done

    def write_nowait(self, data: bytes) -> None:
        """Send input for the terminal of the running command; keep to the channel's room."""
        self._sent += len(data)
        self.channel.write_nowait(data, STDIN)

    async def outcome(self) -> Done | None:
        """Wait for the ending of the present command; None at once when there is none."""
        reply = self._reply
        if reply is None:
            return None
        await self._or_closed(reply)
        self._reply = None
        return reply.result()

    async def _or_closed(self, waiter: asyncio.Future[Any]) -> None:
        """Wait for `waiter`, or raise what ended the channel."""
        closed = asyncio.ensure_future(self.channel.wait_closed())
        try:
            await asyncio.wait((waiter, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        if not waiter.done():
            raise self.channel.error or RemoteProtocolError("the server closed the shell")

    async def complete(self, text: str) -> Completions:
        """Return candidates for the end of `text`. Cancelling is safe; waits for ever if stale.

        Raises ValueError as `run` does.
        """
        answer = await self._ask("complete", text)
        assert isinstance(answer, Completions)
        return answer

    async def wants_more(self, text: str) -> bool:
        """Whether `text` is incomplete for the shell. Cancelling is safe; as `complete`."""
        answer = await self._ask("check", text)
        assert isinstance(answer, Checked)
        return answer.incomplete

    async def _ask(self, kind: str, text: str) -> Completions | Checked:
        self._question += 1
        number = self._question
        if "\0" in text or len(text) > COMMAND_LIMIT:
            raise ValueError("a question can't hold a NUL character or be that long")
        answer: asyncio.Future[Completions | Checked] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        self.channel.send_message(Question(kind, number, text).encode(), urgent=True)
        try:
            return await answer
        finally:
            del self._questions[number]

    def signal(self, name: str) -> None:
        """Send a signal to the running command. Harmless when none runs."""
        self.channel.send_message({"type": "signal", "name": name}, urgent=True)

    def cancel(self) -> None:
        """Interrupt the running command; if it does not yield, the shell is ended."""
        self.channel.send_message({"type": "cancel"}, urgent=True)

    def resize(self, size: TerminalSize) -> None:
        """Tell the shell's terminal its new size."""
        self.channel.send_message({"type": "resize"} | encode_size(size), urgent=True)

    def close(self) -> None:
        """End the shell and what runs in it. Harmless when it is over."""
        self.channel.reset("cancelled", "the client closed the shell")

    def _on_message(self, message: Json) -> None:
        try:
            kind = message.get("type")
            if kind == "done":
                self._ended(Done.decode(message))
            elif kind == "completions":
                self._answer(Completions.decode(message))
            elif kind == "checked":
                self._answer(Checked.decode(message))
            elif kind == "unread":
                self._take_back(str(message.get("text", "")))
            elif kind == "notice":
                self.on_notice(str(message.get("text", "")))
        except RemoteProtocolError as error:
            self.channel.reset("bad-message", str(error))

    def _ended(self, done: Done) -> None:
        self.cwd = done.cwd
        if done.number == self._number and self._reply is not None and not self._reply.done():
            self._late = []
            self.on_done(done)
            self._reply.set_result(done)
        elif done.restarted:
            self.on_restart(done)

    def _take_back(self, text: str) -> None:
        if self._late is None:
            self.on_unread(text)
        else:
            self._late.append(text)
            if self._returned is not None and not self._returned.done():
                self._returned.set_result(None)

    def _answer(self, answer: Completions | Checked) -> None:
        waiting = self._questions.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


class Shell:
    """A persistent remote shell. Leaving its `async with` block ends it.

    `stdin` is the input of its commands, None unless it was asked for with PIPE or a terminal.
    """

    def __init__(self, channel: Channel, request: ShellRequest) -> None:
        self._line = ShellLine(channel)
        self._line.on_done = self._take_output
        self._turn = asyncio.Lock()
        self._streams = {number: channel.stream(number) for number in (STDOUT, STDERR)}
        for reader in self._streams.values():
            reader.collect()
        self._output = {STDOUT: b"", STDERR: b""}
        has_input = request.stdin or request.terminal is not None
        self.stdin = ProcessInput(channel) if has_input else None

    async def __aenter__(self) -> Shell:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def cwd(self) -> str:
        """The shell's folder after its last command."""
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
        life, after which a new one runs in the same folder. Cancelling does the same. Raises
        what cuts the session or channel short, and ValueError for a NUL in `command`.
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

    def _take_output(self, done: Done) -> None:
        """Take what arrived before `done`: at once, for a background job may print on."""
        self._output = {number: reader.take() for number, reader in self._streams.items()}
        for number, count in ((STDOUT, done.stdout), (STDERR, done.stderr)):
            arrived = len(self._output[number])
            if arrived != count:
                raise RemoteProtocolError(
                    f"{arrived} bytes of output arrived of the {count} that were sent"
                )


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


async def open_line(carrier: SessionCarrier, request: ShellRequest) -> ShellLine:
    """Open a shell channel and wait until the shell is ready.

    Raises ChannelRefused and what cuts the session short. Cancelling ends what was started.
    """
    return ShellLine(await _open(carrier, request))


async def start_shell(carrier: SessionCarrier, request: ShellRequest) -> Shell:
    """Open a shell for a program; as `open_line`."""
    return Shell(await _open(carrier, request), request)


async def _open(carrier: SessionCarrier, request: ShellRequest) -> Channel:
    channel = carrier.open_channel("shell", request.encode())
    try:
        await channel.wait_opened()
    except asyncio.CancelledError:
        channel.reset("cancelled", "the caller gave up")
        raise
    return channel
