"""What is asked about named shells, and what is answered."""

from __future__ import annotations

import pytest

from rshell.channels.shell.named.messages import NamedShellInfo, NamedShellsEnd, NamedShellsRequest
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Json
from rshell.values import TerminalSize

INFO = NamedShellInfo(
    name="work",
    identity="me",
    created=5.5,
    attached=True,
    watchers=2,
    shell="/bin/sh",
    cwd="/\udcff",
    size=TerminalSize(80, 24),
    running="vi",
)


def test_names_that_no_named_shell_can_have_are_refused_by_both_ends() -> None:
    assert NamedShellsRequest("list").encode() == {"verb": "list"}
    assert NamedShellsRequest("end", "a.b").encode() == {"verb": "end", "name": "a.b"}
    for name in ("", "-x", "a/b", "a" * 65):
        with pytest.raises(LocalProtocolError, match="not a named shell's name"):
            NamedShellsRequest("end", name)
        with pytest.raises(RemoteProtocolError, match="needs 'name': a name"):
            NamedShellsRequest.decode({"verb": "end", "name": name})


def test_requests_that_make_no_sense_are_refused() -> None:
    wrongs: list[tuple[Json, str]] = [
        ({}, "'verb': one of list, end"),
        ({"verb": "stop"}, "'verb': one of list, end"),
        ({"verb": "end"}, "'end' needs the 'name'"),
        ({"verb": "end", "name": 5}, "name"),
    ]
    for values, message in wrongs:
        with pytest.raises(RemoteProtocolError, match=message):
            NamedShellsRequest.decode(values)


def test_a_named_shell_arrives_as_it_was_but_for_a_long_command() -> None:
    for info in (INFO, INFO.replace(attached=False, running=None)):
        assert NamedShellInfo.decode(info.encode()) == info
    assert INFO.encode() == {
        "type": "session",
        "name": "work",
        "identity": "me",
        "created": 5.5,
        "attached": True,
        "watchers": 2,
        "shell": "/bin/sh",
        "cwd": "/\udcff",
        "columns": 80,
        "rows": 24,
        "running": "vi",
    }
    assert "running" not in INFO.replace(running=None).encode()
    shown = NamedShellInfo.decode(INFO.replace(running="x" * 5000).encode()).running
    assert shown == "x" * 1021 + "..."
    assert NamedShellsEnd(3).encode() == {"type": "end", "sessions": 3}


def test_a_named_shell_that_makes_no_sense_is_refused() -> None:
    wrongs: list[Json] = [
        {"name": "a/b"},
        {"identity": None},
        {"created": "now"},
        {"attached": 1},
        {"watchers": -1},
        {"shell": None},
        {"columns": 0},
        {"rows": True},
        {"running": "x" * 1025},
        {"running": None},
    ]
    for wrong in wrongs:
        with pytest.raises(RemoteProtocolError):
            NamedShellInfo.decode(INFO.encode() | wrong)
            pytest.fail(f"took {wrong}")
