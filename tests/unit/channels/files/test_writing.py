"""One file at the receiver: what is there of it, and what is left when it stops."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.records import PIECE
from rshell.channels.files.rules import hash_block, partial_name
from rshell.channels.files.small import SmallFiles
from rshell.channels.files.writing import Writing, WrongContent

PLAIN = TransferOptions()
PARTIAL = partial_name(b"f").decode()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "t").mkdir()
    fd = os.open(tmp_path / "t", os.O_RDONLY)
    yield fd
    os.close(fd)


def writing(size: int, options: TransferOptions = PLAIN) -> Writing:
    return Writing(b"f", size, options, lambda: None)


def test_blocks_come_from_the_partial_file_and_behind_it_from_the_old_one(
    tmp_path: Path, here: int
) -> None:
    new, old = bytes(PIECE) + b"x" * PIECE, b"o" * PIECE * 2
    (tmp_path / "t" / PARTIAL).write_bytes(new[: PIECE + 7])
    (tmp_path / "t" / "f").write_bytes(old)
    own = writing(3 * PIECE)
    blocks = own.find_blocks(here, has_old=True)
    assert blocks is not None
    assert blocks.hashes == hash_block(bytes(PIECE)) + hash_block(b"o" * PIECE)
    whole = bytes(PIECE) + b"o" * PIECE + b"n" * PIECE
    own.skip_same(here, 2 * PIECE)
    own.write(here, b"n" * PIECE)
    own.check_whole(3 * PIECE, hashlib.sha256(whole).digest())
    own.finish(here, 0o600, 5, has_old=True)
    assert (tmp_path / "t" / "f").read_bytes() == whole
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["f"]


def test_a_hole_over_what_was_there_is_all_zeros(tmp_path: Path, here: int) -> None:
    (tmp_path / "t" / PARTIAL).write_bytes(b"x" * 2 * PIECE)
    own = writing(4 * PIECE)
    assert own.find_blocks(here, has_old=False) is not None
    own.skip_same(here, PIECE)
    own.skip_hole(here, 3 * PIECE)
    own.finish(here, 0o600, 5, has_old=False)
    assert (tmp_path / "t" / "f").read_bytes() == b"x" * PIECE + bytes(3 * PIECE)


def test_what_is_worth_nothing_is_removed_and_the_rest_is_kept(tmp_path: Path, here: int) -> None:
    for error, at, kept in (
        (None, 5, True), (None, 0, False), (WrongContent(), 5, False), (OSError(28, ""), 5, False),
        (OSError(5, ""), 5, True),
    ):  # fmt: skip
        own = writing(9)
        own.write(here, b"x" * at)
        own.abandon(here, error)
        assert (tmp_path / "t" / PARTIAL).exists() is kept


def test_a_partial_file_that_was_overtaken_while_it_was_locked_is_removed(
    tmp_path: Path, here: int
) -> None:
    """It stayed beside the whole file, for the next one could not take it up."""
    for size, kept in ((9, False), (8, True)):
        first, second = writing(9), writing(size)
        first.write(here, b"x" * 5)
        second.write(here, b"y" * size)
        second.finish(here, 0o600, 5, has_old=False)
        first.abandon(here)
        assert (tmp_path / "t" / "f").read_bytes() == b"y" * size
        assert (tmp_path / "t" / PARTIAL).exists() is kept
        (tmp_path / "t" / "f").unlink()


def test_a_partial_file_that_is_not_ours_alone_is_left(tmp_path: Path, here: int) -> None:
    for make in ("link", "hard link", "directory", "fifo"):
        path = tmp_path / "t" / PARTIAL
        if make == "link":
            path.symlink_to(tmp_path / "elsewhere")
        elif make == "hard link":
            (tmp_path / "other").write_text("x" * 9)
            os.link(tmp_path / "other", path)
        elif make == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
        own = writing(5)
        assert own.find_blocks(here, has_old=False) is None
        own.write(here, b"hello")
        own.finish(here, 0o640, 5, has_old=False)
        assert (tmp_path / "t" / "f").read_bytes() == b"hello"
        assert (tmp_path / "t" / "f").stat().st_mode & 0o777 == 0o640
        assert not SmallFiles(PLAIN).write(here, b"f", b"x", 0o600, 5)
        path.rmdir() if make == "directory" else path.unlink()
    assert (tmp_path / "other").read_text() == "x" * 9 and not (tmp_path / "elsewhere").exists()


def test_in_place_keeps_the_file_and_its_other_names(tmp_path: Path, here: int) -> None:
    path = tmp_path / "t" / "f"
    path.write_bytes(b"a" * PIECE + b"b" * PIECE)
    os.link(path, tmp_path / "other")
    own = writing(PIECE + 3, TransferOptions(inplace=True))
    blocks = own.find_blocks(here, has_old=True)
    assert blocks is not None and blocks.holds(0, hash_block(b"a" * PIECE))
    own.skip_same(here, PIECE)
    own.write(here, b"new")
    own.finish(here, 0o600, 5, has_old=True)
    assert path.read_bytes() == b"a" * PIECE + b"new" and path.samefile(tmp_path / "other")


def test_who_was_faster_keeps_the_name(tmp_path: Path, here: int) -> None:
    own = writing(5, TransferOptions(no_clobber=True, fsync=True))
    own.write(here, b"hello")
    (tmp_path / "t" / "f").write_text("theirs")
    with pytest.raises(FileExistsError):
        own.finish(here, 0o600, 5, has_old=False)
    own.abandon(here)
    assert (tmp_path / "t" / "f").read_text() == "theirs"
