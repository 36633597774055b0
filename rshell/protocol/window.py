"""Flow control of one direction of one channel (docs/protocol.md, "Windows").

Strategy: the receiver grants credit when the application has read, not when bytes arrive, so
a reader that stalls stops its own sender and nobody else. Credit is sent at a quarter window.
A window that empties within two round trips is too small for the path and doubles, as long
as the session's budget lasts: the bandwidth-delay product is found, not configured.

Hazard: growth must be measured against the smallest round trip of the link. A loaded one
counts the queue that the window itself makes, and growth would feed on itself.

Hazard: what was read and not yet granted is lost to the flow for a whole round trip. Granted
at half a window, a far sender settles into one burst of half a window each round trip, which
halves its rate, and, since each burst comes a little more than a round trip after the last,
stops growth too.
"""

from __future__ import annotations

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.budget import MemoryBudget

CREDIT_LIMIT = 2**40


class SendWindow:
    """How many payload bytes the peer lets us send.

    `sent` counts those that went out, `consumed` those of them that the peer has read for
    certain. A credit of more than a whole window has doubled it; it is taken at its word for
    the rest, so a peer whose windows grow in another way is believed to have read more.
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

    __slots__ = ("_budget", "_consumed", "_epoch", "_largest", "remaining", "size")

    def __init__(self, size: int, largest: int, budget: MemoryBudget) -> None:
        self.size = size
        self.remaining = size
        self._largest = largest
        self._budget = budget
        self._consumed = 0
        self._epoch: float | None = None

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
        if self._consumed * 4 < self.size:
            return 0
        credit, self._consumed = self._consumed, 0
        credit += self._grow(now, round_trip)
        self.remaining += credit
        return credit

    def refill(self) -> int:
        """Grant again all that the peer has used, read or not; return the credit to send."""
        credit, self.remaining = self.size - self.remaining, self.size
        self._consumed = 0
        return credit

    def _grow(self, now: float, round_trip: float | None) -> int:
        """Double when a quarter went within half a round trip; return the bytes added."""
        epoch, self._epoch = self._epoch, now
        if epoch is None or round_trip is None or (now - epoch) * 2 > round_trip:
            return 0
        added = min(self.size, self._largest - self.size)
        if added <= 0 or not self._budget.reserve(added):
            return 0
        self.size += added
        return added

    def close(self) -> None:
        """Give the whole window back to the budget."""
        self._budget.release(self.size)
        self.size = 0
