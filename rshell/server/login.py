"""The server's end of a link: tells the server of its login, attaches a session, hands events on.

Nothing of a link is acted on before its login, which is the core's affair (protocol/login.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from rshell.errors import ConfigurationError, LinkLost, RshellError, SessionClosed
from rshell.protocol.link import Link
from rshell.protocol.login import (
    AttachRequested,
    LinkClosed,
    LinkEvent,
    LoggedIn,
    LoginFailed,
    ServerLogin,
    SessionAttached,
    Stage,
)
from rshell.protocol.messages import Attach
from rshell.protocol.scram import ScramServer
from rshell.protocol.session import Role
from rshell.transport.driver import Driver
from rshell.transport.live_session import LiveSession
from rshell.values import Bounds

_log = logging.getLogger("rshell.server")


class LinkHost(Protocol):
    """What a link needs of its server."""

    limits: Bounds

    def new_scram(self, source: str) -> ScramServer:
        """Return the server's side of one login by token, bound to its certificate.

        Its look-up raises ConfigurationError where the tokens can't be read, and
        RemoteProtocolError for who has to wait at `source`.
        """

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
    a login by token. `login` says what the token is checked against. `environment` is that of
    who handed the link over, None for the server's own.
    """

    def __init__(self, host: LinkHost, source: str, trusted: str | None, now: float) -> None:
        self.source = source
        self.environment: Mapping[str, str] | None = None
        self.identity = ""
        self.live: LiveSession | None = None
        self.login = ServerLogin(trusted, partial(host.new_scram, source))
        self.link = Link(Role.SERVER, host.limits, now, login=self.login)
        self.driver = Driver(self.link, self.handle)
        self._host = host

    def handle(self, event: LinkEvent) -> None:
        """Act on one event of the link."""
        if isinstance(event, LoggedIn):
            self.identity = event.identity
            self._host.logged_in(self)
        elif isinstance(event, LoginFailed):
            self._host.login_failed(self, event.reason)
        elif isinstance(event, AttachRequested):
            self._attach(event.attach)
        elif isinstance(event, SessionAttached):
            assert self.live is not None
            self.live.attach(self.driver)
        elif isinstance(event, LinkClosed):
            if isinstance(event.cause, ConfigurationError):
                _log.error("nobody can log in: %s", event.cause)
            self._host.link_closed(self, event.cause)

    @property
    def progress(self) -> int:
        """How far it has come towards its login: 0 for a peer that has said nothing at all."""
        if self.link.stage is not Stage.HELLO:
            return 2
        return int(self.driver.has_begun)

    def drop(self, reason: str) -> None:
        """End a link without a login, without a word. Does nothing when it is over."""
        if self.link.error is None:
            self.link.receive_lost(LinkLost(reason))
            self.driver.flush()  # which closes the stream
            self.handle(LinkClosed(SessionClosed("busy", reason, by="local")))  # it did not leave

    def close(self, code: str, reason: str) -> None:
        """End the link and the session on it. Does nothing when it is over."""
        if self.link.error is not None:
            return
        self.driver.close(code, reason)
        assert self.link.error is not None
        self.handle(LinkClosed(self.link.error))

    def _attach(self, attach: Attach) -> None:
        try:
            self.live = self._host.find_session(self, attach)
        except SessionClosed as error:
            self.close(error.code, str(error))
            return
        for event in self.link.accept_attach(self.live.session, attach, self.driver.now):
            if isinstance(event, (SessionAttached, LinkClosed)):
                self.handle(event)
