"""Every message that there is, and values for their fields, made from the list of the fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from rshell.channels.files import messages as files
from rshell.channels.job import messages as job
from rshell.channels.process import messages as process
from rshell.channels.shell import messages as shell
from rshell.protocol import messages as frames
from rshell.protocol.codec import Json, Message, encode_json
from rshell.protocol.fields import Field, Group
from rshell.values import ExitStatus, TerminalSize, is_name

MODULES = (frames, process, shell, job, files)

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)  # with lone surrogates
# Text that bytes can be made of: its lone surrogates are bytes that are no UTF-8.
ENCODABLE = st.text(max_size=20) | st.binary(max_size=20).map(
    lambda raw: raw.decode(errors="surrogateescape")
)
NAMES = st.text("aZ7._-", min_size=1, max_size=64).filter(is_name)
SIZES = st.builds(TerminalSize, st.integers(1, 65535), st.integers(1, 65535))
STATUSES = st.one_of(
    st.builds(ExitStatus, code=st.integers(0, 255)),
    st.builds(ExitStatus, signal=st.text("ABC", max_size=32), signal_number=st.integers(1, 127)),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def all_messages() -> list[type[Message]]:
    """Return every class of a message with fields of its own or a type."""
    return [cls for module in MODULES for cls in _classes(module)]


def _classes(module: Any) -> Iterator[type[Message]]:
    for value in vars(module).values():
        is_message = isinstance(value, type) and issubclass(value, Message) and value.LABEL
        if is_message and value.__module__ == module.__name__:
            yield value


def over_the_wire(values: Json) -> Json:
    """Return what a peer reads of an object."""
    read = json.loads(encode_json(values))
    assert isinstance(read, dict)
    return read


# What fields can't say of each other.
_PATHS: dict[str, tuple[str, ...]] = {
    "put": ("a",),
    "get": ("b", "c\udcff"),
    "copy": ("d", "e"),
    "call": (),
}

_FITTING: dict[type[Message], Callable[[Json], Json]] = {
    process.ProcessRequest: lambda values: (
        values | ({} if values["command"] is None else {"argv": ()})
    ),
    shell.Completions: lambda values: (
        values
        | {"labels": values["texts"]}
        | ({"descriptions": values["texts"]} if values["descriptions"] else {})
    ),
    shell.ShellRequest: lambda values: (
        values
        | ({"name": None} if values["terminal"] is None else {})
        | ({"share": False} if values["terminal"] is None or values["name"] is None else {})
    ),
    shell.Errand: lambda values: (
        values | {"cwd": "/a", "files": ("/b", "/c\udcff"), "directories": ()}
    ),
    shell.NamedShellsRequest: lambda values: values | ({} if values["name"] else {"verb": "list"}),
    job.JobRequest: lambda values: values | _asked(values),
    job.JobInfo: lambda values: values | {"state": _state(values["status"])},
    files.TransferOptions: lambda values: (
        values
        | {"recursive": values["recursive"] or values["delete"]}
        | {"attributes": values["attributes"] or values["numeric_ids"]}
        | ({"backup": False, "no_clobber": False} if values["inplace"] else {})
    ),
    files.FileAttributes: lambda values: values | {"attributes": {"user.a": "aGVsbG8="}},
    files.FilesRequest: lambda values: values | {"paths": _PATHS[values["verb"]]},
}


def _asked(values: Json) -> Json:
    given = values["process"]
    if given is not None and given.command is not None:
        no = {"stdin": False, "terminal": None, "timeout": None}
        return {"verb": "start", "process": given.replace(**no)}
    return {"verb": "wait" if values["name"] else "list", "process": None}


def _state(status: ExitStatus | None) -> str:
    return "lost" if status is None else "exited" if status.signal is None else "signaled"


def messages_of(cls: type[Message]) -> st.SearchStrategy[Message]:
    """Return all messages of a class."""
    if cls not in _made:
        _made[cls] = _make(cls)
    return _made[cls]


_made: dict[type[Message], st.SearchStrategy[Message]] = {}


def _make(cls: type[Message]) -> st.SearchStrategy[Message]:
    def build(values: Json) -> Message:
        fit = _FITTING.get(cls)
        return cls(**(values if fit is None else fit(values)))

    return st.fixed_dictionaries({field.name: _field(field) for field in cls.FIELDS}).map(build)


def _field(field: Field) -> st.SearchStrategy[Any]:
    values = _values(field)
    return values if field.is_required else st.just(field.default) | values


def _values(field: Field) -> st.SearchStrategy[Any]:
    if isinstance(field, Group):
        if isinstance(field.build, type) and issubclass(field.build, Message):
            return messages_of(field.build)
        return SIZES if field.build is TerminalSize else STATUSES
    if field.read is not None and isinstance(getattr(field.read, "__self__", None), type):
        return messages_of(field.read.__self__)  # type: ignore[attr-defined]
    if field.wanted.startswith("one of "):
        return st.sampled_from(field.wanted.removeprefix("one of ").split(", "))
    if field.wanted.startswith("a name"):
        return NAMES
    found: st.SearchStrategy[Any] = {
        "integer": st.integers(int(field.low), int(field.high)),
        "number": st.floats(field.low, field.high, exclude_max=True),
        "boolean": st.booleans(),
        "string": ENCODABLE.filter(field.fits),
        "object": st.dictionaries(TEXTS, JSON, max_size=3),
        "list of strings": st.lists(ENCODABLE, max_size=3).map(tuple),
        "object of strings": st.dictionaries(ENCODABLE, ENCODABLE, max_size=3),
        "two integers": st.tuples(st.integers(1, 9), st.integers(9, 2**16 - 1)),
    }[field.says]
    return found
