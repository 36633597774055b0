"""The client's end of a link: logs in, attaches a session, then hands events to it.

Strategy: the first step of the login leaves together with HELLO, as soon as the server's
certificate is known, because SCRAM binds the login to that certificate. ATTACH follows only
after the server has proved that it knows the token too.

Hazard: a hostile server may answer in any order. Every step is checked against what we asked,
and a step too many is a failed login, not an exception of ours.
"""

from __future__ import annotations

import asyncio

from rshell.errors import AuthenticationFailed, ConnectError, LinkLost, RshellError
from rshell.protocol.events import (
    AuthReceived,
    HelloReceived,
    LinkClosed,
    LinkEvent,
    SessionAttached,
)
from rshell.protocol.link import Link
from rshell.protocol.messages import Attach, Auth, Hello, Resume
from rshell.protocol.session import Role, Session
from rshell.security.certificates import binding
from rshell.security.credentials import Trust
from rshell.security.pins import check_fingerprint
from rshell.security.scram import ClientLogin, ScramError
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.transport.live_session import LiveSession, as_session_error
from rshell.values import Address, Bounds

SCRAM = "SCRAM-SHA-256-PLUS"
EXTERNAL = "EXTERNAL"


class ClientLink:
    """One link of a client, from login to its end. `server` is the peer's HELLO.

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
        self.server: Hello | None = None
        self.live = live or LiveSession(Session(Role.CLIENT, limits), _refuse_channel)
        self._is_kept = is_kept
        self._linger = min(limits.linger, limits.resume_window) if is_kept else 0.0
        self.link = Link(Role.CLIENT, limits, loop.time())
        self.driver = Driver(self.link, self)
        self._address = address
        self._trust = trust
        self._scram: ClientLogin | None = None
        self._steps = 0
        if trust is None:
            self.link.authenticate(Auth("", mechanism=EXTERNAL))

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
        self._scram = ClientLogin(self._trust.identity, self._trust.token, binding(der))
        self.link.authenticate(Auth(self._scram.first(), mechanism=SCRAM))

    # What the driver calls.

    def handle(self, event: LinkEvent) -> None:
        """Act on one event of the link."""
        if isinstance(event, HelloReceived):
            self.server = event.hello
        elif isinstance(event, AuthReceived):
            self._authenticate(event.auth)
        elif isinstance(event, SessionAttached):
            self.live.attach(self.driver)
            if not self.attached.done():
                self.attached.set_result(None)
        elif isinstance(event, LinkClosed):
            self._closed(event.cause)

    # The login.

    def _authenticate(self, auth: Auth) -> None:
        self._steps += 1
        try:
            if not auth.done:
                self._answer(auth)
                return
            self._check_proof(auth)
        except ScramError as error:
            self._fail(AuthenticationFailed(f"the login failed: {error}"))
            return
        self.link.accept(auth.identity)
        session = self.live.session
        linger = self._linger or None
        resume = Resume(session.id, session.secret, session.received) if session.id else None
        self.link.attach(session, Attach(resume, linger), self.driver.now)

    def _answer(self, auth: Auth) -> None:
        if self._scram is None or self._steps != 1:
            raise ScramError("the server asked for a step that is not due")
        self.link.authenticate(Auth(self._scram.final(auth.data)))

    def _check_proof(self, auth: Auth) -> None:
        if self._scram is None:
            return  # the kernel vouches for the other end
        if self._steps != 2:
            raise ScramError("the server ended the login before it proved anything")
        self._scram.verify(auth.data)

    def _fail(self, error: RshellError) -> None:
        self.driver.close("auth", str(error))
        self._closed(error)

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
