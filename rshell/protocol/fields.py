"""The fields of messages: which JSON value each takes, and what Python makes of it.

A class of `codec.Message` lists its fields as `session: str = fields.text(100)`. A field checks
what a peer sends and refuses what does not fit with RemoteProtocolError, naming the message, the
key and what was wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.values import (
    COMMAND_SHOWN,
    NAME_RULE,
    ExitStatus,
    TerminalSize,
    is_name,
    shorten_command,
)

COUNT_LIMIT = 2**63
SECONDS_LIMIT = 1e9
TEXT_LIMIT = 2**18  # characters, where a field names no limit of its own
SENTENCE_LIMIT = 1000  # characters of a sentence for people; what is longer is cut

_REQUIRED: Any = object()


class Field:
    """One declared field. `fits` says whether a JSON value is one, `read` makes Python's of it.

    `says` is its type in the words of docs/protocol.md, `wanted` the same for error messages,
    `low` and `high` the range of its value or length where it has one. `write` makes JSON of the
    value again. An `always` field is written even when it has its default.
    """

    def __init__(
        self,
        says: str,
        wanted: str,
        fits: Callable[[Any], bool],
        *,
        low: float = 0,
        high: float = TEXT_LIMIT,
        default: Any = _REQUIRED,
        key: str = "",
        always: bool = False,
        read: Callable[[Any], Any] | None = None,
        write: Callable[[Any], Any] | None = None,
    ) -> None:
        self.says, self.wanted, self.fits = says, wanted, fits
        self.low, self.high = low, high
        self.default = default
        self.name, self.key = "", key
        self.always = always
        self.read, self.write = read, write

    @property
    def is_required(self) -> bool:
        """Whether a message without it is an error."""
        return self.default is _REQUIRED

    def fresh_default(self) -> Any:
        """Return the default, a new one if it can change."""
        return self.default.copy() if isinstance(self.default, dict) else self.default

    def decode(self, values: dict[str, Any], label: str) -> Any:
        """Return the checked value out of an object. Raises RemoteProtocolError."""
        if self.key not in values and not self.is_required:
            return self.fresh_default()
        value = values.get(self.key)  # null is no value of any type
        if not self.fits(value):
            raise RemoteProtocolError(f"{label} needs {self.key!r}: {self.wanted}")
        return value if self.read is None else self.read(value)

    def encode(self, value: Any, values: dict[str, Any]) -> None:
        """Write `value` into an object, unless it is the default."""
        if self.always or self.is_required or value != self.default:
            values[self.key] = value if self.write is None else self.write(value)


class Group(Field):
    """A value of several keys: `build` makes it of the values of `parts`, `split` undoes that.

    `build` raises LocalProtocolError for values that don't fit each other. One that has a default
    is absent where the key `anchor` is, or is null; without an anchor where all its keys are.
    """

    def __init__(
        self,
        parts: tuple[Field, ...],
        build: Callable[..., Any],
        split: Callable[[Any], Iterable[Any]],
        *,
        default: Any = _REQUIRED,
        anchor: str = "",
    ) -> None:
        super().__init__("", "", bool, default=default)
        self.parts, self.build, self.split = parts, build, split
        self.anchors = (anchor,) if anchor else tuple(part.key for part in parts)

    def decode(self, values: dict[str, Any], label: str) -> Any:
        """Return the value. Raises RemoteProtocolError, and what `build` raises."""
        if not self.is_required and all(values.get(key) is None for key in self.anchors):
            return self.default
        return self.build(*[part.decode(values, label) for part in self.parts])

    def encode(self, value: Any, values: dict[str, Any]) -> None:
        """Write the parts of `value` into an object."""
        if self.is_required or value != self.default:
            for part, item in zip(self.parts, self.split(value)):
                part.encode(item, values)


# The fields. Each takes `default=` where it may be absent, and `key=` where its key on the wire
# is not its name.


def integer(low: int = 0, high: int = COUNT_LIMIT, **options: Any) -> Any:
    """Declare a whole number within [low, high]."""

    def fits(value: Any) -> bool:
        return type(value) is int and low <= value <= high

    wanted = f"a whole number from {low} to {high}"
    return Field("integer", wanted, fits, low=low, high=high, **options)


def text(limit: int = TEXT_LIMIT, *, without: str = "", **options: Any) -> Any:
    """Declare a string of at most `limit` characters, none of them in `without`."""

    def fits(value: Any) -> bool:
        return _is_encodable(value) and len(value) <= limit and not any(map(value.count, without))

    wanted = f"a string of at most {limit} characters"
    wanted += f" without {without!r}" if without else ""
    return Field("string", wanted, fits, high=limit, **{"write": _checked, **options})


def ascii_text(limit: int, **options: Any) -> Any:
    """Declare a string of at most `limit` ASCII characters."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= limit and value.isascii()

    return Field("string", f"at most {limit} ASCII characters", fits, high=limit, **options)


def sentence(**options: Any) -> Any:
    """Declare a sentence for people, cut to SENTENCE_LIMIT characters by both ends."""

    def cut(value: str) -> str:
        return value[:SENTENCE_LIMIT]

    return Field("string", "a string", _is_text, read=cut, write=cut, **options)


