"""One file at the sender: ranges, holes, and what can't be opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rshell.channels.files.reading import data_ranges, is_unchanged, open_source


def test_ranges_cover_a_file_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        for at in (0, 1_000_000, 5_000_000):
            file.seek(at)
            file.write(b"x")
        file.truncate(9_000_000)
    fd = os.open(path, os.O_RDONLY)
    try:
        for start in (0, 500_000, 1_000_000, 8_999_999, 9_000_000):
            at, holes = start, 0
            for begin, end, is_hole in data_ranges(fd, os.fstat(fd), start):
                assert begin == at and end > begin
                at, holes = end, holes + is_hole
                if is_hole:
                    assert not any(os.pread(fd, min(end - begin, 100_000), begin))
            assert at == 9_000_000
            assert holes or start == 9_000_000
    finally:
        os.close(fd)


def test_a_change_is_seen_and_only_plain_files_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "p")
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        fd, found = open_source(b"f", here)
        assert is_unchanged(fd, found)
        os.utime(path, ns=(1, 1))
        assert not is_unchanged(fd, found)
        os.close(fd)
        for name in (b"l", b"p", b"nothing"):
            with pytest.raises(OSError):
                open_source(name, here)
    finally:
        os.close(here)
