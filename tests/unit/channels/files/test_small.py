"""Small files at the receiver, with a partial file and without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.small import SmallFiles
from tests.unit.channels.files.test_writing import here

__all__ = ["here"]

PLAIN = TransferOptions()


@pytest.fixture
def small() -> Iterator[SmallFiles]:
    files = SmallFiles(PLAIN)
    yield files
    files.close()


@pytest.mark.parametrize("is_fresh", (False, True))
def test_a_small_file_is_written_in_one_go(
    tmp_path: Path, here: int, small: SmallFiles, is_fresh: bool
) -> None:
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

    def open_named(path: bytes, flags: int, *args: int, dir_fd: int | None = None) -> int:
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
        small.close()
        assert len(tried) == 1  # and not for each file
        tried.clear()
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["a", "b"]


def test_a_small_file_that_has_no_room_leaves_nothing(
    tmp_path: Path, here: int, small: SmallFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: 1)
    for is_fresh in (False, True):
        with pytest.raises(OSError, match="space"):
            small.write(here, b"f", b"hello", 0o600, 5, is_fresh=is_fresh)
        assert not list((tmp_path / "t").iterdir())


def test_a_mode_is_right_whatever_the_umask_is_meanwhile(
    tmp_path: Path, here: int, small: SmallFiles
) -> None:
    """It is the process's, and a part of it may bind a socket at the same time."""
    before = os.umask(0o022)
    try:
        for number, umask in enumerate((0o022, 0o177, 0o000, 0o022)):
            os.umask(umask)
            for mode in (0o644, 0o600, 0o1640):
                assert small.write(here, b"%d-%o" % (number, mode), b"x", mode, 5, is_fresh=True)
    finally:
        os.umask(before)
    for path in (tmp_path / "t").iterdir():
        assert path.stat().st_mode & 0o7777 == int(path.name[2:], 8), path.name


def test_the_descriptor_is_let_go_of(here: int, small: SmallFiles) -> None:
    def count() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = count()
    assert small.write(here, b"f", b"x", 0o600, 5, is_fresh=True)
    small.close()
    small.close()
    assert count() == before
