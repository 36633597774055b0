"""The client's side of a `shell` channel: one command at a time, its ending, questions.

`ShellLine` speaks the channel's messages and leaves the output to its owner: `Shell`, which
programs use, collects it and returns it with the ending; the interactive prompt writes it as it
comes. With a named shell, what was there before us is in `found`; a command that runs there already
is followed like one of our own.

Hazard: a background job may print between two commands. Those bytes belong to the next command
that runs, as they would on a terminal.

Hazard: a client may attach to a named shell while its command ends. The ending can be here before
anybody has asked for it, and is kept for `follow`.

Hazard: what a server gives back as unread is typed at somebody's prompt: no more than was sent
counts, or than a terminal holds, where a client before us may have sent it.

Hazard: a server that has never heard of named shells ignores the name, and gives a shell that ends
with its client; the reply tells the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rshell.aio import first_of
from rshell.channels.base import ask, check_count, listen, read_reply
from rshell.channels.process.client import (
    CompletedProcess,
    ProcessInput,
    check_timeout,
    passed_timeout,
)
from rshell.channels.process.messages import STDERR, STDIN, STDOUT, Notice, Resize, Signal
from rshell.channels.shell.messages import (
    COMMAND_LIMIT,
    Cancel,
    Check,
    Checked,
    Complete,
    Completions,
    Leave,
    Moved,
    Question,
    RunCommand,
    ShellEnding,
    ShellReply,
    ShellRequest,
    Unread,
    unread_bytes,
)
from rshell.channels.shell.named.client import read_joined
from rshell.errors import ChannelReset, LocalProtocolError, RemoteProtocolError, RshellError
from rshell.protocol.codec import Message
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import TerminalSize, frozen

Text = TypeVar("Text", bytes, str)

_TERMINAL_HOLDS = 4096  # bytes that nobody has read


class ShellLine:
    """The messages of a shell channel. `cwd` is the shell's directory, `program` its path.

    `name` is that of a named shell, else empty, and `found` how it was when we came, else None.
    `on_done` gets each ending at once, before later output; `on_unread` what was typed on the
    terminal while no command ran; `on_restart` how a shell ended that no command ran in;
    `on_notice` what the server has to say while a command runs. It is any text.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.reply = read_reply(channel, ShellReply)
        self.cwd = self.reply.cwd
        self.program = self.reply.shell
        self.on_done: Callable[[ShellEnding], None] = lambda _: None
        self.on_unread: Callable[[str], None] = lambda _: None
        self.on_restart: Callable[[ShellEnding], None] = lambda _: None
        self.on_notice: Callable[[str], None] = lambda _: None
        self._sent = self._returnable = 0  # bytes of input; of them, not given back yet
        self._late: bytearray | None = None
        self._waits_for_late = False
        self._returned: asyncio.Future[None] | None = None
        self.name = str(channel.request.get("name", ""))
        self.found = read_joined(channel) if self.name else None
        self._is_moved = False
        self._number = 0 if self.found is None else self.found.number
        self._reply: asyncio.Future[ShellEnding] | None = None
        if self.found is not None and self.found.running is not None:
            self._returnable = _TERMINAL_HOLDS
            self._reply = asyncio.get_running_loop().create_future()
        self._questions: dict[int, asyncio.Future[Completions | Checked]] = {}
        self._question = 0
        listen(channel, self._hear, ShellEnding, Completions, Checked, Unread, Notice, Moved)

    async def __aenter__(self) -> ShellLine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    async def run(self, command: str, *, timeout: float | None = None) -> ShellEnding:
        """Run a command and return its ending.

        Its `unread` holds what was sent by `write_nowait` and no command got (`os.fsdecode`).
        Cancelling leaves it running: `cancel` it. Raises what cuts the channel short, and
        ValueError for a command that is too long or holds a NUL, and for a timeout that is none.
        """
        if "\0" in command:
            raise ValueError("a command can't hold a NUL character")
        check_timeout(timeout)
        if len(command) > COMMAND_LIMIT:
            raise ValueError(f"a command can't be longer than {COMMAND_LIMIT} characters")
        try:
            self.channel.send_message(RunCommand(self._number + 1, command, timeout).encode())
        except LocalProtocolError as error:  # characters may take six bytes each
            raise ValueError(f"this command is too long to be sent: {error}") from error
        self._number += 1
        self._reply = asyncio.get_running_loop().create_future()
        return await self._ending()

    async def follow(self) -> ShellEnding:
        """Return the ending of the command that was `found` running.

        Its `unread` is as in `run`. Cancelling leaves it running. Raises what cuts the channel
        short.
        """
        if self._reply is not None and self._reply.done():
            self.on_done(self._reply.result())  # it came before anybody listened
        return await self._ending()

    async def _ending(self) -> ShellEnding:
        """Wait for the ending, then for the input that was on its way when it came."""
        done, late = await self.outcome(), self._late
        assert done is not None and late is not None
        if done.left:
            return done
        while self._waits_for_late and len(late) < min(self._sent - done.taken, self._returnable):
            self._returned = asyncio.get_running_loop().create_future()
            await self._or_closed(self._returned)
        self._late = None
        unread = self._allowed(unread_bytes(done.unread) + late)
        return done.replace(unread=unread.decode(errors="surrogateescape"))

    def stop_waiting(self) -> None:
        """Have a command that has ended return without the input that is still to come back."""
        self._waits_for_late = False
        self._wake()

    def write_nowait(self, data: bytes) -> None:
        """Send input for the terminal of the running command; keep to the channel's room."""
        self._sent += len(data)
        self._returnable += len(data)
        self.channel.write_nowait(data, STDIN)

    async def outcome(self) -> ShellEnding | None:
        """Wait for the ending of the present command; None at once when there is none."""
        reply = self._reply
        if reply is None:
            return None
        await self._or_closed(reply)
        self._reply = None
        return reply.result()

    async def _or_closed(self, waiter: asyncio.Future[Any]) -> None:
        """Wait for `waiter`, or raise what ended the channel."""
        await first_of(asyncio.shield(waiter), self.channel.wait_closed())
        if not waiter.done():
            raise self.cause

    @property
    def cause(self) -> RshellError:
        """What ended the channel, once it is over.

        ChannelReset with the code "moved" says that another client has attached.
        """
        if self._is_moved:
            return ChannelReset("moved", f"{self.name} was attached elsewhere")
        return self.channel.error or RemoteProtocolError("the server closed the shell")

    async def complete(self, text: str) -> Completions:
        """Return candidates for the end of `text`. Cancelling is safe; waits for ever if stale.

        Raises ValueError as `run` does.
        """
        answer = await self._ask(Complete, text)
        assert isinstance(answer, Completions)
        return answer

    async def wants_more(self, text: str) -> bool:
        """Whether `text` is incomplete for the shell. Cancelling is safe; as `complete`."""
        answer = await self._ask(Check, text)
        assert isinstance(answer, Checked)
        return answer.incomplete

    async def _ask(self, kind: type[Question], text: str) -> Completions | Checked:
        self._question += 1
        number = self._question
        if "\0" in text or len(text) > COMMAND_LIMIT:
            raise ValueError("a question can't hold a NUL character or be that long")
        answer: asyncio.Future[Completions | Checked] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        try:
            self.channel.send_message(kind(number, text).encode(), urgent=True)
            return await answer
        except LocalProtocolError as error:
            raise ValueError(f"this question is too long to be sent: {error}") from error
        finally:
            del self._questions[number]

    def signal(self, name: str) -> None:
        """Send a signal to the running command, if one runs."""
        self.channel.send_message(Signal(name).encode(), urgent=True)

    def cancel(self) -> None:
        """Interrupt the running command; if it does not yield, the shell is ended."""
        self.channel.send_message(Cancel().encode(), urgent=True)

    def resize(self, size: TerminalSize) -> None:
        """Tell the shell's terminal its new size."""
        self.channel.send_message(Resize(size).encode(), urgent=True)

    def close(self, shown: int | None = None) -> None:
        """End the shell and what runs in it, or leave a named shell to itself.

        `shown` is how many bytes of its output somebody has seen; the client that attaches next
        is sent the rest again. Without it, all that was sent counts as seen.
        """
        if self.name:
            if shown is not None:
                self.channel.send_message(Leave(shown).encode(), urgent=True)
            self.channel.close()
        else:
            self.channel.reset("cancelled", "the client closed the shell")

    def _hear(self, heard: Message) -> None:
        if isinstance(heard, ShellEnding):
            self._ended(heard)
        elif isinstance(heard, (Completions, Checked)):
            self._answer(heard)
        elif isinstance(heard, Unread):
            self._take_back(heard.text)
        elif isinstance(heard, Notice):
            self.on_notice(heard.text)
        elif isinstance(heard, Moved):
            self._is_moved = True

    def _ended(self, done: ShellEnding) -> None:
        self.cwd = done.cwd
        if done.number == self._number and self._reply is not None and not self._reply.done():
            unread_bytes(done.unread)  # which says what is wrong with it
            self._late, self._waits_for_late = bytearray(), True
            self.on_done(done)
            self._reply.set_result(done)
        elif done.restarted:
            self.on_restart(done)

    def _take_back(self, text: str) -> None:
        data = unread_bytes(text)
        if self._late is not None:
            self._late += data[: max(0, self._returnable - len(self._late))]
            self._wake()
        elif data := self._allowed(data):
            self.on_unread(data.decode(errors="surrogateescape"))

    def _allowed(self, data: bytes) -> bytes:
        """Return what of `data` can be input that comes back."""
        data = data[: self._returnable]
        self._returnable -= len(data)
        return data

    def _wake(self) -> None:
        if self._returned is not None and not self._returned.done():
            self._returned.set_result(None)

    def _answer(self, answer: Completions | Checked) -> None:
        waiting = self._questions.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def open_line(live: LiveSession, request: ShellRequest) -> ShellLine:
    """Open a shell channel and wait until the shell is ready.

    Raises ChannelRefused, RemoteProtocolError for a server without named shells where one is
    asked for, and what cuts the session short. Cancelling ends what was started, except for a
    named shell.
    """
    return ShellLine(await ask(live, "shell", request))


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

    def close(self) -> None:
        """End the shell and what runs in it."""
        self._line.close()

    def _take_output(self, done: ShellEnding) -> None:
        """Take what arrived before `done`: at once, for a background job may print on."""
        self._output = {number: reader.take() for number, reader in self._streams.items()}
        before, self._counted = self._counted, {STDOUT: 0, STDERR: 0}
        for number, last in ((STDOUT, done.stdout), (STDERR, done.stderr)):
            check_count(len(self._output[number]), before[number] + last)

    def _note_restart(self, done: ShellEnding) -> None:
        self._counted[STDOUT] += done.stdout
        self._counted[STDERR] += done.stderr


async def start_shell(live: LiveSession, request: ShellRequest) -> Shell:
    """Open a shell for a program; as `open_line`."""
    return Shell(await ask(live, "shell", request), request)
