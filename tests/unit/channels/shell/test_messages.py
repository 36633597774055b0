"""The messages of the kind `shell`: there and back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.messages import (
    Checked,
    Completions,
    Joined,
    Question,
    RunCommand,
    ShellEnding,
    ShellRequest,
)
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import encode_json
from rshell.values import ExitStatus, TerminalSize

TEXT = st.text(st.characters(min_codepoint=1), max_size=20)
NUMBERS = st.integers(1, 2**62)
STATUSES = st.one_of(
    st.builds(ExitStatus, code=st.integers(0, 255)),
    st.builds(ExitStatus, signal=st.just("SIGKILL"), signal_number=st.integers(1, 127)),
)


def over_the_wire(values: dict[str, Any]) -> dict[str, Any]:
    read = json.loads(encode_json(values))
    assert isinstance(read, dict)
    return read


@given(
    st.builds(
        ShellRequest,
        cwd=st.none() | TEXT,
        env=st.dictionaries(TEXT, TEXT, max_size=3),
        clear_env=st.booleans(),
        stdin=st.booleans(),
    )
)
def test_a_request_arrives_as_it_was(request: ShellRequest) -> None:
    assert ShellRequest.decode(over_the_wire(request.encode())) == request


def test_a_request_for_a_terminal_arrives_as_it_was() -> None:
    request = ShellRequest(terminal=TerminalSize(columns=80, rows=24), term="vt100")
    assert ShellRequest.decode(over_the_wire(request.encode())) == request
    assert ShellRequest().encode() == {}


@given(st.builds(RunCommand, NUMBERS, TEXT, st.none() | st.floats(0.001, 1e8)))
def test_a_command_arrives_as_it_was(command: RunCommand) -> None:
    values = over_the_wire(command.encode())
    assert values["type"] == "run"
    assert RunCommand.decode(values) == command


@given(
    st.builds(
        ShellEnding,
        number=NUMBERS,
        status=STATUSES,
        cwd=TEXT,
        stdout=NUMBERS,
        stderr=NUMBERS,
        duration=st.floats(0, 1e9),
        timed_out=st.booleans(),
        restarted=st.booleans(),
        left=st.booleans(),
        unread=TEXT,
    )
)
def test_an_ending_arrives_as_it_was(done: ShellEnding) -> None:
    values = over_the_wire(done.encode())
    assert values["type"] == "done"
    assert ShellEnding.decode(values) == done


@given(st.sampled_from(["check", "complete"]), NUMBERS, TEXT)
def test_a_question_arrives_as_it_was(kind: str, number: int, text: str) -> None:
    question = Question(kind, number, text)
    assert Question.decode(over_the_wire(question.encode())) == question


@given(NUMBERS, st.booleans(), st.lists(TEXT, max_size=3))
def test_answers_arrive_as_they_were(number: int, incomplete: bool, texts: list[str]) -> None:
    checked = Checked(number, incomplete)
    assert Checked.decode(over_the_wire(checked.encode())) == checked
    completions = Completions(number, 3, tuple(texts), tuple(reversed(texts)))
    assert Completions.decode(over_the_wire(completions.encode())) == completions


RUN: dict[str, Any] = {"type": "run", "number": 1, "command": "x"}
DONE: dict[str, Any] = {"number": 1, "exit_status": 0, "cwd": "/", "stdout": 0, "stderr": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"command": "a\0b"},
        {"command": None},
        {"command": 5},
        {"number": 0},
        {"number": "1"},
        {"number": 2**63 + 1},
        {"timeout": 0},
        {"timeout": "long"},
    ],
)
def test_a_command_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    RunCommand.decode(RUN)
    with pytest.raises(RemoteProtocolError):
        RunCommand.decode(RUN | change)


@pytest.mark.parametrize(
    "change",
    [
        {"number": -1},
        {"exit_status": 256},
        {"exit_status": None},
        {"signal": "SIGTERM"},
        {"cwd": None},
        {"cwd": 5},
        {"stdout": -1},
        {"stderr": "0"},
        {"duration": "long"},
        {"duration": -1},
        {"timed_out": 1},
        {"restarted": "yes"},
        {"left": None},
        {"unread": 5},
    ],
)
def test_an_ending_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    ShellEnding.decode(DONE)
    with pytest.raises(RemoteProtocolError):
        ShellEnding.decode(DONE | change)


def test_answers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        Question.decode({"type": "check", "number": 1, "text": "a\0b"})
    with pytest.raises(RemoteProtocolError):
        Checked.decode({"number": 1, "incomplete": 1})
    with pytest.raises(RemoteProtocolError):
        Completions.decode({"number": 1, "start": 0, "texts": ["a"], "labels": []})


SIZE = TerminalSize(80, 24)


@pytest.mark.parametrize("share", [False, True])
def test_a_named_session_is_asked_for_with_its_terminal(share: bool) -> None:
    request = ShellRequest(terminal=Terminal(SIZE), term="vt100", name="a.b", share=share)
    assert ShellRequest.decode(over_the_wire(request.encode())) == request


@pytest.mark.parametrize(
    "wrong", [{"terminal": None}, {"name": "a/b"}, {"name": ""}, {"name": None, "share": True}]
)
def test_a_named_session_that_can_not_be_is_refused_by_both_ends(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        given: dict[str, Any] = {"terminal": SIZE, "name": "a"} | wrong
        ShellRequest(**given)
    values = ShellRequest(terminal=Terminal(SIZE), name="a").encode()
    with pytest.raises(RemoteProtocolError):
        ShellRequest.decode(values | wrong)


@pytest.mark.parametrize(
    "joined",
    [
        Joined(attached=False, number=0, size=SIZE),
        Joined(True, 5, SIZE, "vi", 10, 20, "\x1b[?1000h", ShellEnding.decode(DONE)),
    ],
)
def test_the_reply_of_a_named_session_arrives_as_it_was(joined: Joined) -> None:
    assert Joined.decode(over_the_wire(joined.encode())) == joined


def test_what_was_not_read_is_cut_so_that_any_frame_takes_it() -> None:
    text = "\x1b[A\udcff" * 30_000
    done = replace(ShellEnding.decode(DONE), unread=text, taken=1_000_000)
    first, *rest = (over_the_wire(message) for message in done.split())
    assert all(len(encode_json(message)) < 2**17 for message in (first, *rest))
    told = ShellEnding.decode(first)
    assert told.unread + "".join(message["text"] for message in rest) == text
    late = sum(len(message["text"].encode(errors="surrogateescape")) for message in rest)
    assert told.taken == 1_000_000 - late
    assert ShellEnding.decode(DONE).split() == [ShellEnding.decode(DONE).encode()]


def test_modes_are_ascii() -> None:
    with pytest.raises(RemoteProtocolError):
        Joined.decode(Joined(True, 1, SIZE).encode() | {"modes": "\ud800"})


def test_of_a_long_command_the_beginning_is_told() -> None:
    joined = Joined(True, 1, SIZE, running="x" * 2**18)
    assert Joined.decode(joined.encode()).running == "x" * 1021 + "..."


@pytest.mark.parametrize(
    "wrong",
    [{"number": None}, {"attached": 1}, {"kept": -1}, {"dropped": None}, {"rows": 0}, {"last": 5}],
)
def test_a_reply_of_a_named_session_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        Joined.decode(Joined(True, 1, SIZE).encode() | wrong)
