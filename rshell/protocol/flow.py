"""What keeps a session within bounds: windows, memory, frames kept for later, time, floods.

Everything of a session that can grow is counted in one `MemoryBudget`: what the receive windows
promise the peer, what waits in channels for its turn, and how far the replay queue has grown.
Each asks before it grows. Nothing is refused the little that it needs to go on, and so a session
whose budget is spent slows down and never stops. `free` may fall below 0 by those small parts,
which the number of channels bounds.

Windows (docs/protocol.md, "Windows"): the receiver grants credit when the application has read,
not when bytes arrive, and a reader that stalls stops its own sender and nobody else. The
bandwidth-delay product is found, not configured. What the application reads in one round trip is
what the path and the reader can move in one; a window of less than twice that may be what holds
them up, and doubles, as long as the budget lasts. So each round trip doubles a window that limits,
which is the pace at which TCP itself begins, and a window ends at two to four times what is needed:
enough to go on while TCP sends a lost packet again.

Replay (docs/protocol.md, "Sessions"): a sequenced frame is numbered when it is handed to a link,
never before, and control frames may overtake bulk data up to that moment. A numbered frame is
kept until the peer says that it has arrived. After a cut, `ReplayQueue.rewind` says what the peer
lacks.

Silence and floods: any received byte proves life; only silence costs a PING. What a peer may send
without moving anything forward is counted in buckets that refill with time: a burst is fine, and
a flood ends the link.

Hazards:
- Growth must be measured against the smallest round trip of the link. A loaded one counts the
  queue that the window itself makes, and growth would feed on itself.
- Growth must be measured over a whole round trip or more. Over less, one burst looks like a fast
  path: a reader that stalls and then takes all that has come would grow its window each time. A
  measure that waits for a share of the window instead depends on how the sizes of blocks divide it:
  blocks of 240 KiB missed a quarter of 256 KiB, two of them took a round trip, and nothing grew.
- What was read and not yet granted is lost to the flow for a whole round trip. Granted at half a
  window, a far sender settles into one burst of half a window each round trip, at half its rate.
- A full replay queue must stop the sender, never drop a frame. Control frames may use a small
  reserve beyond the limit, or bulk data that waits for an acknowledgement could hold up a WINDOW
  that the peer needs before it can go on. The limit grows as windows do, by what is acknowledged
  in a round trip, and only where it was reached.
"""

from __future__ import annotations

from collections import deque

from rshell.errors import LocalProtocolError, RemoteProtocolError, ResumeFailed
from rshell.protocol.frames import Buffer
from rshell.values import Bounds

SentFrame = tuple[Buffer, ...]

CREDIT_LIMIT = 2**40
_CREDIT_LATEST = 256 * 1024  # bytes read that are granted though they are no quarter of the window
CONTROL_RESERVE = 256 * 1024
FRAME_OVERHEAD = 200  # bytes of memory that a kept frame costs beside its content
_PINGS_OUTSTANDING = 8


