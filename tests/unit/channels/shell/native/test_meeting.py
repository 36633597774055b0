"""Which shells are met, and the private directory for it: where it is, and what becomes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rshell.channels.shell.native.startup import Meeting, native_kind


def test_what_a_killed_server_has_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    kind = native_kind("/bin/zsh")
    assert kind is not None
    left, used, young = Meeting(kind), Meeting(kind), Meeting(kind)
    assert left.directory.parent == tmp_path / "rshell/shells"
    assert (left.directory / ".zshenv").read_bytes()
    elsewhere = left.directory.parent / "another.machine-x"
    elsewhere.mkdir()
    for meeting in (left, young):
        os.close(meeting.told)
        os.close(meeting.said)
        meeting.told = meeting.said = -1
    for directory in (left.directory, used.directory, elsewhere):
        os.utime(directory, (0, 0))
    last = Meeting(kind)
    names = {place.name for place in elsewhere.parent.iterdir()}
    assert names == {m.directory.name for m in (used, young, last)} | {elsewhere.name}
    used.close()
    last.close()
    assert not used.directory.exists() and not last.directory.exists()


def test_where_the_state_can_hold_no_pipes_the_temporary_directory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rshell").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kind = native_kind("/bin/bash")
    assert kind is not None
    meeting = Meeting(kind)
    assert meeting.directory.parent == tmp_path
    assert meeting.directory.stat().st_mode & 0o777 == 0o700
    meeting.close()
    assert not meeting.directory.exists()


def test_a_bash_that_is_too_old_reads_lines(tmp_path: Path) -> None:
    program = tmp_path / "bash"
    for data, name in (
        (b"\x7fELF @(#)Bash version 4.3.48(1) release GNU", None),
        (b"@(#)Bash version 3.2.57(1)-release", None),
        (b"@(#)Bash version 4.4.0(1) release", "bash"),
        (b"@(#)Bash version 10.1.0(1) release", "bash"),
        (b"#!/bin/sh\nexec some-bash", "bash"),
        (b"", "bash"),
    ):
        program.write_bytes(data)
        kind = native_kind(str(program))
        assert (kind and kind.name) == name, data
    assert native_kind("/no/such/bash") is not None
