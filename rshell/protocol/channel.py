"""One channel: two half-states, the one table that moves them, and what can happen in it.

Each side owns a half, and a half is what that side may still send. Both halves of a channel are
kept at both ends and moved by the same table, once for frames that we send (a frame that the
table lacks is our bug) and once for frames that we receive (then it is the peer's error). OPENED
moves the opener's half too; that is the only coupling.

Events are named tuples: they are made for each frame, and each program pays for their definition
at its start, a fifth of what frozen dataclasses would take.

Hazard: after our RESET the peer's earlier frames still arrive. They must pass the table like
any other, but are thrown away (`is_discarding`) until the peer's own half has closed.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple, Union

from rshell.errors import LocalProtocolError, RemoteProtocolError, RshellError
from rshell.protocol.codec import Json
from rshell.protocol.flow import ReceiveWindow, SendWindow
from rshell.protocol.frames import Buffer, FrameType


class Half(Enum):
    """What one side of a channel may still send."""

    OPENING = "opening"  # asked for the channel, has no answer yet
    ANSWERING = "answering"  # was asked, has not answered yet
    OPEN = "open"
    ENDED = "ended"  # sends no more DATA
    CLOSED = "closed"


# The whole rule, and the source of the diagram in docs/protocol.md.
TRANSITIONS: dict[Half, dict[FrameType, Half]] = {
    Half.OPENING: {FrameType.RESET: Half.CLOSED},
    Half.ANSWERING: {
        FrameType.OPENED: Half.OPEN,
        FrameType.REFUSED: Half.CLOSED,
    },
    Half.OPEN: {
        FrameType.DATA: Half.OPEN,
        FrameType.WINDOW: Half.OPEN,
        FrameType.MESSAGE: Half.OPEN,
        FrameType.EOF: Half.ENDED,
        FrameType.CLOSE: Half.CLOSED,
        FrameType.RESET: Half.CLOSED,
    },
    Half.ENDED: {
        FrameType.WINDOW: Half.ENDED,
        FrameType.MESSAGE: Half.ENDED,
        FrameType.CLOSE: Half.CLOSED,
        FrameType.RESET: Half.CLOSED,
    },
    Half.CLOSED: {},
}


_SMALL = 1024  # bytes, up to which blocks are joined
_MANY = 64  # blocks in a queue before small ones are joined
_LEAST = 16 * 1024  # bytes of the peer's that are kept though the session's budget is spent


class Queued(NamedTuple):
    """A frame that waits for the channel's turn; DATA may be split on the way out."""

    type: FrameType
    payload: Buffer
    stream: int = 0


