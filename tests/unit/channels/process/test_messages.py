"""What the messages of the kind `process` leave out, and what no field alone can refuse.

That every message arrives as it was, and that no field takes another type, is tests/unit/protocol/
test_codec.py's.
"""

from __future__ import annotations

from typing import Any

import pytest

from rshell.channels.process.messages import ProcessEnding, ProcessReply, ProcessRequest, Terminal
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Message
from rshell.values import ExitStatus, TerminalSize
from tests.support.messages import over_the_wire


def test_undecodable_bytes_survive() -> None:
    request = ProcessRequest(argv=("\udcff\udc80", "漢"), cwd="/\udcfe")
    assert ProcessRequest.decode(over_the_wire(request.encode())) == request


def test_a_request_says_only_what_is_special() -> None:
    assert ProcessRequest().encode() == {}
    assert ProcessRequest(command="").encode() == {"command": ""}
    size = TerminalSize(80, 24)
    full = ProcessRequest("x", (), "/", {"A": "b"}, True, True, True, Terminal(size, "vt100"), 1.5)
    assert full.encode() == {
        "command": "x",
        "cwd": "/",
        "env": {"A": "b"},
        "clear_env": True,
        "stdin": True,
        "merge": True,
        "terminal": {"columns": 80, "rows": 24, "term": "vt100"},
        "timeout": 1.5,
    }
    assert Terminal(size).encode() == {"columns": 80, "rows": 24, "term": ""}
    assert ProcessReply().encode() == {}
    assert ProcessReply.decode({}).pid == 0


def test_an_ending_has_the_keys_of_the_page() -> None:
    ending = ProcessEnding(ExitStatus(7), 1, 2, 0.5)
    counts = {"stdout": 1, "stderr": 2, "duration": 0.5}
    assert ending.encode() == {"type": "exit", "exit_status": 7} | counts
    killed = ProcessEnding(ExitStatus(None, "SIGKILL", 9), 1, 2, 0.5, True, True).encode()
    assert killed == {"type": "exit", "signal": "SIGKILL", "signal_number": 9} | counts | {
        "timed_out": True,
        "held_open": True,
    }


GOOD: dict[str, Any] = {"exit_status": 0, "stdout": 0, "stderr": 0, "duration": 0.0}
_REFUSED: list[tuple[type[Message], dict[str, Any], list[dict[str, Any]]]] = [
    (
        ProcessRequest,
        {},
        [
            {"command": "x", "argv": ["x"]},
            {"env": {"a": None}},
            {"clear_env": None},
            {"command": None},
            {"timeout": None},
            {"terminal": {}},
            {"terminal": {"columns": 80, "rows": 65536}},
            {"terminal": {"columns": True, "rows": 24}},
            {"terminal": {"columns": 80, "rows": 24, "term": "x" * 101}},
        ],
    ),
    (
        ProcessEnding,
        GOOD,
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
            {"stderr": 2**64},
            {"duration": -1},
        ],
    ),
]


def test_what_makes_no_sense_is_refused() -> None:
    for cls, good, changes in _REFUSED:
        cls.decode(good)
        for change in changes:
            with pytest.raises(RemoteProtocolError):
                cls.decode(good | change)
                pytest.fail(f"took {change}")
    with pytest.raises(LocalProtocolError, match="both"):
        ProcessRequest(command="x", argv=("x",))
