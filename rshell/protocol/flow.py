"""What keeps a session within bounds: windows, memory, time, floods.

Everything of a session that can grow is counted in one `MemoryBudget`: what the receive windows
promise the peer, what waits in channels for its turn, and how far the replay queue has grown.
Each asks before it grows. Nothing is refused the little that it needs to go on, and so a session
whose budget is spent slows down and never stops. `free` may fall below 0 by those small parts,
which the number of channels bounds.

Windows (docs/protocol.md, "Windows"): the receiver grants credit when the application has read,
not when bytes arrive, and a reader that stalls stops its own sender and nobody else. The
bandwidth-delay product is found, not configured. What the application reads in one round trip is
what the path and the reader can move in one; a window of less than three times that may be what
holds them up, and doubles, as long as the budget lasts. Three, because what a doubled window brings
is seen a round trip later only: so each round trip doubles a window that limits, which is the pace
at which TCP itself begins. A window ends at three to six times what is needed, enough to go on
while TCP sends a lost packet again.

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
"""

from __future__ import annotations

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.values import Bounds

CREDIT_LIMIT = 2**40
_CREDIT_LATEST = 256 * 1024  # bytes read that are granted though they are no quarter of the window
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
        if self._pace.count(size, now, round_trip) * 3 > self.size:
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


class AckClock:
    """When a link acknowledges: by bytes, and `due` seconds after the first it has not.

    A new link's come early, because its sender begins with little on its way (replay.py). A part
    of a frame counts for time: on a slow path the rest takes longer than silence may last, and
    the peer, whose own PING waits behind that frame, hears nothing else of us.
    """

    __slots__ = ("_bytes", "_largest", "_seconds", "due")

    def __init__(self, limits: Bounds) -> None:
        self.due: float | None = None
        self._bytes = min(limits.ack_first, limits.ack_bytes)
        self._largest = limits.ack_bytes
        self._seconds = limits.ack_seconds

    def is_due(self, unacknowledged: int, now: float, *, is_inside_frame: bool) -> bool:
        """Note that bytes have arrived; whether to acknowledge at once."""
        if unacknowledged >= self._bytes:
            self._bytes = min(2 * self._bytes, self._largest)
            return True
        if self.due is None and (unacknowledged or is_inside_frame):
            self.due = now + self._seconds
        return False


class Allowance:
    """Holds `burst` units at first and at most, and gets `rate` more each second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = now

    def take(self, units: float, now: float) -> bool:
        """Take `units` if they are there."""
        if self._left < units:
            self._refill(now)  # only here: most calls find enough
        if self._left < units:
            return False
        self._left -= units
        return True

    def is_full(self, now: float) -> bool:
        """Whether nothing of it is in use."""
        self._refill(now)
        return self._left >= self._burst

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now


class Bucket(Allowance):
    """Ends a flood of what is called `name`: `burst` of them at once and `rate` a second pass."""

    __slots__ = ("_name",)

    def __init__(self, name: str, burst: float, rate: float, now: float) -> None:
        super().__init__(burst, rate, now)
        self._name = name

    def count(self, now: float) -> None:
        """Count one. Raises RemoteProtocolError with the code "flood" when none is left."""
        if not self.take(1, now):
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
