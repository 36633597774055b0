"""How a link begins and ends: which frame may arrive when, who proves what, what GOODBYE means.

One table for both roles says which frame may arrive when. A frame that the table lacks ends the
link, and nothing is executed for a peer that has not logged in. A stage named `*_DECIDING` waits
for the owner of our end: a frame that arrives in one is an error, because an honest peer waits
too. docs/protocol.md, "Handshake", is the source, and its diagrams are drawn from this table.

Over TLS a login is SCRAM (scram.py); over a Unix socket and pipes it is the kernel's word, called
EXTERNAL. `ClientLogin` and `ServerLogin` step both, a link calls them for each AUTH, and the
owner of the link hears the outcome alone. A login that fails says one sentence, the same for a
wrong token and an unknown identity.

Hazard: a hostile server may answer in any order. Each step is checked against what we asked, and
a step too many is a failed login, not an exception of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Union

from rshell.errors import (
    AuthenticationFailed,
    ConfigurationError,
    LinkLost,
    LocalProtocolError,
    RemoteProtocolError,
    ResumeFailed,
    RshellError,
    SessionClosed,
    VersionMismatch,
    caused_by,
)
from rshell.protocol.frames import KNOWN_TYPES, FrameType
from rshell.protocol.messages import Attach, Auth, Goodbye, Hello
from rshell.protocol.scram import ScramClient, ScramError, ScramServer, Verifier
from rshell.protocol.session import Role

SCRAM = "SCRAM-SHA-256-PLUS"
EXTERNAL = "EXTERNAL"

Versions = tuple[int, int]
VERSIONS = (1, 1)
IMPLEMENTATION = "rshell"

# What ends a link from our side with a GOODBYE that says why.
REFUSALS = (
    AuthenticationFailed,
    ConfigurationError,
    RemoteProtocolError,
    ResumeFailed,
    VersionMismatch,
)

_REFUSED = (
    "the login failed: the token is not known here, or was revoked. Run 'rshell-token add NAME' "
    "on the server's machine and 'rshell --login' on this one."
)
_UNABLE = "the server can't check logins now; its own log says why"


class LoggedIn(NamedTuple):
    """The login succeeded, at both ends; a client now calls `Link.attach`."""

    identity: str


class LoginFailed(NamedTuple):
    """Server: the peer did not prove who it is. The reason is for our log; LinkClosed follows."""

    reason: str


class AttachRequested(NamedTuple):
    """Server: a logged-in client wants a session; answer with `Link.accept_attach`."""

    attach: Attach


class SessionAttached(NamedTuple):
    """The link now carries the session whose id this is."""

    session: str


class LinkClosed(NamedTuple):
    """The link is over; `cause` says why. Always the last event, and given once."""

    cause: RshellError


LINK_EVENTS = (LoggedIn, LoginFailed, AttachRequested, SessionAttached, LinkClosed)
LinkEvent = Union[LoggedIn, LoginFailed, AttachRequested, SessionAttached, LinkClosed]


class Stage(Enum):
    """How far a link has come."""

    HELLO = "hello"  # both: the peer's HELLO is next
    AUTH = "auth"  # both: a step of the login is next
    ATTACH = "attach"  # server: logged in, ATTACH is next; client: logged in, sends ATTACH
    ATTACH_DECIDING = "attach-deciding"  # server: we owe ATTACHED
    ATTACHING = "attaching"  # client: ATTACHED is next
    ATTACHED = "attached"
    CLOSED = "closed"


# What arrives. GOODBYE is taken in every stage but CLOSED and leads there.
RECEIVING: dict[tuple[Role, Stage, FrameType], Stage] = {
    (Role.SERVER, Stage.HELLO, FrameType.HELLO): Stage.AUTH,
    (Role.SERVER, Stage.AUTH, FrameType.AUTH): Stage.AUTH,
    (Role.SERVER, Stage.ATTACH, FrameType.ATTACH): Stage.ATTACH_DECIDING,
    (Role.CLIENT, Stage.HELLO, FrameType.HELLO): Stage.AUTH,
    (Role.CLIENT, Stage.AUTH, FrameType.AUTH): Stage.AUTH,
    (Role.CLIENT, Stage.ATTACHING, FrameType.ATTACHED): Stage.ATTACHED,
}

# What our own side decides.
ACTING: dict[tuple[Role, Stage, str], Stage] = {
    (Role.SERVER, Stage.AUTH, "accept"): Stage.ATTACH,
    (Role.SERVER, Stage.ATTACH_DECIDING, "accept-attach"): Stage.ATTACHED,
    (Role.CLIENT, Stage.AUTH, "accept"): Stage.ATTACH,
    (Role.CLIENT, Stage.ATTACH, "attach"): Stage.ATTACHING,
}

_AFTER_LOGIN = (FrameType.PING, FrameType.PONG, FrameType.ACK)


class ClientLogin:
    """A client's end of one login: by `scram`, or where it is None by the kernel's word.

    `identity` is how the server calls us, "" until `is_done`.
    """

    def __init__(self, scram: ScramClient | None = None) -> None:
        self.identity = ""
        self.is_done = False
        self._scram = scram
        self._steps = 0

    def first(self) -> Auth:
        """Return the first step, which may leave together with HELLO."""
        if self._scram is None:
            return Auth("", mechanism=EXTERNAL)
        return Auth(self._scram.first(), mechanism=SCRAM)

    def step(self, auth: Auth) -> Auth | None:
        """Take the server's step; return ours, None when the server has proved itself.

        Raises AuthenticationFailed.
        """
        self._steps += 1
        try:
            if not auth.done:
                if self._scram is None or self._steps != 1:
                    raise ScramError("the server asked for a step that is not due")
                return Auth(self._scram.final(auth.data))
            if self._scram is not None:
                if self._steps != 2:
                    raise ScramError("the server ended the login before it proved anything")
                self._scram.verify(auth.data)
        except ScramError as error:
            raise AuthenticationFailed(f"the login failed: {error}") from error
        self.identity = auth.identity
        self.is_done = True
        return None


class ServerLogin:
    """A server's end of one login.

    `trusted` is the identity that the kernel or our parent process vouches for; None asks for a
    token, which `new_scram` checks. It is called at the client's first step. It and its look-up of
    the verifier may raise ConfigurationError and RemoteProtocolError. `identity` is "" until
    `is_done`.
    """

    def __init__(
        self, trusted: str | None, new_scram: Callable[[], ScramServer] | None = None
    ) -> None:
        self.identity = ""
        self.is_done = False
        self.mechanism = SCRAM if trusted is None else EXTERNAL
        self._trusted = trusted
        self._new_scram = new_scram
        self._scram: ScramServer | None = None

    @property
    def verifier(self) -> Verifier | None:
        """What the token is checked against; None where none was named, or none is needed."""
        return None if self._scram is None else self._scram.verifier

    @property
    def claimed(self) -> str:
        """Who the client says that it is, "" before it has named one by token."""
        return "" if self._scram is None else self._scram.identity

    def is_revoked(self, lookup: Callable[[str], Verifier | None]) -> bool:
        """Whether the token, proved or about to be, is no longer the one that `lookup` finds."""
        if self._scram is None or self._scram.verifier is None:
            return False
        return lookup(self._scram.identity) != self._scram.verifier

    def step(self, auth: Auth) -> Auth:
        """Take the client's step and return ours, which is the last one when `is_done`.

        Raises AuthenticationFailed, whose text the client may see; a cause is for our log only.
        Raises ConfigurationError where nobody can log in.
        """
        if self._scram is None and auth.mechanism != self.mechanism:
            raise AuthenticationFailed(f"this server takes the login {self.mechanism} here")
        if self._trusted is not None:
            return self._accept(self._trusted, "")
        try:
            if self._scram is None:
                assert self._new_scram is not None
                self._scram = self._new_scram()
                return Auth(self._scram.challenge(auth.data))
            proof = self._scram.finish(auth.data)
        except ScramError as error:
            raise AuthenticationFailed(_REFUSED) from error
        return self._accept(self._scram.identity, proof)

    def _accept(self, identity: str, proof: str) -> Auth:
        self.identity = identity
        self.is_done = True
        return Auth(proof, done=True, identity=identity)


class Handshake:
    """One end's place in the table, and what it has learned on the way.

    `peer` is the other end's HELLO and `version` the highest that both speak, from then on;
    `identity` is who has logged in, "" before.
    """

    __slots__ = ("_login", "identity", "peer", "role", "stage", "version", "versions")

    def __init__(self, role: Role, versions: Versions, login: ServerLogin | None) -> None:
        self.role = role
        self.stage = Stage.HELLO
        self.versions = versions
        self.version = 0
        self.peer: Hello | None = None
        self.identity = ""
        self._login: ClientLogin | ServerLogin | None = login

    @property
    def is_attached(self) -> bool:
        """Whether the link carries a session."""
        return self.stage is Stage.ATTACHED

    def hello(self, frame: int) -> Hello:
        """Return our HELLO; `frame` is the largest body that we take, in bytes."""
        login = self._login
        mechanisms = (login.mechanism,) if isinstance(login, ServerLogin) else ()
        return Hello(self.versions, frame, IMPLEMENTATION, mechanisms)

    def log_in(self, login: ClientLogin) -> Auth:
        """Client: begin the login and return its first step."""
        if self._login is not None or self.role is not Role.CLIENT:
            raise LocalProtocolError("a login begins once, and at the client's end")
        self._login = login
        return login.first()

    def receive_hello(self, hello: Hello) -> None:
        """Agree on a version. Raises VersionMismatch."""
        ours, theirs = self.versions, hello.versions
        self.version = min(ours[1], theirs[1])
        if self.version < max(ours[0], theirs[0]):
            raise _version_mismatch(ours, theirs)
        self.peer = hello

    def receive_auth(self, auth: Auth) -> Auth | None:
        """Step the login; return our answer, if there is one. The stage says whether it is done.

        Raises AuthenticationFailed and ConfigurationError, see ServerLogin.
        """
        if self._login is None:
            raise RemoteProtocolError("AUTH before the login began")
        answer = self._login.step(auth)
        if self._login.is_done:
            self.act("accept")
            self.identity = self._login.identity
        return answer

    def receive(self, number: int) -> None:
        """Move for an arrived frame, or raise RemoteProtocolError where the table has no row."""
        frame_type = KNOWN_TYPES.get(number)
        if frame_type is FrameType.GOODBYE:
            self.stage = Stage.CLOSED
            return
        if self.stage is Stage.ATTACHED and (frame_type in _AFTER_LOGIN or number >= 16):
            return
        after = RECEIVING.get((self.role, self.stage, frame_type)) if frame_type else None
        if after is None:
            name = frame_type.name if frame_type else f"a frame of type {number}"
            raise RemoteProtocolError(f"{name} in the stage {self.stage.value!r}")
        self.stage = after

    def act(self, action: str) -> None:
        """Move for a decision of our own, or raise LocalProtocolError."""
        after = ACTING.get((self.role, self.stage, action))
        if after is None:
            raise LocalProtocolError(f"{action!r} in the stage {self.stage.value!r}")
        self.stage = after


def goodbye_from_error(error: RshellError, ours: Versions) -> Goodbye:
    """Return the GOODBYE that tells the peer of one of REFUSALS; `ours` are our versions."""
    if isinstance(error, VersionMismatch):
        return Goodbye("version", str(error), ours)
    if isinstance(error, AuthenticationFailed):
        return Goodbye("auth", str(error))
    if isinstance(error, ConfigurationError):
        return Goodbye("failed", _UNABLE)
    assert isinstance(error, (RemoteProtocolError, ResumeFailed))
    return Goodbye(error.code, str(error))


def error_from_goodbye(goodbye: Goodbye, ours: Versions) -> RshellError:
    """Return the error that a peer's GOODBYE stands for; `ours` are the versions we speak."""
    reason = goodbye.reason or goodbye.code
    if goodbye.code == "version" and goodbye.versions:
        return _version_mismatch(ours, goodbye.versions)
    if goodbye.code == "auth":
        return AuthenticationFailed(reason)
    if goodbye.code == "resume-failed":
        return ResumeFailed(reason)
    return SessionClosed(goodbye.code, reason, by="remote")


def error_from_loss(error: Exception) -> RshellError:
    """Return why a link is over whose byte stream broke with `error`.

    Only a network that went silent is told by an OSError that is no ConnectionError.
    """
    if isinstance(error, RshellError):
        return error
    silent = isinstance(error, OSError) and not isinstance(error, ConnectionError)
    return caused_by(error, LinkLost(f"the link was cut: {error}", silent=silent))


def _version_mismatch(ours: Versions, theirs: Versions) -> VersionMismatch:
    return VersionMismatch(
        f"no common protocol version: this side speaks {ours[0]} to {ours[1]}, the other "
        f"{theirs[0]} to {theirs[1]}. Update the older of the two.",
        ours=ours,
        theirs=theirs,
    )
