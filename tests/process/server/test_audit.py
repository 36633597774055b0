"""The audit log: one JSON object a line, whatever is in it, and never a reason to stop."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import ConfigurationError
from rshell.server.audit import AuditLog


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_line_has_its_time_event_and_facts(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    log.write("login", {"identity": "me", "number": 3})
    log.write("stopped", {})
    log.close()
    first, second = lines(tmp_path / "log")
    assert (first["event"], first["identity"], first["number"]) == ("login", "me", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert second.keys() == {"time", "event"}
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_restart_appends(tmp_path: Path) -> None:
    for event in ("first", "second"):
        log = AuditLog(tmp_path / "log")
        log.write(event, {})
        log.close()
        log.close()
    assert [line["event"] for line in lines(tmp_path / "log")] == ["first", "second"]


@given(st.text())
def test_no_text_can_forge_a_line_or_move_a_terminal(text: str) -> None:
    read, write = os.pipe()
    log = AuditLog(None)
    log._fd = write
    log.write("command", {"argv": [text, '\n{"event": "forged"}\r\x1b[2J\u2028\x85']})
    log.close()
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    assert data.count(b"\n") == 1 and data.endswith(b"\n")
    assert all(32 <= byte < 127 for byte in data[:-1])
    assert json.loads(data)["argv"][0] == text


def test_undecodable_bytes_are_kept(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    log.write("command", {"argv": [os.fsdecode(b"\xff")]})
    log.close()
    assert os.fsencode(lines(tmp_path / "log")[0]["argv"][0]) == b"\xff"


def test_without_a_path_nothing_is_kept() -> None:
    log = AuditLog(None)
    log.write("login", {})
    log.close()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigurationError, match="can't write the audit log"):
        AuditLog(tmp_path / "log")
    assert not (tmp_path / "victim").exists()
    with pytest.raises(ConfigurationError, match="--state"):
        AuditLog(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_nobody_and_is_not_kept_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(Path("/dev/full"))
    with caplog.at_level(logging.ERROR):
        log.write("first", {})
        log.write("second", {})
    assert len(caplog.records) == 1  # once, not for every line
    with (tmp_path / "log").open("wb") as room:
        os.dup2(room.fileno(), log._fd, inheritable=False)
    log.write("third", {})
    log.write("fourth", {})
    log.close()
    third, fourth = lines(tmp_path / "log")
    assert third["lines_lost_before"] == 2 and "lines_lost_before" not in fourth
