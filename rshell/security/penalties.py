"""How long a source that keeps failing to log in has to wait, and whom to drop in a flood.

Pure, with the time (seconds, monotonic) as an argument. A source may fail a few times; from then on
each failure doubles its wait, from 1 s up to `penalty_longest`. Sources that have to wait and
sources that failed only once or twice are kept apart: a full table forgets the latter first.

Hazards:
- An attacker owns whole IPv6 networks: an IPv6 source is its /64.
- On a dual-stack socket an IPv4 peer appears as `::ffff:1.2.3.4`; it must not be a second
  identity, nor may all of them share the one /64 that they seem to be in.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Network, ip_address

from rshell.values import Bounds


class _Entry:
    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0  # the end of the wait, or the last failure where there is no wait


class Penalties:
    """Failed logins by source; holds at most `limits.penalty_sources` sources."""

    def __init__(self, limits: Bounds) -> None:
        self._limits = limits
        # Both in the order of the last failure, the oldest first.
        self._noted: OrderedDict[str, _Entry] = OrderedDict()
        self._waiting: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted) + len(self._waiting)

    def failed(self, source: str, now: float) -> None:
        """Count a failed login of `source` (an IP address as text, or any other name)."""
        name = fold_source(source)
        entry = self._noted.pop(name, None) or self._waiting.pop(name, None)
        if entry is None or self._is_over(entry, now):
            entry = _Entry()
        self._make_room(now)
        entry.failures += 1
        entry.until = now + self._seconds(entry.failures)
        punished = entry.failures >= self._limits.penalty_failures
        (self._waiting if punished else self._noted)[name] = entry

    def succeeded(self, source: str, now: float) -> None:
        """Forgive a source that logged in."""
        name = fold_source(source)
        self._noted.pop(name, None)
        self._waiting.pop(name, None)

    def wait(self, source: str, now: float) -> float:
        """Return the seconds that `source` has to wait; 0.0 is welcome."""
        entry = self._waiting.get(fold_source(source))
        return max(0.0, entry.until - now) if entry is not None else 0.0

    def _seconds(self, failures: int) -> float:
        doublings = failures - self._limits.penalty_failures
        if doublings < 0:
            return 0.0
        # 2.0 ** 1024 would raise OverflowError; 2 ** 32 s are longer than any limit.
        return min(2.0 ** min(doublings, 32), self._limits.penalty_longest)

    def _is_over(self, entry: _Entry, now: float) -> bool:
        return now - entry.until >= self._limits.penalty_longest

    def _make_room(self, now: float) -> None:
        """Forget what is over, then the oldest that need not wait, then the oldest of all."""
        for table in (self._noted, self._waiting):
            while table and self._is_over(next(iter(table.values())), now):
                table.popitem(last=False)
        if len(self) and len(self) >= self._limits.penalty_sources:
            (self._noted or self._waiting).popitem(last=False)


def fold_source(source: str) -> str:
    """Return the name under which an address is counted.

    IPv6 counts by /64, IPv4 inside IPv6 as IPv4; what is no IP address counts as it is.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), 64), strict=False))


def early_drop(unfinished: int, limits: Bounds, chance: float) -> bool:
    """Decide whether to drop a new link while `unfinished` others have not logged in yet.

    `chance` is a random number in [0, 1). Never below half of `limits.unfinished_logins`, then
    the likelier the more there are, always from `unfinished_logins` on: random early drop gives
    an honest client a chance in a flood, where a hard bound would shut it out.
    """
    full = limits.unfinished_logins
    if unfinished >= full:
        return True
    half = full / 2
    return unfinished >= half and chance < (unfinished - half) / (full - half)
