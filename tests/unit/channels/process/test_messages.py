"""The messages of the kind `process`: there and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.process.messages import (
    ProcessEnding,
    ProcessRequest,
    decode_size,
    decode_status,
    decode_time,
    encode_size,
    encode_status,
)
from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Body, encode_json
from rshell.values import ExitStatus, TerminalSize

TEXT = st.text(st.characters(min_codepoint=1), max_size=20)
SIZES = st.builds(TerminalSize, columns=st.integers(1, 65535), rows=st.integers(1, 65535))
SIGNALS = st.text("ABC", min_size=1, max_size=32)
STATUSES = st.one_of(
    st.builds(ExitStatus, code=st.integers(0, 255)),
    st.builds(
        ExitStatus,
        signal=SIGNALS,
        signal_number=st.integers(1, 127),
    ),
)
COUNTS = st.integers(0, 2**62)


def over_the_wire(values: dict[str, Any]) -> dict[str, Any]:
    read = json.loads(encode_json(values))
    assert isinstance(read, dict)
    return read


@given(
    command=st.none() | TEXT,
    argv=st.lists(TEXT, max_size=4),
    cwd=st.none() | TEXT,
    env=st.dictionaries(TEXT, TEXT, max_size=3),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    terminal=st.none() | SIZES,
    timeout=st.none() | st.floats(0.001, 1e8),
)
def test_a_request_arrives_as_it_was(
    command: str | None,
    argv: list[str],
    cwd: str | None,
    env: dict[str, str],
    flags: tuple[bool, bool, bool],
    terminal: TerminalSize | None,
    timeout: float | None,
) -> None:
    request = ProcessRequest(
        command=command,
        argv=() if command is not None else tuple(argv),
        cwd=cwd,
        env=env,
        clear_env=flags[0],
        stdin=flags[1],
        merge=flags[2],
        terminal=terminal,
        term="vt100" if terminal else "",
        timeout=timeout,
    )
    assert ProcessRequest.decode(over_the_wire(request.encode())) == request


def test_undecodable_bytes_survive() -> None:
    request = ProcessRequest(argv=("\udcff\udc80", "漢"), cwd="/\udcfe")
    assert ProcessRequest.decode(over_the_wire(request.encode())) == request


def test_a_request_says_only_what_is_special() -> None:
    assert ProcessRequest().encode() == {}
    assert ProcessRequest(command="").encode() == {"command": ""}


@pytest.mark.parametrize(
    "values",
    [
        {"command": "x", "argv": ["x"]},
        {"command": 1},
        {"argv": "x"},
        {"argv": [None]},
        {"cwd": []},
        {"env": []},
        {"env": {"a": None}},
        {"stdin": 1},
        {"merge": "no"},
        {"clear_env": None},
        {"terminal": []},
        {"terminal": {}},
        {"terminal": {"columns": 80, "rows": 65536}},
        {"terminal": {"columns": True, "rows": 24}},
        {"terminal": {"columns": 80, "rows": 24, "term": "x" * 101}},
        {"timeout": 0},
        {"timeout": -5},
        {"timeout": "1"},
        {"timeout": True},
        {"timeout": 1e300},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        ProcessRequest.decode(values)


def test_unknown_keys_are_of_a_later_version() -> None:
    assert ProcessRequest.decode({"command": "x", "later": 1}) == ProcessRequest(command="x")


@given(STATUSES, COUNTS, COUNTS, st.floats(0, 1e9), st.booleans(), st.booleans())
def test_an_ending_arrives_as_it_was(
    status: ExitStatus, stdout: int, stderr: int, duration: float, timed_out: bool, held: bool
) -> None:
    ending = ProcessEnding(status, stdout, stderr, duration, timed_out, held)
    assert ProcessEnding.decode(over_the_wire(ending.encode())) == ending


GOOD: dict[str, Any] = {"type": "exit", "exit_status": 0, "stdout": 0, "stderr": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"exit_status": None},
        {"exit_status": 256},
        {"exit_status": -1},
        {"exit_status": "0"},
        {"exit_status": 0.0},
        {"signal": "SIGTERM"},
        {"signal": 15, "signal_number": 15},
        {"signal": "SIGTERM", "signal_number": 0},
        {"signal": "SIGTERM", "signal_number": 128},
        {"signal": "S" * 33, "signal_number": 1},
        {"stdout": -1},
        {"stdout": None},
        {"stderr": 2**64},
        {"timed_out": 1},
        {"held_open": "yes"},
        {"duration": "long"},
        {"duration": []},
        {"duration": -1},
    ],
)
def test_an_ending_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    ProcessEnding.decode(GOOD)
    with pytest.raises(RemoteProtocolError):
        ProcessEnding.decode(GOOD | change)


@given(STATUSES)
def test_a_status_arrives_as_it_was(status: ExitStatus) -> None:
    assert decode_status(Body("x", over_the_wire(encode_status(status)))) == status


@given(SIZES)
def test_a_size_arrives_as_it_was(size: TerminalSize) -> None:
    assert decode_size(Body("x", encode_size(size))) == size


def test_a_point_in_time_is_seconds_or_nothing() -> None:
    assert decode_time(Body("x", {"at": 5}), "at") == 5.0
    assert decode_time(Body("x", {}), "at") is None
    for wrong in (True, "5", -1, float("inf"), float("nan")):
        with pytest.raises(RemoteProtocolError):
            decode_time(Body("x", {"at": wrong}), "at")
