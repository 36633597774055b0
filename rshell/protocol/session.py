"""A session: channels and the replay queue. It outlives any one link.

Callers act on channels here, which fills the outbox; a link takes frames out with `collect` when it
has room and puts frames in with `receive`.

Hazard: the events of one call describe the past. By the time a caller handles the first of
them, the peer may have ended the channel already. Calls on such a channel therefore do nothing, and
only a move that our own earlier calls forbid raises LocalProtocolError.
"""

from __future__ import annotations

from enum import Enum

from rshell.errors import ChannelRefused, ChannelReset, LocalProtocolError, RemoteProtocolError
from rshell.protocol.channel import (
    ChannelClosed,
    ChannelEvent,
    ChannelOpened,
    ChannelRequested,
    ChannelState,
    DataReceived,
    EofReceived,
    Half,
    MessageReceived,
    Queued,
)
from rshell.protocol.codec import Json, check_shape, encode_json, memory_cost, parse_object
from rshell.protocol.flow import ReceiveWindow, SendWindow
from rshell.protocol.frames import HEADER, KNOWN_TYPES, Buffer, Frame, FrameType
from rshell.protocol.messages import (
    KIND_LIMIT,
    Open,
    Opened,
    Refused,
    Reset,
    decode_number,
    encode_number,
)
from rshell.protocol.outbox import Outbox
from rshell.values import Bounds

EMPTY = b"{}"


