"""The place of the channel that is attached to a named shell, and what its client has seen.

Strategy: a channel that ends leaves a position in the output, from which the next one is sent.

- The client has said how much it has shown: the first byte after that.
- The client has closed it, or another has taken its place when all had arrived: the first byte
  that was not sent. What was sent is believed to have been seen.
- It was cut off, or its place was taken while something was still to arrive: the first byte that
  the client may not have read. So what was in flight is shown twice rather than never.
"""

from __future__ import annotations

from typing import Protocol

from rshell.channels.base import Context
from rshell.channels.sessions.follower import Follower
from rshell.channels.sessions.ring import Ring
from rshell.channels.shell.conversation import Conversation
from rshell.channels.shell.messages import RunCommand
from rshell.channels.shell.persistent import PersistentShell
from rshell.errors import ChannelReset, RemoteProtocolError, SessionClosed
from rshell.protocol.messages import Json
from rshell.transport.channel import Channel
from rshell.values import TerminalSize


class NamedSession(Protocol):
    """The session that has the seat."""

    name: str
    ring: Ring
    shell: PersistentShell

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError when none is due."""

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""


class Seat:
    """A channel attached to `session`, sent its output from `position` on.

    `context` is that of the channel, `taken` counts the bytes of input that the shell was given
    before this channel's, `facts` are for the audit log.
    """

    def __init__(
        self, session: NamedSession, channel: Channel, context: Context, position: int
    ) -> None:
        self.channel = channel
        self.context = context
        self.shell = session.shell
        self.taken = session.shell.taken
        self.facts: Json = {"channel": channel.number, "name": session.name}
        self.follower = Follower(channel, session.ring, position)
        self.conversation = Conversation(channel, context, self)
        self._session = session
        self._shown: int | None = None  # the position that the client has named

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError when none is due."""
        self._session.run(command)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""
        self._session.resize(size)

    def send(self, message: Json) -> None:
        """Send the client a message, after the output before it."""
        self.follower.tell(message)

    def leave(self, shown: int) -> None:
        """Note what the client has shown. Raises RemoteProtocolError when less was sent."""
        position = self.follower.position_of(shown)
        if position > self.follower.sent:
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
                return self.follower.sent, True
        elif is_moved and self.channel.is_settled:
            return self.follower.position, True
        return self.follower.consumed, False


def _was_left(channel: Channel) -> bool:
    """Whether a channel's end was meant, by the client or by us."""
    error = channel.error
    if isinstance(error, SessionClosed):
        return error.code == "done" and error.by == "remote"
    return error is None or isinstance(error, ChannelReset)
