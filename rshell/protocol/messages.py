"""The bodies of the control frames (docs/protocol.md, "Bodies")."""

from __future__ import annotations

from rshell.errors import RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Json, Message, Raw, parse_object
from rshell.protocol.fields import COUNT_LIMIT

KIND_LIMIT = 100  # characters


class Hello(Message, label="HELLO"):
    """What each end says first. `frame` is the largest body it accepts after login, in bytes."""

    versions: tuple[int, int] = fields.versions()
    frame: int = fields.integer(16 * 1024, 2**31)
    implementation: str = fields.text(200, default="", always=True)
    mechanisms: tuple[str, ...] = fields.texts(64, default=(), always=True)
    features: tuple[str, ...] = fields.texts(64, default=(), always=True)


class Auth(Message, label="AUTH"):
    """One step of the login. `done` comes from the server alone, with the proved `identity`."""

    data: str = fields.text(8192, default="", always=True)
    mechanism: str = fields.text(100, default="")
    done: bool = fields.boolean(default=False)
    identity: str = fields.text(200, default="")


class Resume(Message, label="ATTACH"):
    """Which session to resume: `received` of the server's frames have arrived in it."""

    session: str = fields.text(100)
    secret: str = fields.text(200)
    received: int = fields.integer()


class Attach(Message, label="ATTACH"):
    """Asks for a session: the one to `resume`, a new one where there is none.

    `linger` is for how many seconds the server should keep the session after the link was
    closed without a GOODBYE, which is what the end of the client's process looks like.
    """

    resume: Resume | None = fields.merged(Resume, default=None, anchor="session")
    linger: float | None = fields.timeout(default=None)


class Attached(Message, label="ATTACHED"):
    """Grants a session. `secret` resumes it; `received` frames of the client have arrived."""

    session: str = fields.text(100)
    secret: str = fields.text(200)
    received: int = fields.integer()


class Goodbye(Message, label="GOODBYE"):
    """The last frame of a link. `versions` goes with the code "version"."""

    code: str = fields.text(100)
    reason: str = fields.sentence(default="", always=True)
    versions: tuple[int, int] | None = fields.versions(default=None)


class Open(Message, label="OPEN"):
    """Asks for a channel of `kind`. `window` bytes may come back before more is granted."""

    kind: str = fields.text(KIND_LIMIT)
    window: int = fields.integer(1, 2**31)
    request: Json = fields.json_object(default={}, always=True)


class Opened(Message, label="OPENED"):
    """Grants a channel; `reply` is the kind's own."""

    window: int = fields.integer(1, 2**31)
    reply: Json = fields.json_object(default={}, always=True)


class Refused(Message, label="REFUSED"):
    """No channel: a code for programs, a sentence for people."""

    code: str = fields.text(100)
    reason: str = fields.sentence(default="", always=True)


class Reset(Message, label="RESET"):
    """The end of a channel at once: a code for programs, a sentence for people."""

    code: str = fields.text(100)
    reason: str = fields.sentence(default="", always=True)


def encode_number(key: str, value: int) -> bytes:
    """Return the body of ACK ("received"), WINDOW ("bytes"), PING and PONG ("id")."""
    return b'{"%b":%d}' % (key.encode("ascii"), value)


def decode_number(label: str, key: str, raw: Raw, low: int) -> int:
    """Read the body of ACK, WINDOW, PING or PONG. Raises RemoteProtocolError."""
    value = parse_object(label, raw).get(key)
    if type(value) is not int or not low <= value <= COUNT_LIMIT:
        raise RemoteProtocolError(f"{label} needs {key!r}: a whole number from {low}")
    return value