class Role(Enum):
    """Which end we are. Clients open odd channels, servers even ones."""

    CLIENT = 1
    SERVER = 2

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Session(Outbox):
    """The durable state that two ends share; what waits to leave is its outbox.

    `id` names the session and `secret` resumes it, both given by the server. `received` counts
    the sequenced frames that arrived; `round_trip` is the smallest one of the present link, in
    seconds, None before the first.
    """

    def __init__(self, role: Role, limits: Bounds, *, id: str = "", secret: str = "") -> None:
        super().__init__(limits)
        self.role = role
        self.id = id
        self.secret = secret
        self.received = 0
        self.unacknowledged = 0  # bytes received since our last ACK
        self.claims = 0  # links that carried this session so far; only the last one may go on
        self.round_trip: float | None = None
        self._next_number = role.value
        self._last_peer_number = role.peer.value - 2

    # What callers do.

    def open(self, kind: str, request: Json) -> ChannelState:
        """Ask for a channel; its outcome comes as ChannelOpened or ChannelClosed."""
        number = self._next_number
        if number >= 2**32:
            raise LocalProtocolError("this session has used all its channel numbers")
        if len(kind) > KIND_LIMIT:
            raise LocalProtocolError(f"a channel's kind has at most {KIND_LIMIT} characters")
        channel = self._new_channel(number, kind, opened_here=True)
        try:
            body = Open(kind, channel.receive_window.size, request).to_bytes()
            self._check_size(FrameType.OPEN, body)
        except (LocalProtocolError, TypeError, ValueError):
            channel.receive_window.close()
            raise
        self._next_number += 2
        self.channels[number] = channel
        self.add_control(FrameType.OPEN, number, body)
        return channel

    def accept(self, channel: ChannelState, reply: Json | None = None) -> None:
        """Open a channel that the peer asked for."""
        if channel.theirs is Half.CLOSED:
            return
        body = Opened(channel.receive_window.size, reply or {}).to_bytes()
        self._check_size(FrameType.OPENED, body)
        channel.sending(FrameType.OPENED)
        self.add_control(FrameType.OPENED, channel.number, body)

    def refuse(self, channel: ChannelState, code: str, reason: str) -> None:
        """Decline a channel that the peer asked for."""
        if channel.theirs is Half.CLOSED:
            return
        channel.sending(FrameType.REFUSED)
        channel.theirs = Half.CLOSED
        self.add_control(FrameType.REFUSED, channel.number, Refused(code, reason).to_bytes())
        self._forget(channel)

    def send(self, channel: ChannelState, stream: int, data: Buffer) -> None:
        """Queue bytes of one stream. The caller keeps to `room`; more is queued all the same.

        `data` is kept, uncopied, until the peer has acknowledged it, and must never change.
        """
        if not len(data) or channel.theirs is Half.CLOSED:
            return
        channel.sending(FrameType.DATA)
        channel.enqueue(Queued(FrameType.DATA, data, stream))
        self.schedule(channel)

    def send_eof(self, channel: ChannelState) -> None:
        """Say, after what is queued, that no more DATA follows."""
        if channel.theirs is Half.CLOSED:
            return
        channel.sending(FrameType.EOF)
        channel.enqueue(Queued(FrameType.EOF, EMPTY))
        self.schedule(channel)

    def send_message(self, channel: ChannelState, message: Json, *, urgent: bool = False) -> None:
        """Send a message of the channel's kind, `urgent` ahead of the queued DATA."""
        if channel.theirs is Half.CLOSED:
            return
        body = encode_json(message)
        self._check_size(FrameType.MESSAGE, body)
        channel.sending(FrameType.MESSAGE)
        if urgent:
            self.add_control(FrameType.MESSAGE, channel.number, body)
        else:
            channel.enqueue(Queued(FrameType.MESSAGE, body))
            self.schedule(channel)

    def close(self, channel: ChannelState) -> None:
        """End the channel after what is queued. What the peer still sends is thrown away."""
        if channel.theirs is Half.CLOSED:
            return
        channel.sending(FrameType.CLOSE)
        channel.is_discarding = True
        channel.enqueue(Queued(FrameType.CLOSE, EMPTY))
        self.schedule(channel)
        self._credit_discarded(channel)

    def reset(self, channel: ChannelState, code: str, reason: str) -> None:
        """End the channel at once; what is queued in it is dropped. Does nothing when it is over.

        A channel that the peer asked for and that has no answer yet is refused.
        """
        if channel.ours is Half.ANSWERING:
            self.refuse(channel, code, reason)
            return
        if channel.ours is Half.CLOSED:
            if not channel.queue:
                return
            # A CLOSE still waits behind DATA: the RESET takes its place.
            channel.ours = Half.OPEN
        channel.sending(FrameType.RESET)
        channel.is_discarding = True
        channel.drop_queue()
        self.add_control(FrameType.RESET, channel.number, Reset(code, reason).to_bytes())
        self._forget_if_over(channel)

    def consumed(self, channel: ChannelState, size: int, now: float) -> None:
        """Count `size` received bytes as read by the application, which grants new credit."""
        if channel.theirs is not Half.OPEN or channel.ours is Half.CLOSED:
            return
        credit = channel.receive_window.consume(size, now, self.round_trip)
        if credit:
            self.add_credit(channel, credit)

    # What a link does.

    @property
    def is_quiet(self) -> bool:
        """Whether all that was queued has been given to a link, windows permitting or not."""
        return not self.has_output() and not any(c.queue for c in self.channels.values())

    def receive(self, frame: Frame, now: float) -> list[ChannelEvent]:
        """Take one sequenced frame. Raises RemoteProtocolError; the session is then over."""
        events = self._receive(frame, now)
        self.received += 1
        self.unacknowledged += HEADER.size + len(frame.body)
        return events

    def _receive(self, frame: Frame, now: float) -> list[ChannelEvent]:
        frame_type = KNOWN_TYPES.get(frame.type)
        if frame_type is None:
            return []  # of a later version, and marked as safe to skip
        if frame_type is FrameType.OPEN:
            return self._receive_open(frame)
        channel = self.channels.get(frame.channel)
        if channel is None:
            if frame_type is FrameType.RESET and self._was_open(frame.channel):
                return []  # it crossed our last frame of that channel
            raise RemoteProtocolError(f"{frame_type.name} in channel {frame.channel}, not open")
        channel.receiving(frame_type)
        if frame_type is FrameType.DATA:
            return self._receive_data(channel, frame.body)
        if frame_type is FrameType.WINDOW:
            channel.send_window.credit(decode_number("WINDOW", "bytes", frame.body, 1))
            self.notice_room(channel)
            self.schedule(channel)
            return []
        if frame_type is FrameType.OPENED:
            opened = Opened.from_bytes(frame.body)
            channel.send_window = SendWindow(opened.window)
            if channel.is_discarding:
                return []
            if not channel.keep(memory_cost(frame.body)):
                cause = ChannelReset("overrun", "there is no memory for the reply", by="local")
                self.reset(channel, cause.code, cause.reason)
                return [ChannelClosed(channel, cause)]
            return [ChannelOpened(channel, opened.reply)]
        if frame_type is FrameType.MESSAGE:
            message = parse_object("MESSAGE", frame.body)
            size = memory_cost(frame.body)
            return [] if channel.is_discarding else [MessageReceived(channel, message, size)]
        if frame_type is FrameType.EOF:
            parse_object("EOF", frame.body)
            return [] if channel.is_discarding else [EofReceived(channel)]
        return self._receive_end(channel, frame_type, frame.body)

    def _receive_data(self, channel: ChannelState, body: Buffer) -> list[ChannelEvent]:
        if len(body) < 2:
            raise RemoteProtocolError("DATA without bytes")
        channel.receive_window.receive(len(body) - 1)
        if channel.is_discarding:
            self._credit_discarded(channel)
            return []
        return [DataReceived(channel, body[0], bytes(body[1:]))]

    def _credit_discarded(self, channel: ChannelState) -> None:
        """Credit what is thrown away while our CLOSE still waits behind DATA.

        Without it, two ends that both closed behind more than a window would wait for ever.
        """
        window = channel.receive_window
        if not channel.queued_bytes or channel.theirs is not Half.OPEN:
            return
        if channel.credit_due or window.remaining * 2 <= window.size:
            credit = channel.credit_due + window.refill()
            channel.credit_due = 0
            body = encode_number("bytes", credit)
            self.add_control(FrameType.WINDOW, channel.number, body)

    def _receive_open(self, frame: Frame) -> list[ChannelEvent]:
        number = frame.channel
        if number % 2 != self.role.peer.value % 2 or number <= self._last_peer_number:
            raise RemoteProtocolError(f"OPEN of channel {number}, which is not the peer's next")
        request = Open.from_bytes(frame.body)
        self._last_peer_number = number
        channel = self._new_channel(number, request.kind, opened_here=False)
        channel.send_window = SendWindow(request.window)
        crowded = len(self.channels) >= self.limits.channels
        self.channels[number] = channel
        if crowded:
            self.refuse(channel, "busy", f"{self.limits.channels} channels are open already")
            return []
        if not channel.keep(memory_cost(frame.body)):
            self.refuse(channel, "busy", "the requests of this session take too much memory")
            return []
        return [ChannelRequested(channel, request.request)]

    def _receive_end(
        self, channel: ChannelState, frame_type: FrameType, body: Buffer
    ) -> list[ChannelEvent]:
        """CLOSE, REFUSED and RESET: the peer's half is closed, and ours follows."""
        cause: ChannelRefused | ChannelReset | None = None
        if frame_type is FrameType.CLOSE:
            parse_object("CLOSE", body)
        elif frame_type is FrameType.REFUSED:
            refused = Refused.from_bytes(body)
            cause = ChannelRefused(refused.code, refused.reason)
        else:
            reset = Reset.from_bytes(body)
            cause = ChannelReset(reset.code, reset.reason)
        was_discarding = channel.is_discarding
        channel.is_discarding = True
        self._close_ours(channel, refused=frame_type is FrameType.REFUSED)
        self._forget_if_over(channel)
        return [] if was_discarding else [ChannelClosed(channel, cause)]

    def _close_ours(self, channel: ChannelState, *, refused: bool) -> None:
        if channel.ours is Half.CLOSED:
            if channel.queue:  # our CLOSE waits behind DATA that nobody wants any more
                channel.drop_queue()
                self.add_control(FrameType.CLOSE, channel.number, EMPTY)
        elif refused:
            channel.ours = Half.CLOSED
        elif channel.ours is Half.ANSWERING:
            channel.sending(FrameType.REFUSED)
            body = Refused("cancelled", "the opener took it back").to_bytes()
            self.add_control(FrameType.REFUSED, channel.number, body)
        else:
            channel.sending(FrameType.CLOSE)
            channel.drop_queue()
            self.add_control(FrameType.CLOSE, channel.number, EMPTY)

    # Shared pieces.

    def _new_channel(self, number: int, kind: str, *, opened_here: bool) -> ChannelState:
        size = self.limits.window
        while size > self.limits.window_smallest and size * 4 > self._budget.free:
            size = max(size // 2, self.limits.window_smallest)
        self._budget.take(size)  # the smallest is always granted; channels are limited
        window = ReceiveWindow(size, self.limits.window_largest, self._budget)
        return ChannelState(number, kind, window, opened_here=opened_here)

    def _check_size(self, frame_type: FrameType, body: bytes) -> None:
        if len(body) > self.peer_frame:
            raise LocalProtocolError(
                f"{frame_type.name} with {len(body)} bytes, and the peer takes {self.peer_frame}"
            )
        if wrong := check_shape(body):
            raise LocalProtocolError(f"the body of {frame_type.name} {wrong}")

    def _was_open(self, number: int) -> bool:
        ours = number % 2 == self.role.value % 2
        return 0 < number < self._next_number if ours else 0 < number <= self._last_peer_number
