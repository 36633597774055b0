"""Whom a server lets in, and how much of it each may have, so that none leaves others nothing.

Before the login there are places and penalties, after it shares.

There are so many places. When all are taken, a newcomer gets that of the link that came least far,
the oldest of these, of the source that has most. A crowd that comes from one address thus takes its
own places away, and who speaks goes before who is silent: a login that is meant takes a moment,
and a crowd would have to fill every place anew within it.

A failed login counts against the identity that it named, at its source: nobody makes anybody else
wait. From `penalty_failures` on each failure doubles the wait, from 1 s up to `penalty_longest`.
The identities that have to wait and those that failed only once or twice are kept apart: a full
table forgets the latter first. Who runs out of time, or breaks the protocol, named nobody; that is
counted (audit.py), and costs the place.

Channels and commands of an identity are counted here, over all of its sessions; its sessions, and
those that wait for their client, are counted by the session table, and what it writes into the
audit log there. A refusal says which limit it was.

Descriptors belong to nobody. Links may have three quarters of them, and an eighth more before they
have logged in; commands have all but a sixteenth, and what is left lets people log in and see.

Hazard: an attacker owns whole IPv6 networks, and an IPv6 source is therefore its /64. On a
dual-stack socket an IPv4 peer appears as `::ffff:1.2.3.4`; it must not be a second identity, nor
may all of them share the one /64 that they seem to be in.

Hazard: the wait says nothing of whether there is such an identity, so unknown ones have it too.
"""

from __future__ import annotations

import resource
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from rshell.errors import SpawnError
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import NOT_EXECUTABLE, Command, SpawnQueue
from rshell.server.audit import Refusals
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


# Shares.

_EACH_COMMAND = 6  # descriptors: three pipes, what tells of its end, and what starting it takes


class Shares:
    """The shares of all identities. `links` returns how many links there are.

    Commands are started by `spawner`, which has the limit of all of them together.
    """

    def __init__(
        self,
        limits: Bounds,
        spawner: SpawnQueue,
        refusals: Refusals,
        links: Callable[[], int],
    ) -> None:
        self.limits = limits
        self.refusals = refusals
        self.spawner = spawner
        self._links = links
        self._channels: Counter[str] = Counter()
        # Each lives as long as a session, or a command, of its identity.
        self._spawners: WeakValueDictionary[str, SpawnShare] = WeakValueDictionary()

    @contextmanager
    def channel(self, identity: str) -> Iterator[str]:
        """Count a channel while it is served. Yields why it must not be, "" if it may."""
        count = self._channels[identity]
        refusal = ""
        if count >= self.limits.channels_each:
            self.refusals.count("channels_each", identity)
            refusal = (
                f"{count} channels of {identity} are open, as many as this server allows one "
                "identity (channels_each). Close some, or wait."
            )
        self._channels[identity] += 1
        try:
            yield refusal
        finally:
            self._channels[identity] -= 1
            if not self._channels[identity]:
                del self._channels[identity]

    def spawner_of(self, identity: str) -> SpawnShare:
        """Return what starts the commands of an identity."""
        share = self._spawners.get(identity)
        if share is None:
            share = self._spawners[identity] = SpawnShare(self, identity)
        return share

    def has_descriptors(self) -> bool:
        """Whether there are enough for one more command."""
        in_use = self._links() + _EACH_COMMAND * (self.spawner.count + 1)
        return in_use <= descriptors() * 15 // 16


class SpawnShare(SpawnQueue):
    """An identity's part of a spawner."""

    def __init__(self, shares: Shares, identity: str) -> None:
        super().__init__(shares.limits.processes_each)
        self._shares = shares
        self._identity = identity

    async def spawn(
        self, command: Command, fds: Mapping[int, int], *, terminal: int | None = None
    ) -> RunningProcess:
        """Start `command`; as with SpawnQueue, within the share."""
        if self.count >= self._limit:
            self._refuse(
                "processes_each",
                f"{self.count} commands of {self._identity} run already, as many as this server "
                "allows one identity (processes_each). Wait until some have ended.",
            )
        if not self._shares.has_descriptors():
            self._refuse(
                "descriptors",
                "the server has too few descriptors left for another command. Wait until some "
                "have ended, or raise the server's hard limit (ulimit -Hn).",
            )
        self.count += 1
        try:
            process = await self._shares.spawner.spawn(command, fds, terminal=terminal)
        except BaseException:
            self.count -= 1
            raise
        process.on_exit(self._one_less)
        return process

    def _refuse(self, reason: str, text: str) -> None:
        self._shares.refusals.count(reason, self._identity)
        raise SpawnError(NOT_EXECUTABLE, text)


def descriptors() -> int:
    """Return how many descriptors this process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def most_links(limits: Bounds) -> int:
    """Return how many links may be logged in: as many as sessions, or as descriptors are theirs."""
    return min(limits.sessions, descriptors() * 3 // 4)


def most_unfinished(limits: Bounds) -> int:
    """Return how many links over TCP may be there that have not logged in: strangers, perhaps."""
    return min(limits.unfinished_logins, descriptors() // 8)
