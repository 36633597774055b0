"""Every JSON object on the wire, declared once: its class, its fields, their types and limits.

A message is a frozen class with a list of fields (`fields`). From that list come its
construction, `encode`, `decode`, all the checks, and the rows of the tables in
docs/protocol.md (`Message.FIELDS`). What a peer sends passes through these checks and nothing
else: code behind this module never meets an unchecked value. A field that has its default is
left out on the wire, and a key that is not listed is ignored: that is how a later version adds
one. What no single field can say, such as two fields that exclude each other, a class says in
`check`, which holds for both ends.

The classes are not dataclasses: `dataclass` compiles six methods for each class, half a
millisecond that every start of every program would pay for, and a message is built from JSON
field by field in any case.

Hazard: three bytes of JSON may become two hundred of Python's. A body is therefore refused before
it is parsed if it nests deeply or holds very many values (`check_shape`), and what is kept of a
peer's is counted as what it takes in memory (`memory_cost`), not as what came over the wire.

Hazard: huge numbers make the standard decoder raise other exceptions than ValueError;
`parse_object` turns all of them into RemoteProtocolError.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, NoReturn, TypeVar, Union

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.fields import Field
from rshell.values import dataclass_transform

Json = dict[str, Any]
Raw = Union[bytes, bytearray, memoryview]
M = TypeVar("M", bound="Message")

DEPTH_LIMIT = 32  # objects and lists within each other
VALUE_LIMIT = 16 * 1024  # about so many values in one body

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")
# What a value takes in memory at most, by the byte that comes before it.
_OBJECT_COST, _LIST_COST, _VALUE_COST = 240, 100, 100


def encode_json(value: Json) -> bytes:
    """Encode one JSON object as ASCII; lone surrogates (undecodable bytes) survive."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def memory_cost(raw: Raw) -> int:
    """Return about how many bytes the parsed JSON takes, seldom less than it really does."""
    raw = bytes(raw)
    objects, lists, others = raw.count(b"{"), raw.count(b"["), raw.count(b",")
    return len(raw) + objects * _OBJECT_COST + lists * _LIST_COST + others * _VALUE_COST


def check_shape(raw: bytes) -> str:
    """Return what is wrong with the shape of a JSON body, "" where nothing is.

    Brackets and commas are counted first, which is cheap; only where there are too many are those
    within strings told from the others.
    """
    opened = raw.count(b"[") + raw.count(b"{")
    if opened <= DEPTH_LIMIT and opened + raw.count(b",") <= VALUE_LIMIT:
        return ""
    bare = _TEXT.sub(b"", raw)
    if bare.count(b"[") + bare.count(b"{") + bare.count(b",") > VALUE_LIMIT:
        return f"holds more than {VALUE_LIMIT} values"
    depth = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_LIMIT:
            return f"nests deeper than {DEPTH_LIMIT}"
    return ""


def parse_object(label: str, raw: Raw) -> Json:
    """Read `raw`, one ASCII JSON object; `label` names it in RemoteProtocolError."""
    raw = bytes(raw)
    if wrong := check_shape(raw):
        raise RemoteProtocolError(f"the body of {label} {wrong}")
    try:
        values = json.loads(raw.decode("ascii"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"the body of {label} is not an ASCII JSON object") from error
    if not isinstance(values, dict):
        raise RemoteProtocolError(f"the body of {label} is not an ASCII JSON object")
    return values


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        fields.ascii_text,
        fields.boolean,
        fields.choice,
        fields.duration,
        fields.integer,
        fields.json_object,
        fields.merged,
        fields.moment,
        fields.name,
        fields.nested,
        fields.sentence,
        fields.shown_command,
        fields.size,
        fields.status,
        fields.text,
        fields.text_map,
        fields.texts,
        fields.timeout,
        fields.versions,
    ),
)
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
        for name, value in list(vars(cls).items()):
            if isinstance(value, Field):
                value.name = name
                value.key = value.key or name
                cls.FIELDS += (value,)
                delattr(cls, name)

    def __init__(self, *args: Any, **given: Any) -> None:
        values = self.__dict__
        for field, value in zip(self.FIELDS, args):
            values[field.name] = value
        for field in self.FIELDS[len(args) :]:
            if field.name in given:
                values[field.name] = given.pop(field.name)
            elif field.is_required:
                raise TypeError(f"{type(self).__name__} needs {field.name!r}")
            else:
                values[field.name] = field.fresh_default()
        if given or len(args) > len(self.FIELDS):
            raise TypeError(f"{type(self).__name__} doesn't take that many, or {list(given)}")
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
        return hash((type(self), *self.__dict__.values()))

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
        try:
            return cls(*[field.decode(values, cls.LABEL) for field in cls.FIELDS])
        except LocalProtocolError as error:  # what we must not say, a peer must not
            raise RemoteProtocolError(str(error)) from error

    def to_bytes(self) -> bytes:
        """Return the body of a frame."""
        return encode_json(self.encode())

    @classmethod
    def from_bytes(cls: type[M], raw: Raw) -> M:
        """Read the body of a frame. Raises RemoteProtocolError."""
        return cls.decode(parse_object(cls.LABEL, raw))


def read_message(values: Json, *known: type[M]) -> M | None:
    """Read a message of a channel as the one of `known` that has its `type`.

    None stands for a type that is not known here, which both ends ignore: a later version may
    send it. Raises RemoteProtocolError for a message without a type, or with a wrong field.
    """
    its_type = values.get("type")
    if not isinstance(its_type, str):
        raise RemoteProtocolError("the message needs 'type': a string")
    for message in known:
        if its_type == message.TYPE:
            return message.decode(values)
    return None
