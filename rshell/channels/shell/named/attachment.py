"""The channel that is attached to a named shell, and what its client has seen of the output.

A channel that ends leaves a position in the output, from which the next one is sent.

- The client has said how much it has shown: the first byte after that.
- The client has closed it, or another has taken its place when all had arrived: the first byte
  that was not sent. What was sent is believed to have been seen.
- It was cut off, or its place was taken while something was still to arrive: the first byte that
  the client may not have read. What was in flight is shown twice rather than never.
"""

from __future__ import annotations

from typing import Protocol

from rshell.channels.base import Context
from rshell.channels.shell.messages import RunCommand
from rshell.channels.shell.named.output_cursor import OutputCursor, OutputRing
from rshell.channels.shell.persistent import PersistentShell
from rshell.channels.shell.server import Conversation
from rshell.errors import ChannelReset, RemoteProtocolError, SessionClosed
from rshell.protocol.codec import Json, Message
from rshell.transport.channel import Channel
from rshell.values import TerminalSize


class Attachable(Protocol):
    """The named shell, as far as who is attached needs it."""

    name: str
    ring: OutputRing
    shell: PersistentShell

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError when none is due."""

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""


class Attachment:
    """A channel attached to `named`, which is sent its output from `position` on.

    `context` is that of the channel, `taken` counts the bytes of input that the shell was given
    before this channel's, `facts` are for the audit log.
    """

    def __init__(
        self, named: Attachable, channel: Channel, context: Context, position: int
    ) -> None:
        self.channel = channel
        self.context = context
        self.shell = named.shell
        self.taken = named.shell.taken
        self.facts: Json = {"channel": channel.number, "name": named.name}
        self.cursor = OutputCursor(channel, named.ring, position)
        self.conversation = Conversation(channel, context, self)
        self._named = named
        self._shown: int | None = None  # the position that the client has named

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError when none is due."""
        self._named.run(command)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""
        self._named.resize(size)

    def send(self, message: Message) -> None:
        """Send the client a message, after the output before it."""
        self.cursor.tell(message)

    def leave(self, shown: int) -> None:
        """Note what the client has shown. Raises RemoteProtocolError when less was sent."""
        position = self.cursor.position_of(shown)
        if position > self.cursor.sent:
            raise RemoteProtocolError(f"{shown} bytes can't have been shown: so many were not sent")
        self._shown = position

    def seen(self, *, is_moved: bool) -> tuple[int, bool]:
        """Return up to which position the client has seen the output, and whether for certain.

        `is_moved` says that another takes its place. To be asked when the channel is over, or
        about to be closed by us.
        """
        if self._shown is not None:
            return self._shown, True
        if self.channel.is_over:
            if _was_left(self.channel):
                return self.cursor.sent, True
        elif is_moved and self.channel.is_settled:
            return self.cursor.position, True
        return self.cursor.consumed, False


def _was_left(channel: Channel) -> bool:
    """Whether a channel's end was meant, by the client or by us."""
    error = channel.error
    if isinstance(error, SessionClosed):
        return error.code == "done" and error.by == "remote"
    return error is None or isinstance(error, ChannelReset)
