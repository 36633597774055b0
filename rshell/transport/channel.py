"""A channel in use: its streams, its messages and its end, for coroutines.

The pure `ChannelState` knows what may be sent; this class adds waiting. Reads wait for data,
writes wait for room, and the end of the channel wakes everything that waits.

Hazard: a server cancels the task of a handler when the peer gives the channel up. Clean up in
`finally`, and leave what takes longer to `Context.clean_up`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol, Union

from rshell.aio import Changes
from rshell.errors import ChannelReset, LocalProtocolError, RshellError
from rshell.protocol.channel import (
    ChannelOpened,
    ChannelState,
    DataReceived,
    EofReceived,
    Half,
    MessageReceived,
)
from rshell.protocol.codec import Json
from rshell.protocol.frames import Buffer, FrameType
from rshell.protocol.session import Session
from rshell.transport.streams import ByteReader

_WRITE_BLOCK = 64 * 1024

Received = Union[ChannelOpened, DataReceived, EofReceived, MessageReceived]


class Owner(Protocol):
    """What a channel needs of the session it belongs to."""

    session: Session

    def flush(self) -> None:
        """Let the link write what is queued."""

    def check_loop(self) -> None:
        """Raise RuntimeError in another event loop than the session's."""

    def forget(self, channel: Channel) -> None:
        """Send the channel no more events."""

    def now(self) -> float:
        """The clock of the link, in seconds."""

    @property
    def is_settled(self) -> bool:
        """Whether there is a link, and the peer has said that all that was sent has arrived."""


