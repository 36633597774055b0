"""Typed bodies of the control frames (docs/protocol.md, "Bodies").

Strategy: each body is a small frozen class with `encode()` and `decode()`. What a peer sends
goes through `Body`, which checks presence, type and range of every field, so that code behind
this module never meets an unchecked value. Unknown keys are ignored: that is how a later
version adds one.

Hazard: JSON nested deeply or holding huge numbers makes the standard decoder raise other
exceptions than ValueError; `Body.decode` turns all of them into RemoteProtocolError.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

from rshell.errors import RemoteProtocolError

Json = dict[str, Any]
Raw = bytes | bytearray | memoryview

SEQUENCE_LIMIT = 2**63
SECONDS_LIMIT = 1e9
KIND_LIMIT = 100  # characters
_REASON_LIMIT = 1000


def encode_json(value: Json) -> bytes:
    """Encode one JSON object as ASCII; lone surrogates (undecodable bytes) survive."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Body:
    """A received JSON object, read field by field with checks. `name` is for messages."""

    __slots__ = ("_values", "name")

    def __init__(self, name: str, values: Json) -> None:
        self.name = name
        self._values = values

    @classmethod
    def decode(cls, name: str, raw: Raw) -> Body:
        """Read `raw`, one ASCII JSON object. Raises RemoteProtocolError."""
        try:
            values = json.loads(bytes(raw).decode("ascii"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError(f"the body of {name} is not an ASCII JSON object") from error
        if not isinstance(values, dict):
            raise RemoteProtocolError(f"the body of {name} is not an ASCII JSON object")
        return cls(name, values)

    @property
    def values(self) -> Json:
        """The whole object, unchecked."""
        return self._values

    def _missing(self, key: str, wanted: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self.name} needs {key!r}: {wanted}")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number within [low, high]."""
        value = self._values.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self._missing(key, f"a whole number from {low} to {high}")
        return value

    def seconds(self, key: str) -> float | None:
        """Return a positive duration in seconds, or None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 < value < SECONDS_LIMIT:
            raise self._missing(key, f"a positive number of seconds below {SECONDS_LIMIT:g}")
        return float(value)

    def text(self, key: str, default: str | None = None, *, limit: int = 2**18) -> str:
        """Return a string of at most `limit` characters."""
        value = self._values.get(key, default)
        if not isinstance(value, str) or len(value) > limit:
            raise self._missing(key, f"a string of at most {limit} characters")
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None where there is none."""
        return None if self._values.get(key) is None else self.text(key)

    def reason(self, key: str = "reason") -> str:
        """Return a sentence for people, cut to a sane length; an absent one is empty."""
        value = self._values.get(key, "")
        if not isinstance(value, str):
            raise self._missing(key, "a string")
        return value[:_REASON_LIMIT]

    def boolean(self, key: str, default: bool = False) -> bool:
        """Return a truth value."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self._missing(key, "true or false")
        return value

    def object(self, key: str) -> Json:
        """Return a JSON object, empty where there is none."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self._missing(key, "an object")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty where there is none."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._missing(key, "a list of strings")
        return tuple(value)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object whose values are strings, empty where there is none."""
        value = self.object(key)
        if not all(isinstance(item, str) for item in value.values()):
            raise self._missing(key, "an object of strings")
        return value


class Hello(NamedTuple):
    """What each end says first. `frame` is the largest body it accepts after login, in bytes."""

    lowest: int
    highest: int
    frame: int
    implementation: str
    mechanisms: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the JSON body."""
        return encode_json(
            {
                "versions": [self.lowest, self.highest],
                "frame": self.frame,
                "implementation": self.implementation,
                "mechanisms": list(self.mechanisms),
                "features": list(self.features),
            }
        )

    @classmethod
    def decode(cls, raw: Raw) -> Hello:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("HELLO", raw)
        versions = decode_versions(body)
        return cls(
            lowest=versions[0],
            highest=versions[1],
            frame=body.integer("frame", 16 * 1024, 2**31),
            implementation=body.text("implementation", "", limit=200),
            mechanisms=body.texts("mechanisms"),
            features=body.texts("features"),
        )


def decode_versions(body: Body) -> tuple[int, int]:
    """Read "versions": a pair of whole numbers, lowest and highest."""
    pair = body.values.get("versions")
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or any(type(item) is not int for item in pair)
        or not 0 < pair[0] <= pair[1] < 2**16
    ):
        raise RemoteProtocolError(f"{body.name} needs 'versions': [lowest, highest]")
    return pair[0], pair[1]


class Auth(NamedTuple):
    """One step of the login. `done` comes from the server alone, with the proved `identity`."""

    data: str
    mechanism: str = ""
    done: bool = False
    identity: str = ""

    def encode(self) -> bytes:
        """Return the JSON body."""
        values: Json = {"data": self.data}
        if self.mechanism:
            values["mechanism"] = self.mechanism
        if self.done:
            values |= {"done": True, "identity": self.identity}
        return encode_json(values)

    @classmethod
    def decode(cls, raw: Raw) -> Auth:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("AUTH", raw)
        return cls(
            data=body.text("data", "", limit=8192),
            mechanism=body.text("mechanism", "", limit=100),
            done=body.boolean("done"),
            identity=body.text("identity", "", limit=200),
        )


class Attach(NamedTuple):
    """Asks for a session: a new one where `session` is None, else that one.

    `linger` is for how many seconds the server should keep the session after the link was
    closed without a GOODBYE, which is what the end of the client's process looks like.
    """

    session: str | None = None
    secret: str = ""
    received: int = 0
    linger: float | None = None

    def encode(self) -> bytes:
        """Return the JSON body."""
        values: Json = {}
        if self.session is not None:
            values = {"session": self.session, "secret": self.secret, "received": self.received}
        if self.linger is not None:
            values["linger"] = self.linger
        return encode_json(values)

    @classmethod
    def decode(cls, raw: Raw) -> Attach:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("ATTACH", raw)
        linger = body.seconds("linger")
        if body.values.get("session") is None:
            return cls(linger=linger)
        return cls(
            session=body.text("session", limit=100),
            secret=body.text("secret", limit=200),
            received=body.integer("received", 0, SEQUENCE_LIMIT),
            linger=linger,
        )


class Attached(NamedTuple):
    """Grants a session. `secret` resumes it; `received` frames of the client have arrived."""

    session: str
    secret: str
    received: int

    def encode(self) -> bytes:
        """Return the JSON body."""
        return encode_json(
            {"session": self.session, "secret": self.secret, "received": self.received}
        )

    @classmethod
    def decode(cls, raw: Raw) -> Attached:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("ATTACHED", raw)
        return cls(
            session=body.text("session", limit=100),
            secret=body.text("secret", limit=200),
            received=body.integer("received", 0, SEQUENCE_LIMIT),
        )


class Goodbye(NamedTuple):
    """The last frame of a link. `versions` goes with the code "version"."""

    code: str
    reason: str
    versions: tuple[int, int] | None = None

    def encode(self) -> bytes:
        """Return the JSON body, a long reason cut to what a peer would show."""
        values: Json = {"code": self.code, "reason": self.reason[:_REASON_LIMIT]}
        if self.versions:
            values["versions"] = list(self.versions)
        return encode_json(values)

    @classmethod
    def decode(cls, raw: Raw) -> Goodbye:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("GOODBYE", raw)
        return cls(
            code=body.text("code", limit=100),
            reason=body.reason(),
            versions=decode_versions(body) if "versions" in body.values else None,
        )


class Open(NamedTuple):
    """Asks for a channel of `kind`. `window` bytes may come back before more is granted."""

    kind: str
    window: int
    request: Json

    def encode(self) -> bytes:
        """Return the JSON body."""
        return encode_json({"kind": self.kind, "window": self.window, "request": self.request})

    @classmethod
    def decode(cls, raw: Raw) -> Open:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("OPEN", raw)
        return cls(body.text("kind", limit=KIND_LIMIT), _window(body), body.object("request"))


class Opened(NamedTuple):
    """Grants a channel; `reply` is the kind's own."""

    window: int
    reply: Json

    def encode(self) -> bytes:
        """Return the JSON body."""
        return encode_json({"window": self.window, "reply": self.reply})

    @classmethod
    def decode(cls, raw: Raw) -> Opened:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode("OPENED", raw)
        return cls(_window(body), body.object("reply"))


def _window(body: Body) -> int:
    return body.integer("window", 1, 2**31)


class Failure(NamedTuple):
    """The body of REFUSED and of RESET: a code for programs, a sentence for people."""

    code: str
    reason: str

    def encode(self) -> bytes:
        """Return the JSON body, a long reason cut to what a peer would show."""
        return encode_json({"code": self.code, "reason": self.reason[:_REASON_LIMIT]})

    @classmethod
    def decode(cls, name: str, raw: Raw) -> Failure:
        """Read a body. Raises RemoteProtocolError."""
        body = Body.decode(name, raw)
        return cls(body.text("code", limit=100), body.reason())


def encode_number(key: str, value: int) -> bytes:
    """Return the body of ACK ("received"), WINDOW ("bytes"), PING and PONG ("id")."""
    return b'{"%b":%d}' % (key.encode("ascii"), value)


def decode_number(name: str, key: str, raw: Raw, low: int) -> int:
    """Read the body of ACK, WINDOW, PING or PONG. Raises RemoteProtocolError."""
    return Body.decode(name, raw).integer(key, low, SEQUENCE_LIMIT)
