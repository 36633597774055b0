"""What `--jobs` shows, for people and for programs."""

from __future__ import annotations

import json

from rshell import ExitStatus, JobInfo
from rshell.cli.jobs import describe, table

INFOS = [
    JobInfo("a", "sleep 100", 0.0, "running", duration=61.25, stdout=0, stderr=0),
    JobInfo("long-name", "exit 7", 0.0, "exited", ExitStatus(code=7), 1.0, 0.5, 3, 4),
    JobInfo(
        *("k", "x\n\x1b[31m", 0.0, "signaled", ExitStatus(signal="SIGTERM", signal_number=15)),
        ended_by="kill",
    ),
    JobInfo("l", "y" * 200, 0.0, "lost", ended=5.0),
]


def test_the_table_lines_up_and_shows_no_control_character() -> None:
    lines = table(INFOS).split("\n")
    assert len(lines) == 5 and all(line.isprintable() for line in lines)
    assert lines[0].index("COMMAND") == lines[1].index("sleep") == lines[2].index("exit 7")
    words = [line.split() for line in lines]
    assert words[0] == ["NAME", "STATE", "STARTED", "DURATION", "COMMAND"]
    assert words[1][:2] == ["a", "running"] and words[1][4] == "61.2s"
    assert words[2][:3] == ["long-name", "exited", "7"]
    assert words[3][:3] == ["k", "SIGTERM", "(kill)"]
    assert words[4][:2] == ["l", "lost"] and words[4][4] == "-" and lines[4].endswith("yyy...")


def test_no_jobs_is_a_table_too() -> None:
    assert table([]).split() == ["NAME", "STATE", "STARTED", "DURATION", "COMMAND"]


def test_the_object_has_every_key_for_every_state() -> None:
    shown = [describe(info) for info in INFOS]
    assert json.loads(json.dumps(shown)) == shown
    assert len({tuple(each) for each in shown}) == 1
    assert [each["state"] for each in shown] == ["running", "exited", "signaled", "lost"]
    assert [each["exit_status"] for each in shown] == [None, 7, None, None]
    assert [each["signal"] for each in shown] == [None, None, "SIGTERM", None]
    assert (shown[3]["duration"], shown[3]["stdout_bytes"]) == (None, None)
