"""The server's side of a `shell` channel: one with a shell of its own, or at a named shell.

Strategy: a plain shell lives and dies with its channel. One with a name lives in `NamedShells`;
its channels come and go, and all they do here is wait for their own end.
"""

from __future__ import annotations

from rshell.channels.base import NO_NAMED, Context
from rshell.channels.shell.conversation import Conversation, welcome
from rshell.channels.shell.messages import RunCommand, ShellEnding, ShellRequest
from rshell.channels.shell.persistent import PersistentShell
from rshell.channels.work import Task
from rshell.errors import ChannelRefused, RemoteProtocolError, SpawnError
from rshell.protocol.messages import Json
from rshell.transport.channel import Channel
from rshell.values import TerminalSize


async def serve_shell(channel: Channel, context: Context) -> None:
    """Keep a shell for the channel until the client closes it or it is told to leave.

    With a name: attach the channel to the session of that name, or have it watch.
    """
    try:
        request = ShellRequest.decode(channel.request)
    except RemoteProtocolError as error:
        channel.refuse("bad-request", str(error))
        return
    if request.name is None:
        await _PlainShell(channel, context, request).serve()
        return
    if context.named is None:
        channel.refuse("failed", NO_NAMED)
        return
    try:
        await context.named.serve(channel, context, request)
    except ChannelRefused as error:
        channel.refuse(error.code, error.reason)


class _PlainShell:
    """A channel's own shell."""

    def __init__(self, channel: Channel, context: Context, request: ShellRequest) -> None:
        self.shell = PersistentShell(channel, context, request, self._done, self._fail)
        self._channel = channel
        self._context = context
        self._request = request
        self._conversation = Conversation(channel, context, self)
        self._task: Task | None = None  # while a command runs

    async def serve(self) -> None:
        """Start the shell, then wait until the client closes the channel or the shell leaves."""
        channel = self._channel
        try:
            try:
                await self.shell.start()
            except (SpawnError, OSError, TimeoutError) as error:
                program = self.shell.program
                channel.refuse("failed", f"the server can't start {program}: {error}")
                return
            channel.accept(welcome(self.shell))
            channel.on_room = self.shell.resume
            self._conversation.begin(feeds=self._request.stdin or self.shell.has_terminal)
            self.shell.resume()  # there was no room before the channel was open
            await channel.wait_closed()
        finally:
            self._conversation.close()
            self.shell.close()
            self._end_task()

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError while another one runs."""
        if self.shell.running is not None:
            raise RemoteProtocolError("a command runs in this shell already")
        self._audit("command", {"shell": command.command, "cwd": self.shell.cwd})
        self._task = self._context.work.begin(self._context.session, self._channel)
        self.shell.run(command)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""
        self.shell.resize(size)

    def send(self, message: Json) -> None:
        """Send the client a message."""
        self._channel.send_message(message)

    def leave(self, shown: int) -> None:
        """Do nothing: this shell ends with its channel, and nobody will want the rest."""

    def _done(self, done: ShellEnding) -> None:
        for message in done.split():
            self._channel.send_message(message)
        if self.shell.running is None:  # else another shell has taken the place of one that died
            self._end_task()
        self._audit("ended", done.facts())
        if done.left:
            self._channel.close()

    def _fail(self, reason: str) -> None:
        self._channel.reset("failed", reason)

    def _end_task(self) -> None:
        if self._task is not None:
            self._task.end()
            self._task = None

    def _audit(self, event: str, facts: Json) -> None:
        self._context.audit(event, {"channel": self._channel.number} | facts)
