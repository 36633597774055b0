"""A channel that is sent a named shell's output, and messages at their place in it.

Strategy: a follower has a position in the ring and moves on as far as its channel has room. A
message is told at the ring's end of that moment and leaves when the follower has come so far, so
an ending never overtakes the output before it. Endings count the bytes of this very channel.

Hazard: a channel that does not read must cost nobody else anything. Output that it misses is
counted and said; messages, which are few, wait up to a bound, and then it is cut off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from rshell.channels.process.messages import STDOUT
from rshell.channels.sessions.ring import Ring
from rshell.channels.shell.messages import ShellEnding
from rshell.errors import LocalProtocolError
from rshell.protocol.messages import Json
from rshell.transport.channel import Channel

_BLOCK = 240 * 1024  # bytes in one write; below any frame of ours
_MESSAGES = 1000  # that wait for one channel


class Follower:
    """Sends `channel` what comes in `ring` from `position` on. `pump` after each change."""

    def __init__(self, channel: Channel, ring: Ring, position: int) -> None:
        self.channel = channel
        self._ring = ring
        self._position = position
        self._base = position  # of the first byte that the channel was sent
        self._counted = 0  # bytes sent since the last ending
        self._waiting: deque[tuple[int, Json | ShellEnding | None]] = deque()
        self._on_delivered: list[tuple[int, Callable[[], None]]] = []

    @property
    def room(self) -> int:
        """How many bytes may be added to the ring now if this channel is not to miss any."""
        return self.channel.room if self._position == self._ring.end else 0

    @property
    def position(self) -> int:
        """The position of what the channel was not given yet."""
        return self._position

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

    def tell(self, message: Json | ShellEnding) -> None:
        """Send a message after all the output that there is now."""
        if len(self._waiting) + self.channel.waiting_messages >= _MESSAGES:
            self._waiting.clear()
            self.channel.reset("failed", "this client is too slow for what happens here")
            return
        self._waiting.append((self._ring.end, message))
        self.pump()

    def after(self, call: Callable[[], None]) -> None:
        """Call `call()` once all that there is now was given to the channel, or is given up."""
        self._on_delivered.append((self._ring.end, call))
        self._look_delivered()

    def give_up(self) -> None:
        """The channel gets nothing more."""
        calls, self._on_delivered = self._on_delivered, []
        for _, call in calls:
            call()

    def _look_delivered(self) -> None:
        while self._on_delivered and self._on_delivered[0][0] <= self._position:
            if self._waiting and self._waiting[0][0] <= self._position:
                return  # a message of that place has still to go
            self._on_delivered.pop(0)[1]()

    def finish(self) -> None:
        """Close the channel after all that there is now."""
        self._waiting.append((self._ring.end, None))
        self.pump()

    def pump(self) -> None:
        """Send as much as there is room for."""
        self._pump()
        self._look_delivered()

    def _pump(self) -> None:
        channel, ring = self.channel, self._ring
        while not channel.is_over:
            if self._waiting and self._waiting[0][0] <= self._position:
                self._send(self._waiting.popleft()[1])
                continue
            until = self._waiting[0][0] if self._waiting else ring.end
            if self._position >= until:
                return
            room = channel.room
            if room <= 0:
                channel.want_room()
                return
            if self._position < ring.start:  # said when it matters, and once
                skipped = ring.start - self._position
                self._position += skipped
                self._base += skipped
                channel.send_message({"type": "skipped", "bytes": skipped})
                continue
            data = ring.read(self._position, min(room, until - self._position, _BLOCK))
            self._position += len(data)
            self._counted += len(data)
            channel.write_nowait(data, STDOUT)

    def _send(self, message: Json | ShellEnding | None) -> None:
        if message is None:
            self.channel.close()
            return
        if isinstance(message, ShellEnding):
            message = replace(message, stdout=self._counted, stderr=0).encode()
            self._counted = 0
        try:
            self.channel.send_message(message)
        except LocalProtocolError as error:  # longer than this peer takes
            self.channel.reset("failed", str(error))
