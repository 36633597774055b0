"""The sessions of a server: kept while their link is away, and let go when the server stops.

A session belongs to the identity that made it. When its link is lost it waits for another, as long
as the client asked, but no longer than the server's own window. That a client's process has ended
can't be told from a cut here; its witness says so (client/witness.py), over a link that claims the
session like any other and says GOODBYE. Resuming takes a full login by the same identity and the
session's secret. The secret changes with each link; the one before stays good
until the new link has proved that its client has the new one.

Between "stop" and the stop what runs may end by itself, and nothing new begins. `Drain` lets go at
once of sessions in which nothing runs, and of the others as soon as they have nothing left to run
or to send; a client has the whole of its command's reply before it is told goodbye. What is left
when the time is over is for `Server.close` to end.

Hazard: of two links that claim one session, the later one gets it, and the earlier one may end
later still. The end of a link that no longer carries the session means nothing to it.

Hazard: a command's end and the delivery of its last byte are two things. A window may be used up,
and then only the client's reading moves it on. Nothing that the server does tells of it; `Drain`
looks at the sessions again and again.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rshell.aio import timeout
from rshell.channels.base import Work
from rshell.errors import LinkLost, ResumeFailed, RshellError, SessionClosed
from rshell.protocol.codec import Json
from rshell.protocol.messages import Attach
from rshell.server.login import ServerLink
from rshell.transport.live_session import LiveSession
from rshell.values import Bounds

_LOOK = 0.05  # seconds between two looks at the sessions of a server that stops
_BUSY = "the server has as many sessions as it takes; try again later"
_CROWDED = "too many sessions of this identity wait for their clients (parked_each)"
_REFUSAL = "this server does not keep that session (any more), or the secret is wrong"


class Crowded(NamedTuple):
    """Why there is no room: the limit, and a sentence for people."""

    limit: str
    reason: str


class KeptSession:
    """A session and the link that carries it, or carried it last."""

    def __init__(self, identity: str, live: LiveSession, link: ServerLink) -> None:
        self.identity = identity
        self.live = live
        self.link = link
        self.linger = 0.0
        self.previous_secret = ""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def id(self) -> str:
        """The session's name on the wire."""
        return self.live.session.id

    def stop_waiting(self) -> None:
        """Wait for another link no more. Does nothing where it carries one."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class SessionTable:
    """All sessions of a server, by id.

    `expired` is called for one that nobody came back for; `audit` writes down who came back.
    """

    def __init__(
        self,
        limits: Bounds,
        expired: Callable[[KeptSession, RshellError], None],
        audit: Callable[[str, Json], None],
    ) -> None:
        self._limits = limits
        self._audit = audit
        self._expired = expired
        self._sessions: dict[str, KeptSession] = {}
        self._each: Counter[str] = Counter()  # by identity
        # Those without a link by identity, and the bytes they keep; who waits longest comes first.
        self._parked: dict[str, dict[KeptSession, int]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, id: str) -> KeptSession:
        return self._sessions[id]

    def __contains__(self, kept: KeptSession) -> bool:
        return self._sessions.get(kept.id) is kept  # no search: a drain asks for each of thousands

    def __iter__(self) -> Iterator[KeptSession]:
        return iter(list(self._sessions.values()))

    def crowded(self, identity: str) -> Crowded | None:
        """Return why an identity can have no more sessions now, None if it can."""
        if len(self) >= self._limits.sessions:
            return Crowded("sessions", _BUSY)
        count = self._each[identity]
        if count >= self._limits.sessions_each:
            return Crowded(
                "sessions_each",
                f"{count} sessions of {identity} are open, as many as this server allows one "
                "identity (sessions_each). End some, or log in as another one.",
            )
        return None

    @property
    def parked(self) -> int:
        """How many sessions wait for another link."""
        return sum(map(len, self._parked.values()))

    def add(self, live: LiveSession, link: ServerLink, attach: Attach) -> KeptSession:
        """Take a new session."""
        kept = KeptSession(link.identity, live, link)
        kept.linger = min(attach.linger or 0.0, self._limits.resume_window)
        self._sessions[kept.id] = kept
        self._each[kept.identity] += 1
        return kept

    def resume(self, link: ServerLink, attach: Attach) -> KeptSession:
        """Hand a kept session to a link that has logged in, with a new secret.

        Raises ResumeFailed in the same words for an unknown session, another identity's, and a
        wrong secret.
        """
        wanted = attach.resume
        assert wanted is not None
        facts: Json = {"identity": link.identity, "source": link.source}
        kept = self._sessions.get(wanted.session)
        if kept is None or kept.identity != link.identity or not self._knows(kept, wanted.secret):
            # No failed login: who has proved a token has guessed nothing, and after a restart
            # all clients come with sessions of the server before.
            self._audit("resume-failed", facts | {"reason": _REFUSAL})
            raise ResumeFailed(_REFUSAL, by="local")
        self._audit("resume", facts | {"session": kept.id})
        self._unpark(kept)
        before, kept.link = kept.link, link
        kept.linger = min(attach.linger or 0.0, self._limits.resume_window)
        kept.previous_secret = wanted.secret
        kept.live.session.secret = secrets.token_urlsafe(32)
        before.driver.abort()  # it may only seem to live, and holds a descriptor
        return kept

    def _knows(self, kept: KeptSession, secret: str) -> bool:
        if kept.link.link.is_proved:
            kept.previous_secret = ""
        given = secret.encode("utf-8", "surrogatepass")
        present = hmac.compare_digest(given, kept.live.session.secret.encode())
        before = hmac.compare_digest(given, kept.previous_secret.encode())
        return present or (before and bool(kept.previous_secret))

    def detach(self, kept: KeptSession, cause: RshellError) -> bool:
        """Take the end of a session's link; return whether the session waits for another one."""
        if not isinstance(cause, LinkLost):
            return False
        # A silent client may sleep; clients from before there were witnesses ask for little.
        seconds = self._limits.resume_window if cause.silent and kept.linger else kept.linger
        if seconds <= 0:
            return False
        loop = asyncio.get_running_loop()
        kept.timer = loop.call_later(seconds, self._expire, kept, seconds)
        kept.live.detach(cause)
        self._park(kept)
        return True

    def _park(self, kept: KeptSession) -> None:
        """Have a session wait, within the share of its identity: who waits longest gives way."""
        waiting = self._parked.setdefault(kept.identity, {})
        waiting[kept] = kept.live.session.kept_bytes
        size = sum(waiting.values())
        limits = self._limits
        for other in list(waiting)[:-1]:
            if len(waiting) <= limits.parked_each and size <= limits.parked_memory_each:
                break
            size -= waiting[other]
            self.remove(other)
            self._expired(other, SessionClosed("busy", _CROWDED, by="local"))

    def _unpark(self, kept: KeptSession) -> None:
        kept.stop_waiting()
        waiting = self._parked.get(kept.identity, {})
        if waiting.pop(kept, None) is not None and not waiting:
            del self._parked[kept.identity]

    def find(self, link: ServerLink) -> KeptSession | None:
        """Return the session that `link` carries, or carried last."""
        if link.live is None:
            return None
        kept = self._sessions.get(link.live.session.id)
        return kept if kept is not None and kept.link is link else None

    def remove(self, kept: KeptSession) -> None:
        """Forget a session that has ended. Does nothing when it is forgotten."""
        self._unpark(kept)
        if self._sessions.pop(kept.id, None) is not None:
            self._each[kept.identity] -= 1
            if not self._each[kept.identity]:
                del self._each[kept.identity]

    def _expire(self, kept: KeptSession, seconds: float) -> None:
        kept.timer = None
        self.remove(kept)
        self._expired(kept, LinkLost(f"the client did not come back within {seconds:g} s"))