def shown_command(**options: Any) -> Any:
    """Declare a command for listings: its sender writes no more than the beginning."""
    return text(COMMAND_SHOWN, write=shorten_command, **options)


def name(**options: Any) -> Any:
    """Declare the name of a job or a named shell; the `check` of its class asks `check_name`."""
    return Field("string", f"a name. {NAME_RULE}", _fits_name, **options)


def check_name(value: str | None, what: str) -> None:
    """Raise LocalProtocolError unless `value` is a name that `what` can have, or None."""
    if value is not None and not is_name(value):
        raise LocalProtocolError(f"not {what} name: {value!r}. {NAME_RULE}")


def choice(*values: str, **options: Any) -> Any:
    """Declare a string that is one of `values`."""
    return Field("string", f"one of {', '.join(values)}", values.__contains__, **options)


def boolean(**options: Any) -> Any:
    """Declare a truth value."""
    return Field("boolean", "true or false", lambda it: isinstance(it, bool), **options)


def _number(wanted: str, low: float, high: float, options: dict[str, Any]) -> Field:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and low <= value < high

    return Field("number", wanted, fits, low=low, high=high, read=float, **options)


def timeout(**options: Any) -> Any:
    """Declare a positive time in seconds."""
    wanted = f"a positive number of seconds below {SECONDS_LIMIT:g}"
    return _number(wanted, 5e-324, SECONDS_LIMIT, options)


def duration(**options: Any) -> Any:
    """Declare how long something took, in seconds."""
    return _number("a number of seconds", 0, 1e12, options)


def moment(**options: Any) -> Any:
    """Declare a point in time, in seconds since 1970."""
    return _number("seconds since 1970", 0, 1e11, options)


def json_object(**options: Any) -> Any:
    """Declare a JSON object that this layer doesn't look into."""
    return Field("object", "an object", _is_object, **options)


def nested(message: type[Any], **options: Any) -> Any:
    """Declare an object that is itself a message; its `type`, if it has one, doesn't matter."""
    write = message.encode
    return Field("object", "an object", _is_object, read=message.decode, write=write, **options)


def merged(message: type[Any], **options: Any) -> Any:
    """Declare a message whose keys stand among those of the outer one."""
    return Group(message.FIELDS, message, lambda value: vars(value).values(), **options)


def texts(most: int = TEXT_LIMIT, **options: Any) -> Any:
    """Declare a list of `most` strings or fewer, a tuple in Python."""

    def fits(value: Any) -> bool:
        return isinstance(value, list) and len(value) <= most and all(map(_is_encodable, value))

    def write(value: Iterable[str]) -> list[str]:
        return list(map(_checked, value))

    return Field("list of strings", "a list of strings", fits, read=tuple, write=write, **options)


def text_map(**options: Any) -> Any:
    """Declare an object whose values are strings."""

    def fits(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return all(map(_is_encodable, value)) and all(map(_is_encodable, value.values()))

    def write(value: Mapping[str, str]) -> dict[str, str]:
        return {_checked(key): _checked(item) for key, item in value.items()}

    return Field("object of strings", "an object of strings", fits, write=write, **options)


def versions(**options: Any) -> Any:
    """Declare the range of versions that an end speaks: [lowest, highest]."""

    def fits(value: Any) -> bool:
        if not isinstance(value, list) or [type(item) for item in value] != [int, int]:
            return False
        return bool(0 < value[0] <= value[1] < 2**16)

    return Field("two integers", "[lowest, highest]", fits, read=tuple, write=list, **options)


def size(**options: Any) -> Any:
    """Declare a TerminalSize, which takes the keys `columns` and `rows`."""
    parts = (integer(1, 65535, key="columns"), integer(1, 65535, key="rows"))
    return Group(parts, TerminalSize, lambda size: (size.columns, size.rows), **options)


def status(**options: Any) -> Any:
    """Declare an ExitStatus: the key `exit_status`, or `signal` and `signal_number`."""

    def build(code: int | None, signal: str | None, signal_number: int) -> ExitStatus:
        if signal is None and code is not None:
            return ExitStatus(code)
        if signal is None or not signal_number:
            raise LocalProtocolError("an ending needs 'exit_status', or 'signal' and its number")
        return ExitStatus(None, signal, signal_number)

    parts = (
        integer(0, 255, key="exit_status", default=None),
        text(32, key="signal", default=None),
        integer(1, 127, key="signal_number", default=0),
    )
    return Group(parts, build, lambda it: (it.code, it.signal, it.signal_number), **options)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_encodable(value: Any) -> bool:
    """Whether `value` is text that bytes can be made of.

    Lone surrogates from U+DC80 to U+DCFF are bytes that are no UTF-8; any other is nothing at all.
    """
    if not isinstance(value, str):
        return False
    if not value.isascii():
        try:
            value.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            return False
    return True


def _checked(value: str) -> str:
    """Return text that is to be sent. Raises LocalProtocolError where no bytes can be made of it.

    What is no text at all is left to the peer, who refuses it.
    """
    if isinstance(value, str) and not _is_encodable(value):
        raise LocalProtocolError(
            f"text can't hold half a character (a lone surrogate): {value[:80]!a}"
        )
    return value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _fits_name(value: Any) -> bool:
    return isinstance(value, str) and is_name(value)
