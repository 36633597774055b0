"""Small files at the receiver, with a partial file and without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.small import SmallFiles
from tests.unit.channels.files.test_writing import here

__all__ = ["here"]

PLAIN = TransferOptions()


@pytest.mark.parametrize("is_fresh", (False, True))
def test_a_small_file_is_written_in_one_go(tmp_path: Path, here: int, is_fresh: bool) -> None:
    small = SmallFiles(PLAIN)
    assert small.write(here, b"f", b"hello", 0o604, 5, is_fresh=is_fresh)
    state = (tmp_path / "t" / "f").stat()
    assert (state.st_mode & 0o777, state.st_mtime_ns, state.st_size) == (0o604, 5, 5)
    assert state.st_nlink == 1
    assert small.write(here, b"f", b"newer", 0o600, 5, is_fresh=is_fresh)
    assert (tmp_path / "t" / "f").read_bytes() == b"newer"
    assert not SmallFiles(TransferOptions(backup=True)).write(here, b"f", b"", 0o600, 5)
    (tmp_path / "t" / "d").mkdir()
    with pytest.raises(OSError, match="directory"):
        small.write(here, b"d", b"x", 0o600, 5, is_fresh=is_fresh)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["d", "f"]


def test_a_small_file_is_written_where_there_are_no_unnamed_files(
    tmp_path: Path, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(*args: object, **options: object) -> None:
        tried.append(args)
        raise OSError(95, "Operation not supported")

    def open_named(path: bytes, flags: int, *args: int, dir_fd: int) -> int:
        if path == b".":
            refuse(path)
        return opened(path, flags, *args, dir_fd=dir_fd)

    opened = os.open
    for name, stand_in in (("open", open_named), ("link", refuse)):
        small = SmallFiles(PLAIN)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, stand_in)
            for file in (b"a", b"b"):
                assert small.write(here, file, b"hello", 0o600, 5, is_fresh=True)
        assert len(tried) == 1  # and not for each file
        tried.clear()
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["a", "b"]


def test_a_small_file_that_has_no_room_leaves_nothing(
    tmp_path: Path, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: 1)
    for is_fresh in (False, True):
        with pytest.raises(OSError, match="space"):
            SmallFiles(PLAIN).write(here, b"f", b"hello", 0o600, 5, is_fresh=is_fresh)
        assert not list((tmp_path / "t").iterdir())
