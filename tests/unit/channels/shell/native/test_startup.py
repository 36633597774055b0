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
            {"ENV": f"{tmp_path}/hooks.bash", "RSHELL_ENV": "mine.sh"},
        ),
        ("zsh", flags, {"ZDOTDIR": str(tmp_path), "RSHELL_ZDOTDIR": "/zdot"}),
        ("fish", (*flags, "--init-command", f"source {tmp_path}/hooks.fish"), {}),
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
    monkeypatch.setattr("tempfile.tempdir", str(place))
    kind = native_kind("zsh")
    assert kind is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    meeting = Meeting(kind)
    try:
        assert stat.S_IMODE(meeting.directory.stat().st_mode) == 0o700
        for name in ("in", "out"):
            assert stat.S_ISFIFO((meeting.directory / name).stat().st_mode)
        assert all((meeting.directory / name).exists() for name in (".zshenv", ".zshrc"))
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
