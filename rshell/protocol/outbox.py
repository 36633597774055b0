"""What a session has to say, in the order in which it leaves.

Three things wait for a link: control frames, channels with little to send, channels with much.
They go in that order, and a keystroke or a signal never stands behind bulk data. Channels take
turns within their class, and each small channel gets one turn a round: bulk never starves.

Hazard: a frame is numbered in `collect`, at the moment it is given to a link, and not a moment
earlier. Whatever overtakes must do so before that.

Hazard: while no link is there, queues fill and `room` falls to 0, which is the back-pressure.
"""

from __future__ import annotations

from collections import deque

from rshell.protocol.channel import ChannelState, Half
from rshell.protocol.flow import MemoryBudget
from rshell.protocol.frames import Buffer, FrameType, encode_data_header, encode_frame
from rshell.protocol.messages import encode_number
from rshell.protocol.replay import ReplayQueue
from rshell.values import Bounds

_SMALL = 4096  # queued bytes up to which a channel counts as interactive
_LEAST = 16 * 1024  # bytes that a channel may queue though the session's budget is spent


class Outbox:
    """The sending side of a session: its open channels, and the frames that wait for a link.

    `peer_frame` is the peer's largest body, in bytes; `replay` holds the frames that the peer has
    not acknowledged.
    """

    def __init__(self, limits: Bounds) -> None:
        self.limits = limits
        self.channels: dict[int, ChannelState] = {}
        self.peer_frame = limits.frame
        self._budget = MemoryBudget(limits.session_memory)
        self.replay = ReplayQueue(limits.replay, limits.replay_largest, self._budget, limits.hold)
        self._control: deque[tuple[FrameType, int, bytes]] = deque()
        self._credits: deque[ChannelState] = deque()
        self._small: deque[ChannelState] = deque()
        self._bulk: deque[ChannelState] = deque()
        self._roomy: list[ChannelState] = []

    @property
    def queued_control(self) -> int:
        """How many control frames wait for a link."""
        return len(self._control)

    @property
    def kept_bytes(self) -> int:
        """How much memory holds what the peer has not acknowledged, or was not sent yet."""
        return self.replay.size + sum(channel.queued_bytes for channel in self.channels.values())

    def has_output(self) -> bool:
        """Whether `collect` might yield anything."""
        return bool(
            self._control or self._credits or self._small or self._bulk or self.replay.has_again
        )

    # What waits.

    def add_control(self, frame_type: FrameType, number: int, body: bytes) -> None:
        """Let a frame leave ahead of all DATA."""
        self._control.append((frame_type, number, body))

    def add_credit(self, channel: ChannelState, credit: int) -> None:
        """Let a WINDOW leave; what is due for a channel already becomes one with it."""
        if not channel.credit_due:
            self._credits.append(channel)
        channel.credit_due += credit

    def schedule(self, channel: ChannelState) -> None:
        """Give a channel with queued frames its place in line, if the peer's window lets it."""
        if channel.is_scheduled or not channel.queue:
            return
        if channel.queue[0].type is FrameType.DATA and not channel.send_window.available:
            return  # WINDOW brings it back
        channel.is_scheduled = True
        (self._small if channel.queued_bytes <= _SMALL else self._bulk).append(channel)

    # Room.

    def room(self, channel: ChannelState) -> int:
        """Return how many bytes may be queued in the channel now, 0 or more."""
        if channel.ours is not Half.OPEN:
            return 0
        queued = channel.queued_bytes
        limit = min(self.limits.channel_queue, channel.send_window.available)
        return max(0, min(limit - queued, max(self._budget.free, _LEAST - queued)))

    def want_room(self, channel: ChannelState) -> None:
        """Ask that `take_roomy` names the channel once it has room again."""
        channel.wants_room = True

    def notice_room(self, channel: ChannelState) -> None:
        """Note the channel for `take_roomy` if it waits for room and has some worth the while."""
        if channel.wants_room:
            enough = min(self.limits.channel_queue, self.limits.window_smallest) // 2
            room = self.room(channel)
            if room >= enough or (room and not channel.queue):
                channel.wants_room = False
                self._roomy.append(channel)

    def take_roomy(self) -> list[ChannelState]:
        """Return the channels that asked for room and now have it, each once."""
        if not self._roomy:
            return []
        roomy, self._roomy = self._roomy, []
        return roomy

    # What leaves.

    def collect(self, out: list[Buffer], room: int, now: float) -> int:
        """Number the next frames and append their bytes to `out`: about `room` bytes of DATA.

        Returns the bytes appended. Frames of an earlier link that the peer lacks come first.
        """
        size = 0
        replay = self.replay
        while replay.has_again:
            if size >= room:
                return size
            frame = replay.take_again()
            out.extend(frame)
            size += sum(map(len, frame))
        size += self._collect_control(out, now)
        if self._control:
            return size  # DATA must not overtake the OPENED of its channel
        for _ in range(len(self._small)):
            if replay.is_full:
                return size
            size += self._collect_one(self._small.popleft(), out, now)
        while self._bulk and size < room and not replay.is_held:
            size += self._collect_one(self._bulk.popleft(), out, now)
        return size

    def _collect_control(self, out: list[Buffer], now: float) -> int:
        size = 0
        while self._control and not self.replay.is_exhausted:
            size += self._commit(out, now, encode_frame(*self._control.popleft()))
        while self._credits and not self.replay.is_exhausted:
            channel = self._credits.popleft()
            credit, channel.credit_due = channel.credit_due, 0
            if credit and channel.ours is not Half.CLOSED and channel.theirs is not Half.CLOSED:
                channel.sending(FrameType.WINDOW)
                body = encode_number("bytes", credit)
                frame = encode_frame(FrameType.WINDOW, channel.number, body)
                size += self._commit(out, now, frame)
        return size

    def _collect_one(self, channel: ChannelState, out: list[Buffer], now: float) -> int:
        """Commit the channel's next frame, if it may go, and put the channel back in line."""
        channel.is_scheduled = False
        item = channel.next_queued(min(self.peer_frame - 1, self.replay.largest_frame))
        if item is None:
            return 0
        if item.type is FrameType.DATA:
            header = encode_data_header(channel.number, item.stream, len(item.payload))
            size = self._commit(out, now, header, item.payload)
        else:
            frame = encode_frame(item.type, channel.number, bytes(item.payload))
            size = self._commit(out, now, frame)
            if item.type is FrameType.CLOSE:
                self._forget_if_over(channel)
        self.notice_room(channel)
        self.schedule(channel)
        return size

    def _commit(self, out: list[Buffer], now: float, *buffers: Buffer) -> int:
        size = sum(map(len, buffers))
        self.replay.append(buffers, size, now)
        out.extend(buffers)
        return size

    # Channels that are over.

    def _forget_if_over(self, channel: ChannelState) -> None:
        if channel.is_over and not channel.queue:
            self._forget(channel)

    def _forget(self, channel: ChannelState) -> None:
        if self.channels.pop(channel.number, None) is not None:
            channel.close()