class MemoryBudget:
    """The bytes of a session that nobody has taken yet: `free`."""

    __slots__ = ("free",)

    def __init__(self, size: int) -> None:
        self.free = size

    def reserve(self, size: int) -> bool:
        """Take `size` bytes if they are there."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def take(self, size: int) -> None:
        """Take `size` bytes in any case."""
        self.free -= size

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.free += size


class RoundTrips:
    """Counts bytes, and tells how many pass in one round trip."""

    __slots__ = ("_bytes", "_since")

    def __init__(self) -> None:
        self._bytes = 0
        self._since: float | None = None

    def count(self, size: int, now: float, round_trip: float | None) -> float:
        """Count `size` bytes that pass now.

        Returns how many passed in a round trip, once one is over since the last answer, else 0.
        """
        if round_trip is None:
            return 0.0
        if self._since is None:
            self._since = now  # these came in a time that nobody has measured
            return 0.0
        self._bytes += size
        elapsed = now - self._since
        if elapsed < round_trip:
            return 0.0
        passed, self._bytes, self._since = self._bytes, 0, now
        return passed * round_trip / elapsed if elapsed else float(passed)

    def restart(self) -> None:
        """Forget what was counted: time passed in which nothing could move."""
        self._bytes = 0
        self._since = None


class SendWindow:
    """How many payload bytes the peer lets us send.

    `sent` counts those that went out, `consumed` those of them that the peer has read for
    certain. A credit of more than a whole window has doubled it; it is taken at its word for
    the rest, and a peer whose windows grow in another way is believed to have read more.
    """

    __slots__ = ("_size", "available", "consumed", "sent")

    def __init__(self, size: int) -> None:
        self.available = size
        self.sent = 0
        self.consumed = 0
        self._size = size

    def take(self, size: int) -> None:
        """Count `size` bytes as sent."""
        if size > self.available:
            raise LocalProtocolError(f"{size} bytes into a window of {self.available}")
        self.available -= size
        self.sent += size

    def credit(self, size: int) -> None:
        """Count a WINDOW frame from the peer."""
        self.available += size
        if self.available > CREDIT_LIMIT:
            raise RemoteProtocolError("WINDOW grants more than any window can hold")
        while 0 < self._size < size:  # it may have doubled more than once before this one left
            size -= self._size
            self._size *= 2
        self.consumed = min(self.consumed + size, self.sent)


class ReceiveWindow:
    """How many payload bytes the peer may still send us, and when to grant more."""

    __slots__ = ("_consumed", "_largest", "_pace", "budget", "remaining", "size")

    def __init__(self, size: int, largest: int, budget: MemoryBudget) -> None:
        self.size = size
        self.remaining = size
        self._largest = largest
        self.budget = budget
        self._consumed = 0
        self._pace = RoundTrips()

    def receive(self, size: int) -> None:
        """Count `size` arrived bytes. Raises RemoteProtocolError when the peer overran."""
        if size > self.remaining:
            raise RemoteProtocolError(
                f"{size} bytes into a window of {self.remaining}", code="window-overrun"
            )
        self.remaining -= size

    def consume(self, size: int, now: float, round_trip: float | None) -> int:
        """Count `size` bytes as read by the application; return the credit to send, or 0."""
        self._consumed += size
        added = 0
        if self._pace.count(size, now, round_trip) * 2 > self.size:
            added = self._grow()
        if not added and self._consumed < min(self.size / 4, _CREDIT_LATEST):
            return 0
        credit, self._consumed = self._consumed + added, 0
        self.remaining += credit
        return credit

    def refill(self) -> int:
        """Grant again all that the peer has used, read or not; return the credit to send."""
        credit, self.remaining = self.size - self.remaining, self.size
        self._consumed = 0
        return credit

    def _grow(self) -> int:
        """Double, if the budget lasts; return the bytes added."""
        added = min(self.size, self._largest - self.size)
        if added <= 0 or not self.budget.reserve(added):
            return 0
        self.size += added
        return added

    def close(self) -> None:
        """Give the whole window back to the budget."""
        self.budget.release(self.size)
        self.size = 0


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
        self._pace = RoundTrips()

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
        An old acknowledgement is ignored.
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
        passed = self._pace.count(freed, now, round_trip)
        if passed:
            was_full, self._was_full = self._was_full, False
            if was_full and passed * 2 > self.limit:
                self._grow()

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
        self._again = deque(frame for frame, _ in self._frames)
        self._pace.restart()
        self._was_full = False

    def take_again(self) -> SentFrame:
        """Return the next frame to send again, in order."""
        return self._again.popleft()


class Bucket:
    """Allows `burst` at once and `rate` a second after that."""

    __slots__ = ("_at", "_burst", "_left", "_name", "_rate")

    def __init__(self, name: str, burst: float, rate: float, now: float) -> None:
        self._name = name
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> None:
        """Count one. Raises RemoteProtocolError with the code "flood" when none is left."""
        self._left -= 1
        if self._left < 0:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 0:
                raise RemoteProtocolError(f"too many {self._name}", code="flood")


class Liveness:
    """When the peer was last heard, which PINGs are on their way, and the round trip.

    `round_trip` is the smallest one seen, in seconds; None before the first.
    """

    __slots__ = ("_dead", "_heard", "_idle", "_next_id", "_pinged", "_sent", "round_trip")

    def __init__(self, limits: Bounds, now: float) -> None:
        self._idle = limits.ping_idle
        self._dead = limits.ping_dead
        self._heard = now
        self._pinged = now
        self._sent: dict[int, float] = {}
        self._next_id = 1
        self.round_trip: float | None = None

    def heard(self, now: float) -> None:
        """Note that bytes arrived."""
        self._heard = now

    def deadline(self) -> float:
        """Return when `is_ping_due` or `is_dead` may next become true."""
        return min(max(self._heard, self._pinged) + self._idle, self._heard + self._dead)

    def is_dead(self, now: float) -> bool:
        """Whether the peer has been silent for too long."""
        return now >= self._heard + self._dead

    def silence(self, now: float) -> float:
        """Return for how many seconds nothing was heard."""
        return now - self._heard

    def is_ping_due(self, now: float) -> bool:
        """Whether a PING should ask."""
        return now >= max(self._heard, self._pinged) + self._idle

    def ping(self, now: float) -> int:
        """Note a PING that is sent now; return its id."""
        self._pinged = now
        number, self._next_id = self._next_id, self._next_id + 1
        self._sent[number] = now
        while len(self._sent) > _PINGS_OUTSTANDING:
            del self._sent[next(iter(self._sent))]
        return number

    def pong(self, number: int, now: float) -> float | None:
        """Take the answer to a PING; return its round trip, None for an unknown id."""
        sent = self._sent.pop(number, None)
        return None if sent is None else self.sample(now - sent)

    def sample(self, round_trip: float) -> float:
        """Take a measured round trip in seconds and return it."""
        if self.round_trip is None or round_trip < self.round_trip:
            self.round_trip = round_trip
        return round_trip
