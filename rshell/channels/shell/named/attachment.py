"""Who is sent a named shell's output: the ring that keeps it, cursors, and the attached channel.

The newest output is in an `OutputRing`. Its bytes have positions, counted from the shell's
beginning, which they keep. The oldest are dropped as new ones come.

An `OutputCursor` has a position in the ring and moves on as far as its channel has room. A message
is told at the ring's end of that moment and leaves when the cursor has come that far, which keeps
an ending behind the output before it. Endings count the bytes of this very channel.

The end of an attached channel (`Attachment`) leaves a position, from which the next one is sent:

- The client has said how much it has shown: the first byte after that.
- The client has closed it, or another has taken its place when all had arrived: the first byte
  that was not sent. What was sent is believed to have been seen.
- It was cut off, or its place was taken while something was still to arrive: the first byte that
  the client may not have read. What was in flight is shown twice rather than never.

Hazard: a channel that does not read must cost nobody else anything. Output that it misses is
counted and said; messages, which are few, wait up to a bound, and then it is cut off.

Hazard: a terminal gives output in pieces of a few bytes. Small ones are put together, or a
mebibyte of keystrokes' echoes would be a million blocks; it is some hundred.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from rshell.channels.base import Context
from rshell.channels.process.messages import STDOUT
from rshell.channels.shell.messages import RunCommand, ShellEnding, Skipped
from rshell.channels.shell.persistent import PersistentShell
from rshell.channels.shell.server import Conversation
from rshell.errors import ChannelReset, LocalProtocolError, RemoteProtocolError, SessionClosed
from rshell.protocol.codec import Message
from rshell.transport.channel import Channel
from rshell.values import TerminalSize

_BLOCK = 240 * 1024  # bytes in one write; below any frame of ours
_MESSAGES = 1000  # that wait for one channel
_SMALL = 4096  # bytes of a block that grows


class OutputRing:
    """The newest `limit` bytes. `end` is the position after the last one."""

    def __init__(self, limit: int) -> None:
        self.end = 0
        self._limit = limit
        self._blocks: deque[tuple[int, bytes]] = deque()  # with the position of the first byte

    @property
    def start(self) -> int:
        """The position of the oldest byte that is kept; so many were dropped."""
        return max(0, self.end - self._limit)

    def append(self, data: bytes) -> None:
        """Add output, and drop what is too old by now."""
        if not data:
            return
        blocks, position = self._blocks, self.end
        if blocks and len(blocks[-1][1]) + len(data) <= _SMALL:
            position, before = blocks.pop()
            data = before + data
        blocks.append((position, data))
        self.end = position + len(data)
        while blocks and blocks[0][0] + len(blocks[0][1]) <= self.start:
            blocks.popleft()

    def read(self, position: int, size: int) -> bytes:
        """Return at most `size` bytes from `position` on, which must not lie before `start`.

        They end where a block does, so ask again; none are left at `end`.
        """
        if position >= self.end:
            return b""
        first, block = self._blocks[bisect_left(self._blocks, (position + 1, b"")) - 1]
        return block[position - first : position - first + size]


class OutputCursor:
    """Sends `channel` what comes in `ring` from `position` on. `pump` after each change."""

    def __init__(self, channel: Channel, ring: OutputRing, position: int) -> None:
        self.channel = channel
        self._ring = ring
        self.position = position  # of what the channel was not given yet
        self._base = position  # of the first byte that the channel was sent
        self._counted = 0  # bytes sent since the last ending
        self._waiting: deque[tuple[int, Message | Callable[[], None]]] = deque()

    @property
    def room(self) -> int:
        """How many bytes may be added to the ring now if this channel is not to miss any."""
        return self.channel.room if self.position == self._ring.end else 0

    @property
    def sent(self) -> int:
        """The position of what has not left for the client yet."""
        return self.position_of(self.channel.sent)

    @property
    def consumed(self) -> int:
        """The position of what the client may not have read yet."""
        return self.position_of(self.channel.consumed)

    def position_of(self, count: int) -> int:
        """Return the position after the first `count` bytes of the channel."""
        return self._base + count

    def tell(self, message: Message) -> None:
        """Send a message after all the output that there is now."""
        if len(self._waiting) + self.channel.waiting_messages < _MESSAGES:
            self.after(message)
        else:
            self.channel.reset("failed", "this client is too slow for what happens here")
            self.give_up()

    def after(self, item: Message | Callable[[], None]) -> None:
        """Send a message, or call `item()`, when all that there is now was given to the channel.

        What is to be called is called at `give_up` at the latest.
        """
        self._waiting.append((self._ring.end, item))
        self.pump()

    def give_up(self) -> None:
        """The channel gets nothing more."""
        waiting, self._waiting = self._waiting, deque()
        for _, item in waiting:
            if not isinstance(item, Message):
                item()

    def pump(self) -> None:
        """Send as much as there is room for."""
        channel, ring = self.channel, self._ring
        while not channel.is_over:
            if self._waiting and self._waiting[0][0] <= self.position:
                item = self._waiting.popleft()[1]
                if isinstance(item, Message):
                    self._send(item)
                else:
                    item()
                continue
            until = self._waiting[0][0] if self._waiting else ring.end
            if self.position >= until:
                return
            room = channel.room
            if room <= 0:
                channel.want_room()
                return
            if self.position < ring.start:  # said when it matters, and once
                skipped = ring.start - self.position
                self.position += skipped
                self._base += skipped
                channel.send_message(Skipped(skipped).encode())
                continue
            data = ring.read(self.position, min(room, until - self.position, _BLOCK))
            self.position += len(data)
            self._counted += len(data)
            channel.write_nowait(data, STDOUT)

    def _send(self, message: Message) -> None:
        if isinstance(message, ShellEnding):
            message = message.replace(stdout=self._counted, stderr=0)
            self._counted = 0
        try:
            self.channel.send_message(message.encode())
        except LocalProtocolError as error:  # longer than this peer takes
            self.channel.reset("failed", str(error))


class Attachment:
    """A channel that is attached to `shell`, and sent its output by `cursor`.

    `context` is that of the channel. `run` and `resize` are the named shell's; `taken` counts the
    bytes of input that the shell was given before this channel's.
    """

    def __init__(
        self,
        context: Context,
        shell: PersistentShell,
        cursor: OutputCursor,
        run: Callable[[RunCommand], None],
        resize: Callable[[TerminalSize], None],
    ) -> None:
        self.channel = cursor.channel
        self.context = context
        self.shell = shell
        self.cursor = cursor
        self.run = run
        self.resize = resize
        self.taken = shell.taken
        self.conversation = Conversation(self.channel, context, self)
        self._shown: int | None = None  # the position that the client has named

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
