"""The client's end of a link: logs in, attaches a session, then hands events to it.

The first step of the login leaves together with HELLO, as soon as the server's certificate is
known, because SCRAM binds the login to that certificate. ATTACH follows only after the server has
proved that it knows the token too, which the core sees to (protocol/login.py).
"""

from __future__ import annotations

import asyncio

from rshell.errors import ConnectError, LinkLost, RshellError
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
        self.driver = Driver(self.link, self)
        self._address = address
        self._trust = trust
        if trust is None:
            self.link.log_in(ClientLogin())

    def check_certificate(self, der: bytes | None) -> None:
        """Check the server's certificate and begin the login that is bound to it.

        Raises UntrustedServer; the stream then closes before it writes.
        """
        assert self._trust is not None
        if der is None:
            raise ConnectError("the server showed no certificate")
        if self._trust.fingerprint is not None:
            assert self._address is not None
            check_fingerprint(self._trust.fingerprint, der, self._address)
        scram = ScramClient(self._trust.identity, self._trust.token, binding(der))
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
            failure = ConnectError(str(cause))
            failure.__cause__ = cause
            cause = failure
        self.attached.set_exception(cause)


async def _refuse_channel(channel: Channel) -> None:
    channel.refuse("unknown-kind", f"this client serves no channels of the kind {channel.kind!r}")