class ChannelState:
    """What both ends know of one channel. `Session` is its only writer."""

    def __init__(
        self, number: int, kind: str, receive_window: ReceiveWindow, *, opened_here: bool
    ) -> None:
        self.number = number
        self.kind = kind
        self.ours = Half.OPENING if opened_here else Half.ANSWERING
        self.theirs = Half.ANSWERING if opened_here else Half.OPENING
        self.receive_window = receive_window
        self.send_window = SendWindow(0)
        self.queue: deque[Queued] = deque()
        self.queued_bytes = 0  # of DATA
        self.queued_messages = 0  # bytes
        self.kept = 0
        self.credit_due = 0
        self.is_scheduled = False
        self.is_discarding = False
        self.wants_room = False
        self._budget = receive_window.budget

    @property
    def is_over(self) -> bool:
        """Whether neither side will send anything more."""
        return self.ours is Half.CLOSED and self.theirs is Half.CLOSED

    def sending(self, frame_type: FrameType) -> None:
        """Move our half. Raises LocalProtocolError where the table has no such move."""
        after = TRANSITIONS[self.ours].get(frame_type)
        if after is None:
            raise LocalProtocolError(
                f"{frame_type.name} can't be sent in channel {self.number}: "
                f"our side is {self.ours.value}"
            )
        self.ours = after
        if frame_type is FrameType.OPENED and self.theirs is Half.OPENING:
            self.theirs = Half.OPEN

    def receiving(self, frame_type: FrameType) -> None:
        """Move the peer's half. Raises RemoteProtocolError where the table has no such move."""
        after = TRANSITIONS[self.theirs].get(frame_type)
        if after is None:
            raise RemoteProtocolError(
                f"{frame_type.name} in channel {self.number}, whose sender is {self.theirs.value}"
            )
        self.theirs = after
        if frame_type is FrameType.OPENED and self.ours is Half.OPENING:
            self.ours = Half.OPEN

    def keep(self, size: int) -> bool:
        """Count bytes of the peer's that are kept until `let_go`, if the budget has them.

        Of a channel that is over they are not counted: the budget has back what it held.
        """
        if self.is_over:
            return True  # who hears of a message may do so after the end that came with it
        if self.kept + size > _LEAST and not self._budget.reserve(size):
            return False
        if self.kept + size <= _LEAST:
            self._budget.take(size)
        self.kept += size
        return True

    def let_go(self, size: int) -> None:
        """Count bytes as kept no more; at the end of the channel all are."""
        size = min(size, self.kept)
        self.kept -= size
        self._budget.release(size)

    def close(self) -> None:
        """Give back to the budget all that the channel holds of it, but for its queue."""
        self.receive_window.close()
        self.let_go(self.kept)

    def enqueue(self, item: Queued) -> None:
        """Let a frame wait for the channel's turn; of many, small ones are joined."""
        size = len(item.payload)
        if item.type is FrameType.DATA:
            self.queued_bytes += size
            self._budget.take(size)
            if len(self.queue) >= _MANY and size < _SMALL and self._join(item):
                return
        elif item.type is FrameType.MESSAGE:
            self.queued_messages += size
        self.queue.append(item)

    def _join(self, item: Queued) -> bool:
        """Add a small block to the last one if that is one of its stream, and small as well."""
        last = self.queue[-1]
        is_alike = last.type is FrameType.DATA and last.stream == item.stream
        if not is_alike or len(last.payload) >= _SMALL:
            return False
        self.queue[-1] = last._replace(payload=b"".join((last.payload, item.payload)))
        return True

    def next_queued(self, largest: int) -> Queued | None:
        """Take the next frame that may go out now, DATA at most `largest` bytes, or None."""
        if not self.queue:
            return None
        item = self.queue[0]
        if item.type is not FrameType.DATA:
            if item.type is FrameType.MESSAGE:
                self.queued_messages -= len(item.payload)
            return self.queue.popleft()
        size = min(self.send_window.available, largest)
        if size == 0:
            return None
        if len(item.payload) <= size:
            self.queue.popleft()
        else:
            view = memoryview(item.payload)
            self.queue[0] = Queued(item.type, view[size:], item.stream)
            item = Queued(item.type, view[:size], item.stream)
        self.queued_bytes -= len(item.payload)
        self._budget.release(len(item.payload))
        self.send_window.take(len(item.payload))
        return item

    def drop_queue(self) -> None:
        """Forget what waits: the channel was cut short."""
        self.queue.clear()
        self._budget.release(self.queued_bytes)
        self.queued_bytes = self.queued_messages = 0


# What a session tells its owner. One class for each thing that can happen.


class ChannelRequested(NamedTuple):
    """The peer wants a channel; answer with `Session.accept` or `Session.refuse`."""

    channel: ChannelState
    request: Json


class ChannelOpened(NamedTuple):
    """The peer opened the channel that we asked for."""

    channel: ChannelState
    reply: Json


class DataReceived(NamedTuple):
    """Bytes of one stream, never empty. Credit them with `Session.consumed` once read."""

    channel: ChannelState
    stream: int
    data: bytes


class EofReceived(NamedTuple):
    """The peer will send no more DATA in this channel."""

    channel: ChannelState


class MessageReceived(NamedTuple):
    """A message of the channel's kind, which takes about `size` bytes of memory."""

    channel: ChannelState
    message: Json
    size: int


class ChannelClosed(NamedTuple):
    """The channel is over. `cause` is None after a CLOSE, else ChannelRefused or ChannelReset."""

    channel: ChannelState
    cause: RshellError | None


ChannelEvent = Union[
    ChannelRequested, ChannelOpened, DataReceived, EofReceived, MessageReceived, ChannelClosed
]
