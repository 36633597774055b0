"""Silence and floods: when to ask whether the peer lives, and when it asks too much.

Strategy: any received byte proves life; only silence costs a PING. What a peer may send
without moving anything forward is counted in buckets that refill with time, so a burst is
fine and a flood ends the link.
"""

from __future__ import annotations

from rshell.errors import RemoteProtocolError
from rshell.values import Bounds

_PINGS_OUTSTANDING = 8


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
