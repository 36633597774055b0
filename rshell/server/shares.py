"""What each identity may have of a server at once, so that none leaves the others nothing.

Channels and commands of an identity are counted here, over all of its sessions; its sessions, and
those that wait for their client, are counted by the session table, and what it writes into the
audit log there. A refusal says which limit it was.

Descriptors belong to nobody. Links may have three quarters of them, and an eighth more before they
have logged in; commands have all but a sixteenth, and what is left lets people log in and see.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakValueDictionary

from rshell.errors import SpawnError
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import NOT_EXECUTABLE, Command, SpawnQueue
from rshell.server.audit import Refusals
from rshell.values import Bounds

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