class Channel:
    """One channel of a session, at either end.

    `request` is what the opener asked, `reply` what the acceptor answered. Streams are numbered
    by the kind; `read` and `async for` take stream 0. `is_over` says that the peer has closed or
    reset the channel, or the session has ended; `error` is what cut it short.
    """

    def __init__(self, live: Owner, state: ChannelState, request: Json) -> None:
        self._live = live
        self._state = state
        self.request = request
        self.reply: Json = {}
        self.error: RshellError | None = None
        self.on_room: Callable[[], None] | None = None
        self._on_message: Callable[[Json], None] | None = None
        self._readers: dict[int, ByteReader] = {}
        self._messages: deque[tuple[Json, int]] = deque()
        self._message_bytes = 0  # of those that wait
        self._peer_ended = False
        self.is_over = False
        self._changes = Changes()

    @property
    def number(self) -> int:
        """The channel's number on the wire."""
        return self._state.number

    @property
    def kind(self) -> str:
        """The channel's kind."""
        return self._state.kind

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if exc is None:
            self.close()
        else:
            self.reset("cancelled", "the caller failed")

    # Opening, on the side that was asked.

    def accept(self, reply: Json | None = None) -> None:
        """Open the channel; needed before anything is sent. `reply` is the kind's own."""
        if not self.is_over:
            self._live.session.accept(self._state, reply)
            self._live.flush()

    def refuse(self, code: str, reason: str) -> None:
        """Decline the channel, with a REFUSED code and a sentence for people."""
        if not self.is_over:
            self._live.session.refuse(self._state, code, reason)
            self._live.flush()

    @property
    def is_answered(self) -> bool:
        """Whether `accept` or `refuse` has been called on this side, or none is due."""
        return self._state.ours is not Half.ANSWERING

    async def wait_opened(self) -> None:
        """Wait for the peer's answer. Raises ChannelRefused, or what cut the channel short.

        Cancelling takes the request back, and ends the channel.
        """
        try:
            while self._state.ours is Half.OPENING and not self.is_over:
                await self._changes.wait()
        except asyncio.CancelledError:
            self.reset("cancelled", "the caller gave up")
            raise
        if self.error is not None:
            raise self.error

    # Reading.

    def stream(self, number: int) -> ByteReader:
        """Return the reader of one incoming stream."""
        self._live.check_loop()
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = ByteReader(self._consumed)
            if self.error is not None:
                reader.fail(self.error)
            elif self._peer_ended:
                reader.feed_eof()
        return reader

    async def read(self, size: int = -1) -> bytes:
        """Read stream 0: up to `size` bytes, b"" at the end; -1 reads to the end."""
        return await self.stream(0).read(size)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.stream(0).__aiter__()

    def listen(self, on_message: Callable[[Json], None]) -> None:
        """Have messages of the kind handed to `on_message`, those that wait already at once."""
        self._on_message = None if self.is_over else on_message
        while self._messages:
            on_message(self._next_message())

    async def receive_message(self) -> Json | None:
        """Return the next message of the kind, or None after the channel's end.

        Raises the RshellError that cut the channel short. Cancelling it loses nothing.
        """
        while not self._messages:
            if self.error is not None:
                raise self.error
            if self.is_over:
                return None
            await self._changes.wait()
        return self._next_message()

    def _next_message(self) -> Json:
        message, size = self._messages.popleft()
        self._message_bytes -= size
        self._state.let_go(size)
        return message

    # Writing.

    @property
    def room(self) -> int:
        """How many bytes `write_nowait` should be given at most."""
        return self._live.session.room(self._state)

    @property
    def waiting_messages(self) -> int:
        """How many messages wait for their turn to be sent."""
        return sum(frame.type is not FrameType.DATA for frame in self._state.queue)

    def want_room(self) -> None:
        """Ask that `on_room` be called once there is room again."""
        self._live.session.want_room(self._state)

    @property
    def sent(self) -> int:
        """How many bytes have left for the peer; what waits here does not count."""
        return self._state.send_window.sent

    @property
    def consumed(self) -> int:
        """How many bytes the peer's application has read for certain, seldom all that it has."""
        return self._state.send_window.consumed

    @property
    def is_settled(self) -> bool:
        """Whether the peer is there, and has said that all that was written has arrived."""
        return self._live.is_settled

    def write_nowait(self, data: Buffer, stream: int = 0) -> None:
        """Queue bytes without waiting; keep to `room`, or memory grows.

        The bytes must not change afterwards: they are kept until the peer has them. Raises
        TypeError for what is not contiguous.
        """
        self._live.check_loop()
        self._raise_if_over()
        self._live.session.send(self._state, stream, as_bytes(data))
        self._live.flush()

    async def write(self, data: Buffer, stream: int = 0) -> None:
        """Send all of `data`, waiting for room as the peer reads.

        Raises the RshellError that cut the channel short, ChannelReset if the peer closed it,
        LocalProtocolError before `accept` and after `send_eof`, and TypeError for what is not
        contiguous. Cancelling leaves a part of `data` unsent.
        """
        view = memoryview(as_bytes(data))
        while len(view):
            room = await self._wait_for_room(min(len(view), _WRITE_BLOCK))
            self.write_nowait(view[:room] if room < len(view) else view, stream)
            view = view[room:]

    async def _wait_for_room(self, wanted: int) -> int:
        self._raise_if_unwritable()
        while (room := self.room) < 1 or (room < wanted and self._state.queue):
            self.want_room()
            await self._changes.wait()
            self._raise_if_unwritable()
        return room

    def _raise_if_unwritable(self) -> None:
        self._raise_if_over()
        if self._state.ours in (Half.ANSWERING, Half.ENDED):
            # There will never be room: say so instead of waiting for it.
            when = "before accept" if self._state.ours is Half.ANSWERING else "after send_eof"
            raise LocalProtocolError(f"write {when} in a {self.kind} channel")

    def send_eof(self) -> None:
        """Say that no more data follows; what was written goes first. Does nothing when over."""
        if self._state.ours is Half.OPEN:
            self._live.session.send_eof(self._state)
            self._live.flush()
            self._changes.notify()  # a write that waits for room would wait for ever

    def send_message(self, message: Json, *, urgent: bool = False) -> None:
        """Send a message of the kind, `urgent` ahead of queued data. Dropped when over.

        A peer that asks for more messages than it takes loses the channel.
        """
        self._live.check_loop()
        if self._state.queued_messages > self._live.session.limits.messages:
            self.reset("overrun", "more messages wait to be taken than there is memory for")
        elif self._state.ours in (Half.OPEN, Half.ENDED):
            self._live.session.send_message(self._state, message, urgent=urgent)
            self._live.flush()

    # Ending.

    def close(self) -> None:
        """End the channel after what was written; nothing more is read from it.

        Does nothing when it is over.
        """
        if self._state.ours in (Half.OPEN, Half.ENDED):
            self._live.session.close(self._state)
            self._live.flush()
        self._live.forget(self)
        self._end(None)

    def reset(self, code: str, reason: str) -> None:
        """End the channel at once; what was written and not sent is lost.

        Does nothing when it is over.
        """
        self._live.session.reset(self._state, code, reason)
        self._live.flush()
        self._live.forget(self)
        self._end(ChannelReset(code, reason, by="local"))

    async def wait_closed(self) -> None:
        """Wait until the peer has closed the channel, or it was cut short. Safe to cancel."""
        while not self.is_over:
            await self._changes.wait()

    # What the session calls, and nobody else.

    def _receive(self, event: Received) -> None:
        """Take an event. Raises what a listener raises."""
        if isinstance(event, DataReceived):
            self.stream(event.stream).feed(event.data)
        elif isinstance(event, MessageReceived):
            self._received_message(event)
        elif isinstance(event, EofReceived):
            self._peer_ended = True
            for reader in self._readers.values():
                reader.feed_eof()
        else:
            self.reply = event.reply
            self._changes.notify()

    def _received_message(self, event: MessageReceived) -> None:
        if self._on_message is not None:
            self._on_message(event.message)
            return
        largest = self._live.session.limits.messages
        if self._message_bytes + event.size > largest or not self._state.keep(event.size):
            # No window holds messages back: a peer that floods is told so, not obeyed.
            self.reset("overrun", "more messages wait to be read than there is memory for")
            return
        self._messages.append((event.message, event.size))
        self._message_bytes += event.size
        self._changes.notify()

    def _has_room(self) -> None:
        """Wake those who wait for room."""
        if self.on_room is not None:
            self.on_room()
        self._changes.notify()

    def _end(self, error: RshellError | None) -> None:
        """Note the end; `error` is None after a CLOSE. The first call counts."""
        if self.is_over:
            return
        self.is_over = True
        self.error = error
        self._peer_ended = True
        for reader in self._readers.values():
            if error is None:
                reader.feed_eof()
            else:
                reader.fail(error)
            reader.let_go()
        self.on_room = self._on_message = None  # their owners hold this channel
        self._changes.notify()

    # Shared pieces.

    def _consumed(self, size: int) -> None:
        session = self._live.session
        session.consumed(self._state, size, self._live.now())
        if self._state.credit_due:
            self._live.flush()

    def _raise_if_over(self) -> None:
        if self.is_over:
            raise self.error or ChannelReset("closed", "the other side closed the channel")


def as_bytes(data: Buffer) -> Buffer:
    """Return the same memory as single bytes, which is what lengths are counted in."""
    if isinstance(data, (bytes, bytearray)):
        return data
    view = memoryview(data)
    if view.itemsize == view.ndim == 1 and view.c_contiguous:
        return view
    return view.cast("B")
