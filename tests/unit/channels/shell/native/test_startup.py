"""How the user's own shell is started: what it is told, and that nothing of it stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rshell.channels.shell.native.startup import UNKNOWN, Meeting, native_kind, start_command


def test_a_shell_is_known_by_its_name() -> None:
    for program in ("/bin/sh", "dash", "/bin/busybox", "/usr/bin/mksh"):
        assert native_kind(program) is None
    for name in ("bash", "zsh", "fish"):
        kind = native_kind(f"/usr/local/bin/{name}")
        assert kind is not None and kind.name == name
    assert native_kind("/usr/bin/python3") is UNKNOWN


@pytest.mark.parametrize("login", [True, False])
def test_each_shell_reads_its_own_files_and_ours(login: bool, tmp_path: Path) -> None:
    mine = {"HOME": "/home/me", "ENV": "mine.sh", "ZDOTDIR": "/zdot"}
    flags = ("-l",) if login else ()
    rows: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
        (
            "bash",
            ("--posix", *flags),
            {"ENV": "$RSHELL_DIR/hooks.bash", "RSHELL_ENV": "mine.sh"},
        ),
        ("zsh", flags, {"ZDOTDIR": str(tmp_path), "RSHELL_ZDOTDIR": "/zdot"}),
        ("fish", (*flags, "--init-command", "source $RSHELL_DIR/hooks.fish"), {}),
    )
    for name, arguments, told in rows:
        kind = native_kind(name)
        assert kind is not None
        argv, env = start_command(kind, f"/bin/{name}", mine, tmp_path, login=login)
        assert argv == (f"/bin/{name}", *arguments)
        assert env == {**mine, **told, "RSHELL_DIR": str(tmp_path)}
        argv, env = start_command(kind, f"/bin/{name}", mine, None, login=login)
        assert (argv, env) == ((f"/bin/{name}", *flags), mine)  # there was no room for files
    assert start_command(UNKNOWN, "/bin/x", mine, None, login=login) == (("/bin/x",), mine)


def test_the_meeting_is_private_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(place))  # where the state can hold no pipes
    kind = native_kind("zsh")
    assert kind is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    meeting = Meeting(kind)
    try:
        assert meeting.directory.parent == place
        assert stat.S_IMODE(meeting.directory.stat().st_mode) == 0o700
        for name in ("in", "out"):
            assert stat.S_ISFIFO((meeting.directory / name).stat().st_mode)
        assert (meeting.directory / ".zshenv").exists()
        assert not os.get_inheritable(meeting.told) and not os.get_inheritable(meeting.said)
    finally:
        meeting.close()
    meeting.remove()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert list(place.iterdir()) == []


def test_a_meeting_that_can_not_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkfifo(*_: object, **__: object) -> None:
        raise PermissionError

    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setattr(os, "mkfifo", mkfifo)
    kind = native_kind("bash")
    assert kind is not None
    with pytest.raises(PermissionError):
        Meeting(kind)
    assert list(place.iterdir()) == []


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
