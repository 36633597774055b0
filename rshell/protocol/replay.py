"""Sequence numbers, acknowledgements, and what to send again (docs/protocol.md, "Sessions").

Strategy: every sequenced frame is numbered when it is handed to a link, never before, so
control frames may overtake bulk data up to that moment. A numbered frame is kept until the
peer says that it has arrived. After a cut, `rewind` says what the peer lacks.

Hazard: a full queue must stop the sender, never drop a frame. Control frames may use a small
reserve beyond the limit, so that bulk data waiting for an acknowledgement can't hold up a
WINDOW that the peer needs before it can go on. The limit grows as windows do: only where the
whole queue is acknowledged within two round trips, which a stalled peer never shows.
"""

from __future__ import annotations

from collections import deque

from rshell.errors import RemoteProtocolError, ResumeFailed
from rshell.protocol.budget import MemoryBudget

Buffer = bytes | bytearray | memoryview
SentFrame = tuple[Buffer, ...]

CONTROL_RESERVE = 256 * 1024
FRAME_OVERHEAD = 200  # bytes of memory that a kept frame costs beside its content


class ReplayQueue:
    """One direction's frames that were numbered and not yet acknowledged.

    `limit` and `largest` are bytes of memory; what `limit` grows by is taken from `budget`.
    `first` is the number of the oldest kept frame, `next` the number that the next frame gets;
    both start at 0.
    """

    def __init__(self, limit: int, largest: int, budget: MemoryBudget) -> None:
        self.first = 0
        self.next = 0
        self.limit = limit
        self.size = 0
        self._largest = largest
        self._budget = budget
        self._frames: deque[tuple[SentFrame, int]] = deque()
        self._again: deque[SentFrame] = deque()
        self._was_full = False
        self._epoch: float | None = None
        self._epoch_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether bulk data has to wait."""
        return self.size >= self.limit

    @property
    def is_exhausted(self) -> bool:
        """Whether even control frames have to wait."""
        return self.size >= self.limit + CONTROL_RESERVE

    @property
    def has_again(self) -> bool:
        """Whether frames of an earlier link still have to be sent on this one."""
        return bool(self._again)

    def append(self, frame: SentFrame, size: int) -> None:
        """Number a frame of `size` bytes that is sent now."""
        cost = size + FRAME_OVERHEAD
        self._frames.append((frame, cost))
        self.size += cost
        self.next += 1
        if self.size >= self.limit:
            self._was_full = True

    def acknowledge(self, received: int, now: float, round_trip: float | None) -> None:
        """Forget the frames before number `received`.

        Raises RemoteProtocolError when the peer claims frames that were never sent.
        An old acknowledgement is harmless and ignored.
        """
        if received > self.next:
            raise RemoteProtocolError(
                f"{received} frames acknowledged of {self.next} sent", code="sequence"
            )
        freed = 0
        while self.first < received:
            freed += self._frames.popleft()[1]
            self.first += 1
        self.size -= freed
        self._grow(freed, now, round_trip)

    def _grow(self, freed: int, now: float, round_trip: float | None) -> None:
        self._epoch_bytes += freed
        if self._epoch is not None and self._epoch_bytes * 2 < self.limit:
            return
        epoch, self._epoch, self._epoch_bytes = self._epoch, now, 0
        was_full, self._was_full = self._was_full, False
        if was_full and epoch is not None and round_trip is not None and now - epoch <= round_trip:
            added = min(self.limit, self._largest - self.limit)
            if self._budget.reserve(added):
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
        self._again = deque(frame for frame, _ in self._frames)
        self._epoch = None
        self._was_full = False

    def take_again(self) -> SentFrame:
        """Return the next frame to send again, in order."""
        return self._again.popleft()
