"""A client's links: one from its login to its end, and the next one where it was cut.

The first step of the login leaves together with HELLO, as soon as the server's certificate is
known, because SCRAM binds the login to that certificate. ATTACH follows only after the server has
proved that it knows the token too, which the core sees to (protocol/login.py).

When the link is cut, the reconnector dials again, with waits that grow and differ from client to
client, logs in anew, and attaches the same session. Both ends then send what the other lacks, and
users of the session see nothing but a pause. After `resume_window` seconds, or at a word from the
server that it will not, the session ends. The server keeps the session for as long; a witness tells
it if this process was killed (witness.py).

Hazard: where each link is cut before it moved anything forward, dialling at once each time would
be a storm. The waits shrink again only after the session has made progress.

Hazard: nothing is run twice and nothing is lost, because the session itself, not this driver,
knows what the other side has. All that this module decides is when to stop trying.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from rshell.aio import timeout
from rshell.errors import (
    AuthenticationFailed,
    ConnectError,
    LinkLost,
    ResumeFailed,
    RshellError,
    SessionClosed,
    UntrustedServer,
    VersionMismatch,
    caused_by,
)
from rshell.protocol.fields import SECONDS_LIMIT
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

if TYPE_CHECKING:
    from rshell.client.witness_client import Testimony

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 5.0
FINAL = (AuthenticationFailed, UntrustedServer, VersionMismatch)


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
        # The wire has a longest time, and a program may want to come back for ever.
        self._linger = min(limits.resume_window, SECONDS_LIMIT - 1) if is_kept else 0.0
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


class Farewell(ClientLink):
    """A link that ends the session of another client, which is gone; `attached` once it is said.

    GOODBYE leaves right behind ATTACH: what the server would send again is nobody's any more.
    """

    def __init__(
        self, address: Address, trust: Trust | None, limits: Bounds, session: str, secret: str
    ) -> None:
        of_another = Session(Role.CLIENT, limits, id=session, secret=secret)
        super().__init__(address, trust, limits, LiveSession(of_another, _refuse_channel))

    def _attach(self) -> None:
        super()._attach()
        self.link.goodbye("gone", "the client has ended without a word")
        if not self.attached.done():
            self.attached.set_result(None)


async def _refuse_channel(channel: Channel) -> None:
    channel.refuse("unknown-kind", f"this client serves no channels of the kind {channel.kind!r}")


Redial = Callable[[LiveSession], Awaitable[ClientLink]]
Testify = Callable[[], "Testimony"]


class Reconnector:
    """The present link of a session, and the way to the next one.

    `link` is the present or the last link; `is_up` whether it carries the session; `lost_at`
    the loop's time at which it was lost. `on_change` is called at each loss and return.
    """

    def __init__(
        self,
        link: ClientLink,
        redial: Redial | None,
        limits: Bounds,
        testify: Testify | None = None,
    ) -> None:
        self.link = link
        self.lost_at = 0.0
        self.on_change: Callable[[], None] = lambda: None
        self._redial = redial
        self.limits = limits
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._wait = 0.0  # seconds before the next attempt
        self._progress = -1  # frames that had arrived, either way, at the last cut
        self._live = link.live
        self._live.on_lost = self._lost
        self._live.on_attached = self._update_witness
        self._live.on_ended = self._ended
        has_witness = limits.resume_window > 0 and limits.witness_after < math.inf
        self._testify = testify if has_witness else None
        self._testimony: Testimony | None = None
        self._is_leaving = False
        self._witness_timer: asyncio.TimerHandle | None = None
        if self._testify is not None:
            after = limits.witness_after
            self._witness_timer = self._loop.call_later(after, self._call_witness)
        self._take(link)

    @property
    def is_up(self) -> bool:
        """Whether a link carries the session now."""
        return self.link.driver is self._live.driver

    @property
    def heard_at(self) -> float:
        """The loop's time at which the server was heard last, over the present or the last link."""
        return self.link.driver.heard_at

    @property
    def is_answered(self) -> bool:
        """Whether the server has said that all that was sent to it has arrived."""
        return self._live.is_settled

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

    async def leave(self) -> None:
        """End the session and see to it that the server knows. Does nothing where it is over.

        Where there is no link to say it on, the witness does. Cancelling ends the wait for the
        link's end; the session is over all the same.
        """
        self._is_leaving = True
        is_told = self._live.error is not None
        try:
            try:
                await self.close()
            finally:
                driver, can_tell = self.link.driver, self.is_up
                if self._live.error is None:
                    driver.close("done", "the client is done")
                    self._live.end(SessionClosed("done", "the session was closed", by="local"))
            async with timeout(self.limits.close_seconds):
                await driver.done.wait()
            is_told = is_told or can_tell
        except TimeoutError:
            driver.abort()
        finally:
            self._release_witness(is_told=is_told)

    def _release_witness(self, *, is_told: bool) -> None:
        """Let go of the witness, the session being over; not `is_told`, it tells the server so."""
        if not is_told and self._testimony is None:
            self._call_witness()
        self._stop_witness_timer()
        if self._testimony is not None:
            self._testimony.withdraw(tells=not is_told)
            self._testimony = None

    def _call_witness(self) -> None:
        self._stop_witness_timer()
        if self._testify is not None:
            self._testimony = self._testify()
            self._update_witness()

    def _stop_witness_timer(self) -> None:
        if self._witness_timer is not None:
            self._witness_timer.cancel()
            self._witness_timer = None

    def _update_witness(self) -> None:
        if self._testimony is not None:
            self._testimony.note(self._live.session.id, self._live.session.secret)

    def _ended(self) -> None:
        if not self._is_leaving:  # else whoever leaves sees to it that the server knows
            self._release_witness(is_told=True)

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
        if self._redial is None or self.limits.resume_window <= 0:
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
            async with timeout(self.limits.resume_window):
                self._take(await self._dial_until_answered())
            return
        except TimeoutError:
            error: RshellError = LinkLost(
                f"{cause.reason}, and no way back was found in {self.limits.resume_window:g} s",
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
        while True:
            await asyncio.sleep(self._wait * random.uniform(0.5, 1.0))
            try:
                return await self._redial(self._live)
            except FINAL:
                raise
            except ConnectError as error:
                if isinstance(error.__cause__, ResumeFailed):
                    raise error.__cause__ from None
            self._wait_longer()

    def _wait_longer(self) -> None:
        self._wait = min(max(self._wait * 2, _FIRST_WAIT), _LONGEST_WAIT)
