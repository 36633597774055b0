"""What `--jobs` and `--shells` show, for people and for programs."""

from __future__ import annotations

import json
import time

import pytest

from rshell import ExitStatus, JobInfo, NamedShellInfo, TerminalSize
from rshell.cli.lasting import describe_job, describe_named, job_table, named_table

JOBS = [
    JobInfo("a", "sleep 100", 0.0, "running", duration=61.25, stdout=0, stderr=0),
    JobInfo("long-name", "exit 7", 0.0, "exited", ExitStatus(code=7), 1.0, 0.5, 3, 4),
    JobInfo(
        *("k", "x\n\x1b[31m", 0.0, "signaled", ExitStatus(signal="SIGTERM", signal_number=15)),
        ended_by="kill",
    ),
    JobInfo("l", "y" * 200, 0.0, "lost", ended=5.0),
]


def test_the_jobs_table_lines_up_and_shows_no_control_character() -> None:
    lines = job_table(JOBS).split("\n")
    assert len(lines) == 5 and all(line.isprintable() for line in lines)
    assert lines[0].index("COMMAND") == lines[1].index("sleep") == lines[2].index("exit 7")
    words = [line.split() for line in lines]
    assert words[0] == ["NAME", "STATE", "STARTED", "DURATION", "COMMAND"]
    assert words[1][:2] == ["a", "running"] and words[1][4] == "61.2s"
    assert words[2][:3] == ["long-name", "exited", "7"]
    assert words[3][:3] == ["k", "SIGTERM", "(kill)"]
    assert words[4][:2] == ["l", "lost"] and words[4][4] == "-" and lines[4].endswith("yyy...")


def test_no_jobs_is_a_table_too() -> None:
    assert job_table([]).split() == ["NAME", "STATE", "STARTED", "DURATION", "COMMAND"]


def test_the_jobs_object_has_every_key_for_every_state() -> None:
    shown = [describe_job(info) for info in JOBS]
    assert json.loads(json.dumps(shown)) == shown
    assert len({tuple(each) for each in shown}) == 1
    assert [each["state"] for each in shown] == ["running", "exited", "signaled", "lost"]
    assert [each["exit_status"] for each in shown] == [None, 7, None, None]
    assert [each["signal"] for each in shown] == [None, None, "SIGTERM", None]
    assert (shown[3]["duration"], shown[3]["stdout_bytes"]) == (None, None)


SIZE = TerminalSize(columns=120, rows=40)
NAMED = [
    NamedShellInfo("work", "laptop", 1000.0, True, 0, "/bin/bash", "/src", SIZE, "make\ntest"),
    NamedShellInfo("a-long.name", "\x1b[2J", 4000.0, False, 2, "/bin/sh", "/", SIZE),
    NamedShellInfo("young", "laptop", 5060.0, False, 0, "/bin/sh", "/", SIZE, "x" * 100),
]


def test_the_shells_table_lines_up_and_shows_no_control_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    lines = named_table(NAMED).split("\n")
    assert len(lines) == 4 and all(line.isprintable() for line in lines)
    assert [line[line.index("  ") :].strip() != "" for line in lines] == [True] * 4
    assert lines[0].split() == ["NAME", "IDENTITY", "AGE", "STATE", "SIZE", "RUNNING"]
    start = lines[0].index("AGE")
    assert lines[1][start:].startswith("1 h 06 min") and "120x40" in lines[1]
    assert lines[1].endswith("make\\x0atest")
    assert "16 min 40 s" in lines[2] and "detached, 2 watching" in lines[2]
    assert lines[2].endswith(" -")
    assert " 0.0 ms " in lines[3] and lines[3].endswith("xxx...")  # made on a faster clock


def test_no_shells_is_a_table_too() -> None:
    assert named_table([]).split() == ["NAME", "IDENTITY", "AGE", "STATE", "SIZE", "RUNNING"]


def test_the_shells_object_has_every_key_always() -> None:
    shown = [describe_named(info) for info in NAMED]
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
