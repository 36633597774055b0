"""The frames of one direction that were sent and not yet acknowledged: how many, and for how long.

Replay (docs/protocol.md, "Sessions"): a sequenced frame is numbered when it is handed to a link,
never before, and control frames may overtake bulk data up to that moment. A numbered frame is
kept until the peer says that it has arrived. After a cut, `ReplayQueue.rewind` says what the peer
lacks.

The pace of a path: what was handed to a link can't be overtaken any more. On a path of 4 KB/s, all
that a transport and a kernel take at once keeps a key, a signal or a PING waiting for minutes. An
acknowledgement tells how long a frame was on its way, with how much before it: so much moved in so
long. `hold` bounds what bulk data may have on its way. It begins small, grows with each
acknowledgement that comes soon, faster than TCP does, and soon bounds nothing.
Where a frame took seconds longer than a round trip, it becomes what the path moves in a second or
two. A frame of bulk data is at most a quarter of it, so that even a link that lives for seconds
moves something forward.

Hazards:
- A full queue must stop the sender, never drop a frame. Control frames may use a small reserve
  beyond the limit, or bulk data that waits for an acknowledgement could hold up a WINDOW that the
  peer needs before it can go on. The limit grows as windows do, by what is acknowledged in a round
  trip, and only where it was reached.
- A short answer says nothing of a path that was given little: `hold` grows only by frames that were
  sent with half of it on its way. A long one says nothing where little was sent, because an
  acknowledgement may be put off for a second, and a peer may be busy.
- Frames handed on before `hold` last changed say what was so then, and are not judged again.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from rshell.errors import RemoteProtocolError, ResumeFailed
from rshell.protocol.flow import MemoryBudget, RoundTrips
from rshell.protocol.frames import Buffer

SentFrame = tuple[Buffer, ...]

CONTROL_RESERVE = 256 * 1024
FRAME_OVERHEAD = 200  # bytes of memory that a kept frame costs beside its content
HOLD_LEAST = 16 * 1024  # a TLS record, which counts only when it is whole, and as much behind it
_HOLD_NOTHING = 2**40
_FRAMES_HELD = 4  # that make up what is held
_SLOW = 2.5  # seconds beyond a round trip, an acknowledgement's delay among them
_SOON = 1.2
_AIM = 2.0
_FIRST_STEP = 4  # how `hold` grows on a new link, to be ahead of TCP, which doubles
_NEXT_STEP = 2  # and once it was too much


class _Kept(NamedTuple):
    """A frame, what it costs, and when it was handed to a link with how much on its way."""

    frame: SentFrame
    cost: int
    handed: float
    on_way: int


class ReplayQueue:
    """One direction's frames that were numbered and not yet acknowledged.

    `limit` and `largest` are bytes of memory; what `limit` grows by is taken from `budget`.
    `first` is the number of the oldest kept frame, `next` the number that the next frame gets;
    both start at 0. `size` bytes are kept; bulk data waits while they are `hold`, which each link
    begins with anew.
    """

    def __init__(self, limit: int, largest: int, budget: MemoryBudget, hold: int) -> None:
        self.first = 0
        self.next = 0
        self.limit = limit
        self.size = 0
        self.hold = self._hold_first = hold
        self._held_since = 0.0
        self._step = _FIRST_STEP
        self._largest = largest
        self._budget = budget
        self._frames: deque[_Kept] = deque()
        self._again: deque[SentFrame] = deque()
        self._was_full = False
        self._pace = RoundTrips()

    @property
    def is_full(self) -> bool:
        """Whether all DATA has to wait."""
        return self.size >= self.limit

    @property
    def is_held(self) -> bool:
        """Whether bulk data has to wait."""
        return self.size >= min(self.limit, self.hold)

    @property
    def largest_frame(self) -> int:
        """The most bytes that a frame of bulk data should have on this path."""
        return self.hold // _FRAMES_HELD

    @property
    def is_exhausted(self) -> bool:
        """Whether even control frames have to wait."""
        return self.size >= self.limit + CONTROL_RESERVE

    @property
    def has_again(self) -> bool:
        """Whether frames of an earlier link still have to be sent on this one."""
        return bool(self._again)

    def append(self, frame: SentFrame, size: int, now: float) -> None:
        """Number a frame of `size` bytes that is sent now."""
        cost = size + FRAME_OVERHEAD
        self.size += cost
        self.next += 1
        self._frames.append(_Kept(frame, cost, now, self.size))
        if self.size >= self.limit:
            self._was_full = True

    def acknowledge(self, received: int, now: float, round_trip: float | None) -> None:
        """Forget the frames before number `received`.

        Raises RemoteProtocolError when the peer claims frames that were never sent.
        An old acknowledgement is ignored.
        """
        if received > self.next:
            raise RemoteProtocolError(
                f"{received} frames acknowledged of {self.next} sent", code="sequence"
            )
        if received <= self.first:
            return
        freed = 0
        while self.first < received:
            kept = self._frames.popleft()
            freed += kept.cost
            self.first += 1
        self.size -= freed
        if kept.handed >= self._held_since and round_trip is not None:
            self._judge(kept.on_way, now - kept.handed, round_trip, now)
        passed = self._pace.count(freed, now, round_trip)
        if passed:
            was_full, self._was_full = self._was_full, False
            if was_full and passed * 3 > self.limit:
                self._grow()

    def _judge(self, size: int, seconds: float, round_trip: float, now: float) -> None:
        """Learn from `size` bytes that took so many seconds, both ways."""
        hold = self.hold
        if seconds > round_trip + _SLOW and size >= HOLD_LEAST:
            hold = min(hold, max(HOLD_LEAST, int(size / seconds * (round_trip + _AIM))))
            self._step = _NEXT_STEP
        elif seconds < round_trip + _SOON and size * 2 >= hold:
            hold = min(self._step * hold, _HOLD_NOTHING)
        if hold != self.hold:
            self.hold, self._held_since = hold, now

    def _grow(self) -> None:
        added = min(self.limit, self._largest - self.limit)
        if added > 0 and self._budget.reserve(added):
            self.limit += added

    def rewind(self, received: int, now: float) -> None:
        """Begin a new link: the peer has `received` frames, all later ones go out again.

        Raises RemoteProtocolError when the peer is ahead of what was sent, and ResumeFailed
        when it is behind what is kept.
        """
        if received < self.first:
            raise ResumeFailed(
                f"the other side lacks frames from {received}, kept are those from {self.first}"
            )
        self.acknowledge(received, now, None)
        self._again = deque(kept.frame for kept in self._frames)
        self._pace.restart()
        self._was_full = False
        self.hold, self._held_since = min(self.hold, self._hold_first), now
        self._step = _FIRST_STEP

    def take_again(self) -> SentFrame:
        """Return the next frame to send again, in order."""
        return self._again.popleft()
