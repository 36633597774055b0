"""What the messages of the kind `shell` leave out, and what no field alone can refuse.

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
    Question,
    RunCommand,
    ShellEnding,
    ShellRequest,
)
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Message, encode_json, read_message
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
