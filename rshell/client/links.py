"""A client's links: one from its login to its end, and the next one where it was cut.

The first step of the login leaves together with HELLO, as soon as the server's certificate is
known, because SCRAM binds the login to that certificate. ATTACH follows only after the server has
proved that it knows the token too, which the core sees to (protocol/login.py).

When the link is cut, the reconnector dials again, with waits that grow and differ from client to
client, logs in anew, and attaches the same session. Both ends then send what the other lacks, and
users of the session see nothing but a pause. After `resume_window` seconds, or at a word from the
server that it will not, the session ends.

Hazard: where each link is cut before it moved anything forward, dialling at once each time would
be a storm. The waits shrink again only after the session has made progress.

Hazard: nothing is run twice and nothing is lost, because the session itself, not this driver,
knows what the other side has. All that this module decides is when to stop trying.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from rshell.aio import timeout
from rshell.errors import (
    AuthenticationFailed,
    ConnectError,
    LinkLost,
    ResumeFailed,
    RshellError,
    ServerGone,
    UntrustedServer,
    VersionMismatch,
    caused_by,
)
from rshell.protocol.link import Link
from rshell.protocol.login import ClientLogin, LinkClosed, LinkEvent, LoggedIn, SessionAttached
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.scram import ScramClient
from rshell.protocol.session import Role, Session
from rshell.security.certificates import binding
from rshell.security.credentials import Trust, check_fingerprint
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.transport.live_session import LiveSession, as_session_error
from rshell.values import Address, Bounds

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 5.0
_FINAL = (AuthenticationFailed, UntrustedServer, VersionMismatch)


class ClientLink:
    """One link of a client, from login to its end. `identity` is what the server calls us.

    It carries a new session, or resumes that of `live`. When it is cut after it was attached,
    the session ends; but with `is_kept` it is detached, and a reconnector decides.
    """

    def __init__(
        self,
        address: Address | None,
        trust: Trust | None,
        limits: Bounds,
        live: LiveSession | None = None,
        *,
        is_kept: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.attached: asyncio.Future[None] = loop.create_future()
        self.identity = ""
        self.live = live or LiveSession(Session(Role.CLIENT, limits), _refuse_channel)
        self._is_kept = is_kept
        self._linger = min(limits.linger, limits.resume_window) if is_kept else 0.0
        self.link = Link(Role.CLIENT, limits, loop.time())
        self.driver = Driver(self.link, self.handle)
        self._address = address
        self._trust = trust
        if trust is None:
            self.link.log_in(ClientLogin())

    def check_certificate(self, der: bytes | None) -> None:
        """Check the server's certificate and begin the login that is bound to it.

        Raises UntrustedServer; the stream then closes before it writes.
        """
        assert self._trust is not None and self._address is not None
        trust = self._trust
        der = check_fingerprint(trust.fingerprint, der, self._address, trust.borrowed)
        scram = ScramClient(trust.identity, trust.token, binding(der))
        self.link.log_in(ClientLogin(scram))

    # What the driver calls.

    def handle(self, event: LinkEvent) -> None:
        """Act on one event of the link."""
        if isinstance(event, LoggedIn):
            self.identity = event.identity
            self._attach()
        elif isinstance(event, SessionAttached):
            self.live.attach(self.driver)
            if not self.attached.done():
                self.attached.set_result(None)
        elif isinstance(event, LinkClosed):
            self._closed(event.cause)

    def _attach(self) -> None:
        session = self.live.session
        resume = Resume(session.id, session.secret, session.received) if session.id else None
        self.link.attach(session, Attach(resume, self._linger or None), self.driver.now)

    def _closed(self, cause: RshellError) -> None:
        if self.attached.done():
            if self.live.driver is not self.driver:
                return  # another link carries the session by now
            if isinstance(cause, LinkLost) and self._is_kept:
                self.live.detach(cause)
            else:
                self.live.end(as_session_error(cause))
            return
        if not isinstance(cause, ConnectError):
            cause = caused_by(cause, ConnectError(str(cause)))
        self.attached.set_exception(cause)


async def _refuse_channel(channel: Channel) -> None:
    channel.refuse("unknown-kind", f"this client serves no channels of the kind {channel.kind!r}")


Redial = Callable[[LiveSession], Awaitable[ClientLink]]


class Reconnector:
    """The present link of a session, and the way to the next one.

    `link` is the present or the last link; `is_up` whether it carries the session; `lost_at`
    the loop's time at which it was lost. `on_change` is called at each loss and return.
    """

    def __init__(self, link: ClientLink, redial: Redial | None, limits: Bounds) -> None:
        self.link = link
        self.lost_at = 0.0
        self.on_change: Callable[[], None] = lambda: None
        self._redial = redial
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._wait = 0.0  # seconds before the next attempt
        self._progress = -1  # frames that had arrived, either way, at the last cut
        self._live = link.live
        self._live.on_lost = self._lost
        self._take(link)

    @property
    def is_up(self) -> bool:
        """Whether a link carries the session now."""
        return self.link.driver is self._live.driver

    async def wait_up(self) -> None:
        """Wait until a link carries the session. Raises what ended it. Safe to cancel."""
        while not self.is_up and self._live.error is None:
            await self._live.changes.wait()
        if self._live.error is not None:
            raise self._live.error

    async def close(self) -> None:
        """Stop trying. The session is the caller's to end."""
        self._redial = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _take(self, link: ClientLink) -> None:
        self.link = link
        self._live.changes.notify()
        self._tell()
        if self._live.lost is not None:
            self._lost(link.driver)  # before we came to it

    def _tell(self) -> None:
        """Say that the link was lost or is back; what the listener does wrong is not ours."""
        try:
            self.on_change()
        except Exception:
            import logging

            logging.getLogger("rshell").exception("the on_change of a client's links")

    def _lost(self, driver: Driver) -> None:
        cause = self._live.lost
        if driver is not self.link.driver or cause is None:
            return  # of an attempt that is not over yet, which will see it
        if self._redial is None or self._limits.resume_window <= 0:
            self._live.end(cause)
            return
        self.lost_at = self._loop.time()
        session = self._live.session
        progress = session.received + session.replay.first
        if progress != self._progress:
            self._progress, self._wait = progress, 0.0
        else:
            self._wait_longer()
        self._task = self._loop.create_task(self._come_back(cause))
        self._tell()

    async def _come_back(self, cause: LinkLost) -> None:
        self.link.driver.abort()
        try:
            async with timeout(self._limits.resume_window):
                self._take(await self._dial_until_answered())
            return
        except TimeoutError:
            error: RshellError = LinkLost(
                f"{cause.reason}, and no way back was found in {self._limits.resume_window:g} s",
                silent=cause.silent,
            )
        except ResumeFailed as failed:
            error = failed
        except Exception as failed:  # also what nobody foresaw: the session must not wait for ever
            reason = f"{cause.reason}, and there is no way back: {failed}"
            error = caused_by(failed, LinkLost(reason))
        self._live.end(as_session_error(error))
        self._tell()

    async def _dial_until_answered(self) -> ClientLink:
        assert self._redial is not None
        refused_since: float | None = None  # by this very machine, without a pause
        while True:
            await asyncio.sleep(self._wait * random.uniform(0.5, 1.0))
            try:
                return await self._redial(self._live)
            except _FINAL:
                raise
            except ConnectError as error:
                if isinstance(error.__cause__, ResumeFailed):
                    raise error.__cause__ from None
                if isinstance(error, ServerGone):
                    now = self._loop.time()
                    refused_since = now if refused_since is None else refused_since
                    if now - refused_since >= self._limits.resume_local:
                        raise
                else:
                    refused_since = None
            self._wait_longer()

    def _wait_longer(self) -> None:
        self._wait = min(max(self._wait * 2, _FIRST_WAIT), _LONGEST_WAIT)
