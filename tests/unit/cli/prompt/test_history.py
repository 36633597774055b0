"""The history of a prompt: shared, private, and without what is not to be kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rshell.cli.prompt.history import SharedHistory, open_history


async def entries(history: SharedHistory) -> list[str]:
    return [item async for item in history.load()]


async def test_what_another_client_adds_is_seen_at_the_next_prompt(tmp_path: Path) -> None:
    one, other = SharedHistory(tmp_path / "h"), SharedHistory(tmp_path / "h")
    one.append_string("first")
    assert await entries(other) == ["first"]
    one.append_string("second")
    assert await entries(other) == ["second", "first"]


def test_the_file_is_private(tmp_path: Path) -> None:
    SharedHistory(tmp_path / "h")
    assert stat.S_IMODE((tmp_path / "h").stat().st_mode) == 0o600


async def test_leading_blanks_and_repeats_are_not_kept(tmp_path: Path) -> None:
    history = SharedHistory(tmp_path / "h")
    for text in (" secret", "\tsecret", "", "ls", "ls", "pwd", "ls"):
        history.append_string(text)
    assert await entries(SharedHistory(tmp_path / "h")) == ["ls", "pwd", "ls"]


async def test_a_history_that_can_not_be_kept_is_no_condition_of_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))  # nothing can be made there
    for history in (open_history("h"), SharedHistory(tmp_path / "directory")):
        assert await entries(history) == [] and history.trouble
        history.append_string("ls")
        assert await entries(history) == ["ls"]
    assert SharedHistory(tmp_path / "h").trouble == ""


async def test_a_server_name_cant_leave_the_directory(tmp_path: Path) -> None:
    history = open_history("../a/b")
    history.append_string("kept")
    files = [path for path in tmp_path.rglob(".._a_b") if path.is_file()]
    assert [path.parent.name for path in files] == ["history"]
