"""Every JSON object on the wire, declared once: its class, its fields, their types and limits.

Theory: a message is a frozen class whose fields are declared with the functions below. From that
list come its construction, `encode`, `decode`, all the checks, and the rows of the tables in
docs/protocol.md (`Message.FIELDS`). What a peer sends passes through these checks and nothing
else, so code behind this module never meets an unchecked value. A field that has its default is
left out on the wire, and a key that is not listed is ignored: that is how a later version adds
one. What no single field can say, such as two fields that exclude each other, a class says in
`check`, which holds for both ends.

The classes are not dataclasses: these would compile six methods for each class, half a
millisecond that every start of every program pays, and a message is built from JSON field by
field in any case.

Hazard: JSON nested deeply or holding huge numbers makes the standard decoder raise other
exceptions than ValueError; `Body.parse` turns all of them into RemoteProtocolError.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, Union

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.values import NAME_RULE, ExitStatus, TerminalSize, is_name

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """Do nothing: it only tells type checkers how messages are constructed."""
        return lambda cls: cls


Json = dict[str, Any]
Raw = Union[bytes, bytearray, memoryview]  # noqa: UP007 - evaluated, also by the oldest Python
M = TypeVar("M", bound="Message")

COUNT_LIMIT = 2**63
SECONDS_LIMIT = 1e9
TEXT_LIMIT = 2**18  # characters, where a field names no limit of its own
SENTENCE_LIMIT = 1000  # characters of a sentence for people; what is longer is cut

_REQUIRED: Any = object()


def encode_json(value: Json) -> bytes:
    """Encode one JSON object as ASCII; lone surrogates (undecodable bytes) survive."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Body:
    """A received JSON object, read key by key with checks. `name` is for error messages."""

    __slots__ = ("name", "values")

    def __init__(self, name: str, values: Json) -> None:
        self.name = name
        self.values = values

    @classmethod
    def parse(cls, name: str, raw: Raw) -> Body:
        """Read `raw`, one ASCII JSON object. Raises RemoteProtocolError."""
        try:
            values = json.loads(bytes(raw).decode("ascii"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError(f"the body of {name} is not an ASCII JSON object") from error
        if not isinstance(values, dict):
            raise RemoteProtocolError(f"the body of {name} is not an ASCII JSON object")
        return cls(name, values)

    def wrong(self, key: str, wanted: str) -> RemoteProtocolError:
        """Return the error for a key that is missing or holds something else than `wanted`."""
        return RemoteProtocolError(f"{self.name} needs {key!r}: {wanted}")

    def integer(self, key: str, low: int = 0, high: int = COUNT_LIMIT) -> int:
        """Return a whole number within [low, high]."""
        value = self.values.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def text(self, key: str, limit: int = TEXT_LIMIT) -> str:
        """Return a string of at most `limit` characters."""
        value = self.values.get(key)
        if not isinstance(value, str) or len(value) > limit:
            raise self.wrong(key, f"a string of at most {limit} characters")
        return value

    def object(self, key: str) -> Json:
        """Return a JSON object."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return value


class Field:
    """One declared field: how it is read from a Body and written into an object.

    `keys` are its keys on the wire: one, or those of a value that takes several. `says` is its
    type in the words of docs/protocol.md.
    """

    __slots__ = ("always", "default", "is_inline", "keys", "name", "read", "says", "write")

    def __init__(
        self,
        read: Callable[[Body, str], Any],
        says: str,
        *,
        default: Any = _REQUIRED,
        key: str = "",
        always: bool = False,
        write: Callable[[Any], Any] | None = None,
        inline: tuple[str, ...] = (),
    ) -> None:
        self.read = read
        self.write = write
        self.says = says
        self.default = default
        self.always = always
        self.name = ""
        self.keys = inline or (key,)
        self.is_inline = bool(inline)

    @property
    def is_required(self) -> bool:
        """Whether a message without it is an error."""
        return self.default is _REQUIRED

    def named(self, name: str) -> None:
        """Take the attribute's name, and its key from that unless it has one of its own."""
        self.name = name
        if self.keys == ("",):
            self.keys = (name,)

    def decode(self, body: Body) -> Any:
        """Return the checked value. Raises RemoteProtocolError."""
        key = self.keys[0]
        if self.default is not _REQUIRED:
            if self.is_inline:
                if all(body.values.get(key) is None for key in self.keys):
                    return self.default
            elif key not in body.values or (self.default is None and body.values[key] is None):
                return self.default
        return self.read(body, key)

    def encode(self, value: Any, values: Json) -> None:
        """Write `value` into `values`, unless it is the default."""
        if not self.always and self.default is not _REQUIRED and value == self.default:
            return
        written = value if self.write is None else self.write(value)
        if self.is_inline:
            values.update(written)
        else:
            values[self.keys[0]] = written


# The fields. Each takes `default=` where it may be absent; with None, null counts as absent.


def integer(low: int = 0, high: int = COUNT_LIMIT, **options: Any) -> Any:
    """Declare a whole number within [low, high]."""
    return Field(lambda body, key: body.integer(key, low, high), "integer", **options)


def text(limit: int = TEXT_LIMIT, *, nul: bool = True, **options: Any) -> Any:
    """Declare a string of at most `limit` characters; `nul` False forbids NUL in it."""

    def read(body: Body, key: str) -> str:
        value = body.text(key, limit)
        if not nul and "\0" in value:
            raise body.wrong(key, "a string without a NUL character")
        return value

    return Field(read, "string", **options)


def sentence(**options: Any) -> Any:
    """Declare a sentence for people, cut to SENTENCE_LIMIT characters by both ends."""

    def read(body: Body, key: str) -> str:
        value = body.values.get(key)
        if not isinstance(value, str):
            raise body.wrong(key, "a string")
        return value[:SENTENCE_LIMIT]

    return Field(read, "string", write=lambda value: value[:SENTENCE_LIMIT], **options)


def shown(limit: int, **options: Any) -> Any:
    """Declare a string for listings: a sender cuts it to `limit`, with an ellipsis."""

    def write(value: str) -> str:
        return value if len(value) <= limit else value[: limit - 3] + "..."

    return Field(lambda body, key: body.text(key, limit), "string", write=write, **options)


def name(**options: Any) -> Any:
    """Declare the name of a job or a named shell; `Message.check` should say `check_name`."""
    return Field(lambda body, key: body.text(key), "string", **options)


def choice(*values: str, **options: Any) -> Any:
    """Declare a string that is one of `values`."""

    def read(body: Body, key: str) -> str:
        value = body.text(key, 100)
        if value not in values:
            raise RemoteProtocolError(f"no {key} {value!r}; there are {', '.join(values)}")
        return value

    return Field(read, "string", **options)


def boolean(**options: Any) -> Any:
    """Declare a truth value."""

    def read(body: Body, key: str) -> bool:
        value = body.values.get(key)
        if not isinstance(value, bool):
            raise body.wrong(key, "true or false")
        return value

    return Field(read, "boolean", **options)


def number(low: float, high: float, wanted: str, **options: Any) -> Any:
    """Declare a number within [low, high), described as `wanted`."""

    def read(body: Body, key: str) -> float:
        value = body.values.get(key)
        if type(value) not in (int, float) or not low <= value < high:
            raise body.wrong(key, wanted)
        return float(value)

    return Field(read, "number", **options)


def timeout(**options: Any) -> Any:
    """Declare a positive time in seconds."""
    wanted = f"a positive number of seconds below {SECONDS_LIMIT:g}"
    return number(5e-324, SECONDS_LIMIT, wanted, **options)


def duration(**options: Any) -> Any:
    """Declare how long something took, in seconds."""
    return number(0, 1e12, "a number of seconds", **options)


def moment(**options: Any) -> Any:
    """Declare a point in time, in seconds since 1970."""
    return number(0, 1e11, "seconds since 1970", **options)


def json_object(**options: Any) -> Any:
    """Declare a JSON object that this layer doesn't look into."""
    return Field(lambda body, key: body.object(key), "object", **options)


def texts(**options: Any) -> Any:
    """Declare a list of strings, a tuple in Python."""

    def read(body: Body, key: str) -> tuple[str, ...]:
        value = body.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise body.wrong(key, "a list of strings")
        return tuple(value)

    return Field(read, "list of strings", write=list, **options)


def text_map(**options: Any) -> Any:
    """Declare an object whose values are strings."""

    def read(body: Body, key: str) -> dict[str, str]:
        value = body.object(key)
        if not all(isinstance(item, str) for item in value.values()):
            raise body.wrong(key, "an object of strings")
        return value

    return Field(read, "object of strings", write=dict, **options)


def versions(**options: Any) -> Any:
    """Declare the range of versions that an end speaks: [lowest, highest]."""

    def read(body: Body, key: str) -> tuple[int, int]:
        pair = body.values.get(key)
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or any(type(item) is not int for item in pair)
            or not 0 < pair[0] <= pair[1] < 2**16
        ):
            raise body.wrong(key, "[lowest, highest]")
        return pair[0], pair[1]

    return Field(read, "list of two integers", write=list, **options)


def size(**options: Any) -> Any:
    """Declare a TerminalSize, which takes the keys `columns` and `rows`."""

    def read(body: Body, _: str) -> TerminalSize:
        return TerminalSize(body.integer("columns", 1, 65535), body.integer("rows", 1, 65535))

    def write(value: TerminalSize) -> Json:
        return {"columns": value.columns, "rows": value.rows}

    return Field(read, "integer", write=write, inline=("columns", "rows"), **options)


def status(**options: Any) -> Any:
    """Declare an ExitStatus: the key `exit_status`, or `signal` and `signal_number`."""

    def read(body: Body, _: str) -> ExitStatus:
        if body.values.get("signal") is not None:
            signal_number = body.integer("signal_number", 1, 127)
            return ExitStatus(signal=body.text("signal", 32), signal_number=signal_number)
        return ExitStatus(code=body.integer("exit_status", 0, 255))

    def write(value: ExitStatus) -> Json:
        if value.code is not None:
            return {"exit_status": value.code}
        return {"signal": value.signal, "signal_number": value.signal_number}

    keys = ("exit_status", "signal", "signal_number")
    return Field(read, "integer, or string and integer", write=write, inline=keys, **options)


def nested(message: type[Message], **options: Any) -> Any:
    """Declare an object that is itself a message, without its `type`."""
    return Field(
        lambda body, key: message.decode(body.object(key)),
        "object",
        write=lambda value: value.encode(),
        **options,
    )


def merged(message: type[Message], **options: Any) -> Any:
    """Declare a message whose keys stand among those of the outer one."""
    keys = tuple(key for field in message.FIELDS for key in field.keys)
    return Field(
        lambda body, _: message.decode(body.values),
        "object",
        write=lambda value: value.encode(),
        inline=keys,
        **options,
    )


def check_name(value: str | None, what: str) -> None:
    """Raise LocalProtocolError unless `value` is a name that `what` can have, or None."""
    if value is not None and not is_name(value):
        raise LocalProtocolError(f"not {what} name: {value!r}. {NAME_RULE}")


_SPECIFIERS = (
    integer,
    text,
    sentence,
    shown,
    name,
    choice,
    boolean,
    number,
    timeout,
    duration,
    moment,
    json_object,
    texts,
    text_map,
    versions,
    size,
    status,
    nested,
    merged,
)


@dataclass_transform(frozen_default=True, field_specifiers=_SPECIFIERS)
class Message:
    """A JSON object on the wire: `class Resize(Message, type="resize")` and its fields.

    A message inside a channel has a `type`. Requests, replies and the bodies of frames have
    none; their `label` names them in error messages. Instances are frozen and compare by value.
    Construction raises LocalProtocolError for what `check` forbids.
    """

    TYPE: ClassVar[str] = ""
    LABEL: ClassVar[str] = ""
    FIELDS: ClassVar[tuple[Field, ...]] = ()

    def __init_subclass__(cls, *, type: str = "", label: str = "") -> None:
        cls.TYPE = type
        cls.LABEL = label or type
        fields = []
        for name, value in list(vars(cls).items()):
            if isinstance(value, Field):
                value.named(name)
                fields.append(value)
                delattr(cls, name)
        cls.FIELDS = cls.FIELDS + tuple(fields)

    def __init__(self, *args: Any, **given: Any) -> None:
        values = self.__dict__
        fields = self.FIELDS
        if len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} values, not {len(args)}")
        for field, value in zip(fields, args):  # noqa: B905 - the rest follows below
            values[field.name] = value
        for field in fields[len(args) :]:
            if field.name in given:
                values[field.name] = given.pop(field.name)
            elif field.default is _REQUIRED:
                raise TypeError(f"{type(self).__name__} needs {field.name!r}")
            else:
                values[field.name] = field.default
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")
        self.check()

    def check(self) -> None:
        """Raise LocalProtocolError for fields that do not fit each other. Overridden."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *map(str, self.__dict__.values())))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({values})"

    def replace(self: M, **changes: Any) -> M:
        """Return a copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def encode(self) -> Json:
        """Return the JSON object; what has its default is left out."""
        values: Json = {"type": self.TYPE} if self.TYPE else {}
        for field in self.FIELDS:
            field.encode(self.__dict__[field.name], values)
        return values

    @classmethod
    def decode(cls: type[M], values: Json) -> M:
        """Check a JSON object and read it. Raises RemoteProtocolError."""
        return cls._read(Body(cls.LABEL, values))

    def to_bytes(self) -> bytes:
        """Return the body of a frame."""
        return encode_json(self.encode())

    @classmethod
    def from_bytes(cls: type[M], raw: Raw) -> M:
        """Read the body of a frame. Raises RemoteProtocolError."""
        return cls._read(Body.parse(cls.LABEL, raw))

    @classmethod
    def _read(cls: type[M], body: Body) -> M:
        try:
            return cls(**{field.name: field.decode(body) for field in cls.FIELDS})
        except LocalProtocolError as error:  # of `check`: what we must not say, a peer must not
            raise RemoteProtocolError(str(error)) from error


def read_message(values: Json, *known: type[Message]) -> Message | None:
    """Read a message of a channel as the one of `known` that has its `type`.

    None stands for a type that is not known here, which both ends ignore: a later version may
    send it. Raises RemoteProtocolError for a message without a type, or a wrong field.
    """
    its_type = Body("the message", values).text("type", 100)
    for message in known:
        if its_type == message.TYPE:
            return message.decode(values)
    return None
