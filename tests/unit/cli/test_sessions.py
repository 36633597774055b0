"""What `--shells` shows, for people and for programs."""

from __future__ import annotations

import json
import time

import pytest

from rshell import NamedShellInfo, TerminalSize
from rshell.cli.sessions import describe, table

SIZE = TerminalSize(columns=120, rows=40)
INFOS = [
    NamedShellInfo("work", "laptop", 1000.0, True, 0, "/bin/bash", "/src", SIZE, "make\ntest"),
    NamedShellInfo("a-long.name", "\x1b[2J", 4000.0, False, 2, "/bin/sh", "/", SIZE),
    NamedShellInfo("young", "laptop", 5060.0, False, 0, "/bin/sh", "/", SIZE, "x" * 100),
]


def test_the_table_lines_up_and_shows_no_control_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    lines = table(INFOS).split("\n")
    assert len(lines) == 4 and all(line.isprintable() for line in lines)
    assert [line[line.index("  ") :].strip() != "" for line in lines] == [True] * 4
    assert lines[0].split() == ["NAME", "IDENTITY", "AGE", "STATE", "SIZE", "RUNNING"]
    start = lines[0].index("AGE")
    assert lines[1][start:].startswith("1 h 06 min") and "120x40" in lines[1]
    assert lines[1].endswith("make\\x0atest")
    assert "16 min 40 s" in lines[2] and "detached, 2 watching" in lines[2]
    assert lines[2].endswith(" -")
    assert " 0.0 ms " in lines[3] and lines[3].endswith("xxx...")  # made on a faster clock


def test_no_sessions_is_a_table_too() -> None:
    assert table([]).split() == ["NAME", "IDENTITY", "AGE", "STATE", "SIZE", "RUNNING"]


def test_the_object_has_every_key_always() -> None:
    shown = [describe(info) for info in INFOS]
    assert json.loads(json.dumps(shown)) == shown
    assert len({tuple(each) for each in shown}) == 1
    assert shown[0] == {
        "name": "work",
        "identity": "laptop",
        "created": 1000.0,
        "attached": True,
        "watchers": 0,
        "shell": "/bin/bash",
        "cwd": "/src",
        "columns": 120,
        "rows": 40,
        "running": "make\ntest",
    }
    assert shown[1]["running"] is None
