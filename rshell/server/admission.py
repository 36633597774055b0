"""Whom a server hears before the login: places for those who have not logged in, and penalties.

There are so many places. When all are taken, a newcomer gets that of the link that came least far,
the oldest of these, of the source that has most. A crowd that comes from one address thus takes its
own places away, and who speaks goes before who is silent: a login that is meant takes a moment,
and a crowd would have to fill every place anew within it.

A failed login counts against the identity that it named, at its source: nobody makes anybody else
wait. From `penalty_failures` on each failure doubles the wait, from 1 s up to `penalty_longest`.
The identities that have to wait and those that failed only once or twice are kept apart: a full
table forgets the latter first. Who runs out of time, or breaks the protocol, named nobody; that is
counted (audit.py), and costs the place.

Hazard: an attacker owns whole IPv6 networks, and an IPv6 source is therefore its /64. On a
dual-stack socket an IPv4 peer appears as `::ffff:1.2.3.4`; it must not be a second identity, nor
may all of them share the one /64 that they seem to be in.

Hazard: the wait says nothing of whether there is such an identity, so unknown ones have it too.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Generic, Protocol, TypeVar

from rshell.values import Bounds


class Visitor(Protocol):
    """A link that has not logged in."""

    @property
    def source(self) -> str:
        """Where it comes from."""

    @property
    def progress(self) -> int:
        """How far it has come, 0 where it has said nothing."""


V = TypeVar("V", bound=Visitor)


class Places(Generic[V]):
    """The links that have not logged in, by source; `limit` is how many there may be."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sources: dict[str, dict[V, None]] = {}  # the oldest first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, visitor: V) -> V | None:
        """Give a newcomer a place; return whom it took it from, who must be sent away."""
        victim = self._choose() if self._count >= self._limit else None
        if victim is not None:
            self.leave(victim)
        self._sources.setdefault(fold_source(visitor.source), {})[visitor] = None
        self._count += 1
        return victim

    def leave(self, visitor: V) -> None:
        """Give up a place. Does nothing where there is none."""
        name = fold_source(visitor.source)
        there = self._sources.get(name)
        if there is not None and visitor in there:
            del there[visitor]
            self._count -= 1
            if not there:
                del self._sources[name]

    def _choose(self) -> V | None:
        """Return the one who came least far, of the source that has most."""
        most = max(map(len, self._sources.values()), default=0)
        chosen: V | None = None
        for there in self._sources.values():
            if len(there) < most:
                continue
            for visitor in there:
                progress = visitor.progress
                if not progress:
                    return visitor
                if chosen is None or progress < chosen.progress:
                    chosen = visitor
        return chosen


class _Entry:
    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0  # the end of the wait, or the last failure where there is no wait


class Penalties:
    """Failed logins by source and identity; holds at most `limits.penalty_sources` pairs."""

    def __init__(self, limits: Bounds) -> None:
        self._limits = limits
        # Both in the order of the last failure, the oldest first.
        self._noted: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted) + len(self._waiting)

    def failed(self, source: str, identity: str, now: float) -> None:
        """Count a failed login as `identity` of `source` (an IP address, or any other name)."""
        key = _key(source, identity)
        entry = self._noted.pop(key, None) or self._waiting.pop(key, None)
        if entry is None or self._is_over(entry, now):
            entry = _Entry()
        self._make_room(now)
        entry.failures += 1
        entry.until = now + self._seconds(entry.failures)
        punished = entry.failures >= self._limits.penalty_failures
        (self._waiting if punished else self._noted)[key] = entry

    def succeeded(self, source: str, identity: str) -> None:
        """Forgive an identity that logged in."""
        key = _key(source, identity)
        self._noted.pop(key, None)
        self._waiting.pop(key, None)

    def wait(self, source: str, identity: str, now: float) -> float:
        """Return the seconds until a login as `identity` is heard; 0.0 is welcome."""
        entry = self._waiting.get(_key(source, identity))
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


def _key(source: str, identity: str) -> tuple[str, str]:
    return fold_source(source), identity[:_IDENTITY_KEPT]


_IDENTITY_KEPT = 65  # characters, one more than the name of a token may have


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


def is_loopback(source: str) -> bool:
    """Whether this is an address of this very machine that no other one can have."""
    try:
        return ip_address(fold_source(source).partition("/")[0]).is_loopback or source == "::1"
    except ValueError:
        return False
