"""The bodies of the control frames (docs/protocol.md, "Bodies")."""

from __future__ import annotations

from rshell.protocol import codec
from rshell.protocol.codec import COUNT_LIMIT, Body, Json, Message, Raw

KIND_LIMIT = 100  # characters


class Hello(Message, label="HELLO"):
    """What each end says first. `frame` is the largest body it accepts after login, in bytes."""

    versions: tuple[int, int] = codec.versions()
    frame: int = codec.integer(16 * 1024, 2**31)
    implementation: str = codec.text(200, default="", always=True)
    mechanisms: tuple[str, ...] = codec.texts(default=(), always=True)
    features: tuple[str, ...] = codec.texts(default=(), always=True)


class Auth(Message, label="AUTH"):
    """One step of the login. `done` comes from the server alone, with the proved `identity`."""

    data: str = codec.text(8192, default="", always=True)
    mechanism: str = codec.text(100, default="")
    done: bool = codec.boolean(default=False)
    identity: str = codec.text(200, default="")


class Resume(Message, label="ATTACH"):
    """Which session to resume: `received` of the server's frames have arrived in it."""

    session: str = codec.text(100)
    secret: str = codec.text(200)
    received: int = codec.integer()


class Attach(Message, label="ATTACH"):
    """Asks for a session: the one to `resume`, a new one where there is none.

    `linger` is for how many seconds the server should keep the session after the link was
    closed without a GOODBYE, which is what the end of the client's process looks like.
    """

    resume: Resume | None = codec.merged(Resume, default=None)
    linger: float | None = codec.timeout(default=None)


class Attached(Message, label="ATTACHED"):
    """Grants a session. `secret` resumes it; `received` frames of the client have arrived."""

    session: str = codec.text(100)
    secret: str = codec.text(200)
    received: int = codec.integer()


class Goodbye(Message, label="GOODBYE"):
    """The last frame of a link. `versions` goes with the code "version"."""

    code: str = codec.text(100)
    reason: str = codec.sentence(default="", always=True)
    versions: tuple[int, int] | None = codec.versions(default=None)


class Open(Message, label="OPEN"):
    """Asks for a channel of `kind`. `window` bytes may come back before more is granted."""

    kind: str = codec.text(KIND_LIMIT)
    window: int = codec.integer(1, 2**31)
    request: Json = codec.json_object(default={}, always=True)


class Opened(Message, label="OPENED"):
    """Grants a channel; `reply` is the kind's own."""

    window: int = codec.integer(1, 2**31)
    reply: Json = codec.json_object(default={}, always=True)


class Refused(Message, label="REFUSED"):
    """No channel: a code for programs, a sentence for people."""

    code: str = codec.text(100)
    reason: str = codec.sentence(default="", always=True)


class Reset(Message, label="RESET"):
    """The end of a channel at once: a code for programs, a sentence for people."""

    code: str = codec.text(100)
    reason: str = codec.sentence(default="", always=True)


def encode_number(key: str, value: int) -> bytes:
    """Return the body of ACK ("received"), WINDOW ("bytes"), PING and PONG ("id")."""
    return b'{"%b":%d}' % (key.encode("ascii"), value)


def decode_number(label: str, key: str, raw: Raw, low: int) -> int:
    """Read the body of ACK, WINDOW, PING or PONG. Raises RemoteProtocolError."""
    return Body.parse(label, raw).integer(key, low, COUNT_LIMIT)
