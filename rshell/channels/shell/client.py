"""The client's side of a `shell` channel: one command at a time, its ending, questions.

`ShellLine` speaks the channel's messages and leaves the output to its owner: `Shell` (replies.py),
which programs use, collects it and returns it with the ending; the interactive prompt writes it as
it comes. With a named shell, what was there before us is in `found`; a command that runs there
already is followed like one of our own. So are the startup files of a shell on a terminal, which
are like a command with the number 0.

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
from typing import Any, Union

from rshell.aio import first_of
from rshell.channels.base import ask, listen, read_reply
from rshell.channels.process.client import check_timeout
from rshell.channels.process.messages import STDIN, Notice, Resize, Signal
from rshell.channels.shell.messages import (
    COMMAND_LIMIT,
    Cancel,
    Check,
    Checked,
    Complete,
    Completions,
    Errand,
    ErrandDone,
    ErrandOver,
    Leave,
    ListNames,
    Moved,
    Names,
    Question,
    RunCommand,
    ShellEnding,
    ShellPrompt,
    ShellReply,
    ShellRequest,
    Unread,
)
from rshell.channels.shell.named.client import read_joined
from rshell.errors import ChannelReset, LocalProtocolError, RemoteProtocolError, RshellError
from rshell.protocol.codec import Message
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import TerminalSize

Answer = Union[Completions, Checked, Names]

_TERMINAL_HOLDS = 4096  # bytes that nobody has read


class ShellLine:
    """The messages of a shell channel. `cwd` is the shell's directory, `program` its path.

    `name` is that of a named shell, else empty, and `found` how it was when we came, else None.
    While it `is_starting`, its startup files have the terminal, and are to be followed. `prompt`
    is what the shell would show as its prompt, None where it has not said so.
    `on_done` gets each ending at once, before later output; `on_unread` what was typed on the
    terminal while no command ran; `on_restart` how a shell ended that no command ran in;
    `on_notice` what the server has to say while a command runs. It is any text. What it has said
    before anybody listened is in `notice`. `on_prompt` is called when there is another prompt.
    `on_errand` gets what a command asks for, which is to be answered by `end_errand`, and
    `on_errand_over` the number of one that nobody waits for any more.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.reply = read_reply(channel, ShellReply)
        self.cwd = self.reply.cwd
        self.program = self.reply.shell
        self.on_done: Callable[[ShellEnding], None] = lambda _: None
        self.on_unread: Callable[[str], None] = lambda _: None
        self.on_restart: Callable[[ShellEnding], None] = lambda _: None
        self.notice = ""
        self.on_notice: Callable[[str], None] = self._keep_notice
        self.on_prompt: Callable[[], None] = lambda: None
        self.on_errand: Callable[[Errand], None] = self._refuse_errand
        self.on_errand_over: Callable[[int], None] = lambda _: None
        self.prompt: ShellPrompt | None = None
        self._sent = self._returnable = 0  # bytes of input; of them, not given back yet
        self._late: bytearray | None = None
        self._waits_for_late = False
        self._returned: asyncio.Future[None] | None = None
        self.name = str(channel.request.get("name", ""))
        self.found = read_joined(channel) if self.name else None
        self._is_moved = False
        self._number = 0 if self.found is None else self.found.number
        self._reply: asyncio.Future[ShellEnding] | None = None
        running = None if self.found is None else self.found.running
        self.is_starting = self.reply.starting or running == ""
        if running is not None:
            self._returnable = _TERMINAL_HOLDS
        if self.is_starting or running is not None:
            self._reply = asyncio.get_running_loop().create_future()
        self._questions: dict[int, asyncio.Future[Answer]] = {}
        self._question = 0
        told = (ShellEnding, ShellPrompt, Unread, Notice, Moved, Errand, ErrandOver)
        listen(channel, self._hear, *told, Completions, Checked, Names)

    async def __aenter__(self) -> ShellLine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    async def run(self, command: str, *, timeout: float | None = None) -> ShellEnding:
        """Run a command, once the startup files have ended, and return its ending.

        Its `unread` holds what was sent by `write_nowait` and no command got (`os.fsdecode`).
        Cancelling leaves it running: `cancel` it. Raises what cuts the channel short, ChannelReset
        for a shell that left before its first prompt, and ValueError for a command that is too
        long, holds a NUL or is no text (a lone surrogate), and for a timeout that is none.
        """
        if "\0" in command:
            raise ValueError("a command can't hold a NUL character")
        check_timeout(timeout)
        if len(command) > COMMAND_LIMIT:
            raise ValueError(f"a command can't be longer than {COMMAND_LIMIT} characters")
        if self.is_starting:
            started = await self.follow()
            if started.left:
                raise ChannelReset("failed", f"the shell {started.status} before its first prompt")
        try:
            self.channel.send_message(RunCommand(self._number + 1, command, timeout).encode())
        except LocalProtocolError as error:  # too long, as characters may take six bytes each
            raise ValueError(f"this command can't be sent: {error}") from error
        self._number += 1
        self._reply = asyncio.get_running_loop().create_future()
        return await self._ending()

    async def follow(self) -> ShellEnding:
        """Return the ending of the command that was `found` running, or of the startup files.

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
        unread = self._allowed(done.unread.encode(errors="surrogateescape") + late)
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
        self.is_starting = False
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
        answer = await self._ask_about(Complete, text)
        assert isinstance(answer, Completions)
        return answer

    async def wants_more(self, text: str) -> bool:
        """Whether `text` is incomplete for the shell. Cancelling is safe; as `complete`."""
        answer = await self._ask_about(Check, text)
        assert isinstance(answer, Checked)
        return answer.incomplete

    async def names(self) -> tuple[str, ...]:
        """Return the names that may stand first in a command. Cancelling is safe.

        A server that does not know the question never answers.
        """
        self._question += 1
        answer = await self._ask(self._question, ListNames(self._question))
        assert isinstance(answer, Names)
        return answer.names

    async def _ask_about(self, kind: type[Question], text: str) -> Answer:
        if "\0" in text or len(text) > COMMAND_LIMIT:
            raise ValueError("a question can't hold a NUL character or be that long")
        self._question += 1
        try:
            return await self._ask(self._question, kind(self._question, text))
        except LocalProtocolError as error:
            raise ValueError(f"this question can't be sent: {error}") from error

    async def _ask(self, number: int, question: Message) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        try:
            self.channel.send_message(question.encode(), urgent=True)
            return await answer
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

    def end_errand(self, number: int, status: int, reason: str = "") -> None:
        """Say what became of an errand: the status of the command, and what it is to say."""
        self.channel.send_message(ErrandDone(number, status, reason).encode(), urgent=True)

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
        elif isinstance(heard, (Completions, Checked, Names)):
            self._answer(heard)
        elif isinstance(heard, ShellPrompt):
            self.prompt = heard
            self.on_prompt()
        elif isinstance(heard, Unread):
            self._take_back(heard.text)
        elif isinstance(heard, Notice):
            self.on_notice(heard.text)
        elif isinstance(heard, Moved):
            self._is_moved = True
        elif isinstance(heard, Errand):
            self.on_errand(heard)
        elif isinstance(heard, ErrandOver):
            self.on_errand_over(heard.number)

    def _refuse_errand(self, errand: Errand) -> None:
        self.end_errand(errand.number, 255, "this client takes no errands; use rshell-cp")

    def _keep_notice(self, text: str) -> None:
        self.notice = text

    def _ended(self, done: ShellEnding) -> None:
        self.cwd = done.cwd
        awaited = 0 if self.is_starting else self._number
        if done.number == awaited and self._reply is not None and not self._reply.done():
            self._late, self._waits_for_late = bytearray(), True
            self.on_done(done)
            self._reply.set_result(done)
        elif done.restarted:
            self.on_restart(done)

    def _take_back(self, text: str) -> None:
        data = text.encode(errors="surrogateescape")
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

    def _answer(self, answer: Answer) -> None:
        waiting = self._questions.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def open_line(live: LiveSession, request: ShellRequest) -> ShellLine:
    """Open a shell channel; on a terminal the shell may be starting still.

    Raises ChannelRefused, RemoteProtocolError for a server without named shells where one is
    asked for, and what cuts the session short. Cancelling ends what was started, except for a
    named shell.
    """
    return ShellLine(await ask(live, "shell", request))
