"""The audit log: one whole line for each event, whatever becomes of the file and the disk."""

from __future__ import annotations

import errno
import fcntl
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
from rshell.server.audit import AuditLog, Refusals
from rshell.values import Bounds
from tests.support.session import until


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


def test_a_file_system_without_locks_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    log = AuditLog(tmp_path / "log", Bounds(audit_size=300))
    for number in range(10):
        log.write("login", {"number": number})
    log.close()
    assert [line["number"] for line in lines(tmp_path / "log")] == list(range(10))
    assert "is full and can't be moved away" in caplog.text


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


def test_a_part_of_a_line_never_runs_into_the_next_one(tmp_path: Path) -> None:
    """As on a disk that is full in the middle of a line."""
    path = tmp_path / "log"
    log = AuditLog(path)
    log.write("first", {})
    real = os.write

    def short(fd: int, data: bytes) -> int:
        return real(fd, data[:20])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rshell.server.audit.os.write", short)
        log.write("lost", {})
        log.write("lost", {})
        patch.setattr("rshell.server.audit.os.write", lambda fd, data: real(fd, data[:1]))
        log.write("lost", {})  # its newline alone
    log.write("second", {})
    log.close()
    with path.open("ab") as file:
        file.write(b'{"time": "20')  # what a server left that was killed
    log = AuditLog(path)
    log.write("third", {})
    log.close()
    text = path.read_text().splitlines()
    whole = [json.loads(line) for line in text if line.endswith("}")]
    assert [line["event"] for line in whole] == ["first", "second", "third"]
    assert whole[1]["lines_lost_before"] == 3
    assert "" not in text


def test_the_log_follows_its_name_when_it_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AuditLog(path)
    log.write("first", {})
    path.rename(tmp_path / "moved")
    log.reopen()
    log.write("second", {})
    path.unlink()
    log._looked = 0.0  # a second later
    log.write("third", {})
    log.close()
    assert [line["event"] for line in lines(tmp_path / "moved")] == ["first"]
    assert [line["event"] for line in lines(path)] == ["third"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_that_is_gone_is_said_once_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    log = AuditLog(tmp_path / "state" / "log")
    (tmp_path / "state" / "log").unlink()
    (tmp_path / "state").rmdir()
    with caplog.at_level(logging.ERROR):
        log.reopen()
        log.reopen()
        log.write("first", {})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the audit log goes on in a file without its name"
    ]
    (tmp_path / "state").mkdir()
    log.reopen()
    log.write("second", {})
    log.close()
    assert [line["event"] for line in lines(tmp_path / "state" / "log")] == ["second"]


def test_a_full_log_gives_way_to_a_new_one_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AuditLog(path, Bounds(audit_size=1_000, audit_kept=2))
    other = AuditLog(path, Bounds(audit_size=1_000, audit_kept=2))  # of another server
    for number in range(100):
        (log if number % 2 else other).write("event", {"number": number})
        (log if number % 3 else other)._looked = 0.0
    log.close()
    other.close()
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert [name for name in names if name.startswith("log")] == ["log", "log.1", "log.2"]
    kept = [line["number"] for name in ("log.2", "log.1", "log") for line in lines(tmp_path / name)]
    assert kept == list(range(kept[0], 100)) and 15 < len(kept) < 50
    assert all((tmp_path / name).stat().st_size < 1_200 for name in ("log", "log.1", "log.2"))
    alone = AuditLog(tmp_path / "alone", Bounds(audit_size=500, audit_kept=0))
    for number in range(100):
        alone.write("event", {"number": number})
    alone.close()
    assert lines(tmp_path / "alone")[-1]["number"] == 99
    assert not (tmp_path / "alone.1").exists()


def test_a_pipe_in_its_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    log = AuditLog(tmp_path / "log")
    for _ in range(1_000):
        log.write("event", {"text": "x" * 500})
    log.close()


def test_a_long_line_is_cut_and_says_so(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    log.write("command", {"argv": ["echo", "\0" * 200_000] + ["x"] * 1_000, "cwd": "/"})
    log.close()
    [line] = lines(tmp_path / "log")
    assert line["argv"][:1] == ["echo"] and line["cwd"] == "/"
    assert line["argv"][1].endswith("... (200000 characters)")
    assert line["argv"][-1] == "... (1002 items)"
    assert (tmp_path / "log").stat().st_size < 16_000


async def test_an_identity_writes_its_share_and_what_is_beyond_is_counted(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log", Bounds(audit_each=100))
    refusals = Refusals(log, 1_000.0)
    for _ in range(1_000):
        log.write("command", {"identity": "loud"})
    log.write("command", {"identity": "other"})
    refusals.close()
    log.close()
    found = lines(tmp_path / "log")
    loud = [line for line in found if line.get("identity") == "loud"]
    assert 10 < len(loud) < 30
    assert [line["event"] for line in found[-2:]] == ["command", "turned-away"]
    assert found[-2]["identity"] == "other"
    assert found[-1]["reasons"] == {"audit_each": 1_000 - len(loud)}


async def test_a_storm_of_refusals_is_a_line_once_in_a_while(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    refusals = Refusals(log, 0.0)
    for number in range(5_000):
        refusals.count("crowded", f"192.0.{number // 250}.1")
        refusals.note("login-failed", "192.0.2.1", {"source": "192.0.2.1", "reason": "wrong"})
    await until(lambda: "turned-away" in (tmp_path / "log").read_text())
    refusals.count("sessions", "192.0.2.9")
    refusals.close()
    log.close()
    found = lines(tmp_path / "log")
    events = [line["event"] for line in found]
    assert events.count("login-failed") < 100 and events.count("turned-away") == 2
    first, second = (line for line in found if line["event"] == "turned-away")
    assert first["reasons"] == {"crowded": 5_000, "login-failed": 5_000}
    assert next(iter(first["most"].items())) == ("192.0.2.1", 5_250) and len(first["most"]) == 5
    assert second["reasons"] == {"sessions": 1}
    assert refusals.total == {"crowded": 5_000, "login-failed": 5_000, "sessions": 1}
