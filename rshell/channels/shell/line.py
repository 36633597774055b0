"""The messages of a `shell` channel at the client: one command at a time, its ending, questions.

Strategy: `ShellLine` speaks the channel's messages and leaves the output to its owner: `Shell`
collects it, the interactive prompt writes it as it comes. In a named shell, what was there
before us is in `found`; a command that runs there already is followed like one of our own.

Hazard: whoever attaches to a named shell may come while its command ends. The ending can be
here before anybody has asked for it, and is kept for `follow`.

Hazard: a server that has never heard of named shells ignores the name and gives a shell that
ends with its client. The reply tells the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rshell.channels.process.messages import STDIN, encode_size
from rshell.channels.shell.messages import (
    COMMAND_LIMIT,
    Checked,
    Completions,
    Joined,
    Question,
    RunCommand,
    ShellEnding,
    ShellRequest,
)
from rshell.errors import ChannelReset, LocalProtocolError, RemoteProtocolError, RshellError
from rshell.protocol.messages import SECONDS_LIMIT, Json
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import TerminalSize


class ShellLine:
    """The messages of a shell channel. `cwd` is the shell's directory, `program` its path.

    `name` is that of a named shell, else empty, and `found` how it was when we came, else None.
    `on_done` gets each ending at once, before later output; `on_unread` what was typed on the
    terminal while no command ran; `on_restart` how a shell ended that no command ran in;
    `on_notice` what the server has to say while a command runs. It is any text.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.cwd = str(channel.reply.get("cwd", ""))
        self.program = str(channel.reply.get("shell", ""))
        self.on_done: Callable[[ShellEnding], None] = lambda done: None
        self.on_unread: Callable[[str], None] = lambda text: None
        self.on_restart: Callable[[ShellEnding], None] = lambda done: None
        self.on_notice: Callable[[str], None] = lambda text: None
        self._sent = 0  # bytes of input
        self._late: list[str] | None = None
        self._returned: asyncio.Future[None] | None = None
        self.name = str(channel.request.get("name", ""))
        self.found = read_joined(channel) if self.name else None
        self._is_moved = False
        self._number = 0 if self.found is None else self.found.number
        self._reply: asyncio.Future[ShellEnding] | None = None
        if self.found is not None and self.found.running is not None:
            self._reply = asyncio.get_running_loop().create_future()
        self._questions: dict[int, asyncio.Future[Completions | Checked]] = {}
        self._question = 0
        channel.listen(self._on_message)

    async def __aenter__(self) -> ShellLine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    async def run(self, command: str, *, timeout: float | None = None) -> ShellEnding:
        """Run a command and return its ending.

        Its `unread` holds all that was sent by `write_nowait` and that no command got.
        Cancelling leaves it running: `cancel` it. Raises what cuts the channel short, and
        ValueError for a command that is too long or holds a NUL, and for a timeout that is none.
        """
        if "\0" in command:
            raise ValueError("a command can't hold a NUL character")
        if timeout is not None and not 0 < timeout < SECONDS_LIMIT:
            raise ValueError(f"a timeout is a positive number below {SECONDS_LIMIT:g}: {timeout}")
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
        done = await self.outcome()
        assert done is not None
        return done if done.left else await self._with_late(done)

    async def _with_late(self, done: ShellEnding) -> ShellEnding:
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
        closed = asyncio.ensure_future(self.channel.wait_closed())
        try:
            await asyncio.wait((waiter, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
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
        try:
            self.channel.send_message(Question(kind, number, text).encode(), urgent=True)
            return await answer
        except LocalProtocolError as error:
            raise ValueError(f"this question is too long to be sent: {error}") from error
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

    def close(self, shown: int | None = None) -> None:
        """End the shell and what runs in it, or leave a named shell to itself.

        `shown` is how many bytes of its output somebody has seen; the rest will be sent again
        to whoever attaches next. Without it, all that was sent counts as seen. Harmless when it
        is over.
        """
        if self.name:
            if shown is not None:
                self.channel.send_message({"type": "leave", "shown": shown}, urgent=True)
            self.channel.close()
        else:
            self.channel.reset("cancelled", "the client closed the shell")

    def _on_message(self, message: Json) -> None:
        try:
            kind = message.get("type")
            if kind == "done":
                self._ended(ShellEnding.decode(message))
            elif kind == "completions":
                self._answer(Completions.decode(message))
            elif kind == "checked":
                self._answer(Checked.decode(message))
            elif kind == "unread":
                self._take_back(str(message.get("text", "")))
            elif kind == "notice":
                self.on_notice(str(message.get("text", "")))
            elif kind == "moved":
                self._is_moved = True
        except RemoteProtocolError as error:
            self.channel.reset("bad-message", str(error))

    def _ended(self, done: ShellEnding) -> None:
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


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


async def open_line(live: LiveSession, request: ShellRequest) -> ShellLine:
    """Open a shell channel and wait until the shell is ready.

    Raises ChannelRefused, RemoteProtocolError for a server without named shells where one is
    asked for, and what cuts the session short. Cancelling ends what was started, except for a
    named shell.
    """
    return ShellLine(await open_shell_channel(live, request))


def read_joined(channel: Channel) -> Joined:
    """Return what the reply says of a named shell; a bad one resets the channel and raises."""
    try:
        if "attached" not in channel.reply:
            raise RemoteProtocolError("the server knows no named shells")
        return Joined.decode(channel.reply)
    except RemoteProtocolError as error:
        channel.reset("bad-message", str(error))
        raise


async def open_shell_channel(live: LiveSession, request: ShellRequest) -> Channel:
    """Open the channel alone; as `open_line`."""
    channel = live.open_channel("shell", request.encode())
    await channel.wait_opened()
    return channel