class Drain:
    """Lets the sessions of `table` go with `let_go`, each when its work is done.

    It takes `seconds` at most, less when all is done or `stop` is called.
    """

    def __init__(
        self,
        work: Work,
        table: SessionTable,
        let_go: Callable[[KeptSession], None],
        seconds: float,
    ) -> None:
        self._work = work
        self._table = table
        self._let_go = let_go
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Tell those concerned, then wait. Cancelling stops the waiting and nothing else."""
        self._work.notify(self._notice)
        while not self._is_done() and self._loop.time() < self._end:
            try:
                async with timeout(_LOOK):
                    await self._stopped.wait()
                return
            except TimeoutError:
                pass  # look again

    def stop(self) -> None:
        """Let `run` return at once."""
        self._stopped.set()

    def _notice(self) -> str:
        left = math.ceil(max(0.0, self._end - self._loop.time()))
        return (
            f"the server is shutting down; this command is ended in {left} s unless it ends before"
        )

    def _is_done(self) -> bool:
        """Let go of those who are done; return whether that is all."""
        busy = self._work.sessions()
        for kept in self._table:
            is_waited_for = kept.id in busy
            # Without a link nobody will fetch what there is: nobody is let in any more.
            # What is on its way can be lost with the link: closing it may reset it.
            live = kept.live
            has_arrived = live.session.is_quiet and live.is_settled
            has_more = live.driver is not None and not has_arrived
            if not is_waited_for and not has_more:
                self._let_go(kept)
        return self._work.is_idle and not len(self._table)
