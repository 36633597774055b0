"""What the messages of `shell` and `sessions` leave out, and what no field alone can refuse.

That every message arrives as it was, and that no field takes another type, is tests/unit/protocol/
test_codec.py's.
"""

from __future__ import annotations

from typing import Any

import pytest

from rshell.channels.process.messages import Terminal
from rshell.channels.shell.messages import (
    Check,
    Checked,
    Complete,
    Completions,
    Joined,
    NamedShellInfo,
    NamedShellsEnd,
    NamedShellsRequest,
    Question,
    RunCommand,
    ShellEnding,
    ShellRequest,
)
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Json, Message, encode_json, read_message
from rshell.values import ExitStatus, TerminalSize
from tests.support.messages import over_the_wire

SIZE = TerminalSize(80, 24)
TERMINAL = Terminal(SIZE, "vt100")
DONE = ShellEnding(1, ExitStatus(0), "/", 0, 0, 0.5)
JOINED = Joined(True, 1, SIZE, 0, 0)


def test_messages_have_the_keys_of_the_page() -> None:
    shown = {"columns": 80, "rows": 24}
    for message, values in (
        (ShellRequest(), {}),
        (
            ShellRequest(terminal=TERMINAL, name="a.b", share=True),
            {"terminal": shown | {"term": "vt100"}, "name": "a.b", "share": True},
        ),
        (RunCommand(1, "x"), {"type": "run", "number": 1, "command": "x"}),
        (
            DONE,
            {"type": "done", "number": 1, "exit_status": 0, "cwd": "/"}
            | {"stdout": 0, "stderr": 0, "duration": 0.5},
        ),
        (JOINED, {"attached": True, "number": 1, "kept": 0, "dropped": 0} | shown),
        (Check(1, "x"), {"type": "check", "number": 1, "text": "x"}),
        (Complete(1, "x"), {"type": "complete", "number": 1, "text": "x"}),
        (Checked(1, False), {"type": "checked", "number": 1, "incomplete": False}),
        (
            Completions(1, 3, (), ()),
            {"type": "completions", "number": 1, "start": 3, "texts": [], "labels": []},
        ),
    ):
        assert message.encode() == values
        assert type(message).decode(over_the_wire(values)) == message


def test_a_question_is_read_as_one_of_two() -> None:
    for question in (Check(1, "x"), Complete(2, "y")):
        assert isinstance(read_message(question.encode(), Complete, Check), Question)
        assert read_message(question.encode(), Complete, Check) == question


_REFUSED: list[tuple[Message, list[dict[str, Any]]]] = [
    (RunCommand(1, "x"), [{"command": "a\0b"}, {"number": 2**63 + 1}, {"timeout": 0}]),
    (
        DONE,
        [
            {"number": -1},
            {"exit_status": 256},
            {"exit_status": None},
            {"signal": "SIGTERM"},
            {"duration": -1},
            {"left": None},
        ],
    ),
    (Check(1, "x"), [{"text": "a\0b"}, {"text": "x" * (2**18 + 1)}, {"number": 0}]),
    (Completions(1, 0, ("a",), ("a",)), [{"labels": []}, {"start": 2**20 + 1}]),
    (JOINED, [{"modes": "\ud800"}, {"modes": "x" * 1025}, {"rows": 0}, {"kept": -1}]),
    (JOINED, [{"running": None}, {"running": "x" * 1025}, {"last": None}, {"last": {}}]),
]


def test_what_makes_no_sense_is_refused() -> None:
    for message, changes in _REFUSED:
        for change in changes:
            with pytest.raises(RemoteProtocolError):
                message.decode(message.encode() | change)
                pytest.fail(f"{message} took {change}")


def test_a_named_session_that_can_not_be_is_refused_by_both_ends() -> None:
    good = ShellRequest(terminal=TERMINAL, name="a")
    wrongs: list[dict[str, Any]] = [
        {"terminal": None},
        {"name": "a/b"},
        {"name": ""},
        {"name": None, "share": True},
    ]
    for wrong in wrongs:
        with pytest.raises(LocalProtocolError):
            good.replace(**wrong)
        with pytest.raises(RemoteProtocolError):
            ShellRequest.decode(good.encode() | wrong)


def test_what_was_not_read_is_cut_so_that_any_frame_takes_it() -> None:
    text = "\x1b[A\udcff" * 30_000
    first, late = DONE.replace(unread=text, taken=1_000_000).split()
    assert all(len(encode_json(message.encode())) < 2**17 for message in (first, *late))
    assert first.unread + "".join(message.text for message in late) == text
    count = sum(len(message.text.encode(errors="surrogateescape")) for message in late)
    assert first.taken == 1_000_000 - count
    assert DONE.split() == (DONE, [])


def test_the_audit_log_is_not_told_what_was_typed() -> None:
    assert DONE.replace(unread="secret").facts() == DONE.encode()


def test_of_a_long_command_the_beginning_is_told() -> None:
    joined = JOINED.replace(running="x" * 2**18)
    assert Joined.decode(joined.encode()).running == "x" * 1021 + "..."


# What is asked about named shells, and what is answered.


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
