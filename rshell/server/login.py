"""The server's end of a link: checks the login, grants a session, hands events to it.

Strategy: nothing of a link is acted on before its login; the core's table sees to the order of
frames, this class to the proof. A login that fails says one sentence, the same for a wrong
token and an unknown identity.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from rshell.errors import ConfigurationError, ResumeFailed, RshellError, SessionClosed
from rshell.protocol.events import (
    AttachRequested,
    AuthReceived,
    LinkClosed,
    LinkEvent,
    SessionAttached,
)
from rshell.protocol.link import Link
from rshell.protocol.messages import Attach, Auth
from rshell.protocol.session import Role
from rshell.security.scram import ScramError, ServerLogin, Verifier
from rshell.transport.driver import Driver
from rshell.transport.live_session import LiveSession
from rshell.values import Bounds

SCRAM = "SCRAM-SHA-256-PLUS"
EXTERNAL = "EXTERNAL"

_log = logging.getLogger("rshell.server")

_REFUSAL = (
    "the login failed: the token is not known here, or was revoked. Run 'rshell-token add NAME' "
    "on the server's machine and 'rshell --login' on this one."
)


class LinkHost(Protocol):
    """What a link needs of its server."""

    limits: Bounds

    def new_login(self) -> ServerLogin:
        """Return the server's side of one login, bound to its certificate."""

    def logged_in(self, link: ServerLink) -> None:
        """A login succeeded."""

    def login_failed(self, link: ServerLink, reason: str) -> None:
        """A login failed; the link is being closed."""

    def find_session(self, link: ServerLink, attach: Attach) -> LiveSession:
        """Return the session that a link which has logged in asks for, new or kept.

        Raises ResumeFailed, and SessionClosed where there are too many.
        """

    def link_closed(self, link: ServerLink, cause: RshellError) -> None:
        """The link is over."""


class ServerLink:
    """One link of a server. `source` names the other end for logs and penalties.

    `trusted` is the identity that the kernel or our parent process vouches for; None asks for
    a login by token.
    """

    def __init__(self, host: LinkHost, source: str, trusted: str | None, now: float) -> None:
        self.source = source
        self.identity = ""
        self.live: LiveSession | None = None
        self.link = Link(
            Role.SERVER,
            host.limits,
            now,
            mechanisms=(SCRAM,) if trusted is None else (EXTERNAL,),
        )
        self.driver = Driver(self.link, self)
        self._host = host
        self._trusted = trusted
        self._login: ServerLogin | None = None

    def handle(self, event: LinkEvent) -> None:
        """Act on one event of the link."""
        if isinstance(event, AuthReceived):
            self._authenticate(event.auth)
        elif isinstance(event, AttachRequested):
            self._attach(event.attach)
        elif isinstance(event, LinkClosed):
            self._host.link_closed(self, event.cause)

    @property
    def verifier(self) -> Verifier | None:
        """What its token is checked against; None where no token was named, or needed."""
        return None if self._login is None else self._login.verifier

    def is_revoked(self, lookup: Callable[[str], Verifier | None]) -> bool:
        """Whether its token, proved or about to be, is no longer the one that `lookup` finds."""
        if self._login is None or self.verifier is None:
            return False
        return lookup(self._login.identity) != self.verifier

    def close(self, code: str, reason: str) -> None:
        """End the link and the session on it. Harmless when it is over."""
        if self.link.closed is not None:
            return
        self.driver.close(code, reason)
        assert self.link.closed is not None
        self.handle(LinkClosed(self.link.closed))

    def _authenticate(self, auth: Auth) -> None:
        if self._trusted is not None:
            if auth.mechanism != EXTERNAL:
                self._refuse(f"this server takes the login {EXTERNAL} here")
                return
            self._accept(self._trusted, "")
            return
        try:
            if self._login is None:
                if auth.mechanism != SCRAM:
                    self._refuse(f"this server takes the login {SCRAM} here")
                    return
                self._login = self._host.new_login()
                self.link.challenge(self._login.challenge(auth.data))
                return
            proof = self._login.finish(auth.data)
        except ScramError as error:
            self._host.login_failed(self, str(error))
            self.close("auth", _REFUSAL)
            return
        except ConfigurationError as error:
            _log.error("nobody can log in: %s", error)
            self.close("failed", "the server can't check logins now; its own log says why")
            return
        self._accept(self._login.identity, proof)

    def _accept(self, identity: str, proof: str) -> None:
        self.identity = identity
        self.link.accept(identity, proof)
        self._host.logged_in(self)

    def _refuse(self, reason: str) -> None:
        self._host.login_failed(self, reason)
        self.close("auth", reason)

    def _attach(self, attach: Attach) -> None:
        try:
            self.live = self._host.find_session(self, attach)
        except SessionClosed as error:
            if isinstance(error, ResumeFailed):
                self._host.login_failed(self, f"resuming failed: {error}")
            self.close(error.code, str(error))
            return
        for event in self.link.accept_attach(self.live.session, attach, self.driver.now):
            if isinstance(event, SessionAttached):
                self.live.attach(self.driver)
            elif isinstance(event, LinkClosed):
                self.handle(event)
