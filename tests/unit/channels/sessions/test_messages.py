"""What is asked about named shells, and what is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rshell.channels.sessions.messages import NamedShellInfo, NamedShellsRequest
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.messages import Json
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


@pytest.mark.parametrize("request_", [NamedShellsRequest("list"), NamedShellsRequest("end", "a.b")])
def test_a_request_arrives_as_it_was(request_: NamedShellsRequest) -> None:
    assert NamedShellsRequest.decode(request_.encode()) == request_


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a" * 65])
def test_names_that_no_session_can_have_are_refused_by_both_ends(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="not a named shell's name"):
        NamedShellsRequest("end", name)
    with pytest.raises(RemoteProtocolError, match="not a named shell's name"):
        NamedShellsRequest.decode({"verb": "end", "name": name})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "verb"),
        ({"verb": "stop"}, "no verb 'stop'"),
        ({"verb": "end"}, "needs the 'name'"),
        ({"verb": "end", "name": 5}, "name"),
    ],
)
def test_requests_that_make_no_sense_are_refused(values: Json, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        NamedShellsRequest.decode(values)


@pytest.mark.parametrize("info", [INFO, replace(INFO, attached=False, running=None)])
def test_a_session_arrives_as_it_was(info: NamedShellInfo) -> None:
    assert NamedShellInfo.decode(info.encode()) == info


def test_a_long_command_is_shortened() -> None:
    shown = NamedShellInfo.decode(replace(INFO, running="x" * 5000).encode()).running
    assert shown == "x" * 1021 + "..."


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a/b"},
        {"identity": None},
        {"created": "now"},
        {"attached": 1},
        {"watchers": -1},
        {"shell": None},
        {"columns": 0},
        {"rows": True},
        {"running": "x" * 1025},
    ],
)
def test_a_session_that_makes_no_sense_is_refused(wrong: Json) -> None:
    with pytest.raises(RemoteProtocolError):
        NamedShellInfo.decode(INFO.encode() | wrong)
