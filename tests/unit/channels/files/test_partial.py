"""Which partial files there are of a name, whose they are, and which are removed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell.channels.files.partial import create_partial, find_partial, remove_left
from rshell.channels.files.rules import partial_names
from tests.support.processes import descriptors

NAMES = [name.decode() for name in partial_names(b"f")]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_the_largest_is_found_of_what_is_ours_and_of_what_others_have(
    tmp_path: Path, here: int
) -> None:
    assert find_partial(here, b"f") == (None, None)
    for name, size in zip(NAMES, (3, 9, 5, 7, 20)):
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / NAMES[6]).symlink_to(NAMES[0])
    (tmp_path / NAMES[7]).mkdir()
    locked = [lock(tmp_path / NAMES[at]) for at in (0, 2)]
    own, other = find_partial(here, b"f")  # what others have is smaller, and not needed
    assert own is not None and other is None and own.name.decode() == NAMES[4]
    again, larger = find_partial(here, b"f")  # now that one is somebody's
    assert again is not None and larger is not None
    assert (again.name.decode(), again.size, larger.size) == (NAMES[1], 9, 20)
    remove_left(here, b"f")
    left = {path.name for path in tmp_path.glob(".f*")}
    assert left == {NAMES[at] for at in (0, 1, 2, 4, 6, 7)}
    for fd in (*locked, own.fd, again.fd, larger.fd):
        os.close(fd)


def test_what_was_left_while_it_is_read_is_not_emptied(tmp_path: Path, here: int) -> None:
    """A transfer is given up, and begun again before its thread has noticed."""
    path = tmp_path / NAMES[0]
    path.write_bytes(b"what has come")
    writer = lock(path)
    own, other = find_partial(here, b"f")
    assert own is None and other is not None
    os.close(writer)
    made = create_partial(here, b"f")
    assert made.name.decode() == NAMES[0] and os.fstat(made.fd).st_size == 0
    assert os.pread(other.fd, 99, 0) == b"what has come"
    for it in (made, other):
        os.close(it.fd)


def test_there_is_always_room_for_one_more(tmp_path: Path, here: int) -> None:
    (tmp_path / NAMES[0]).write_bytes(b"left behind")
    made = [create_partial(here, b"f") for _ in range(len(NAMES) + 2)]
    assert [it.name.decode() for it in made[: len(NAMES)]] == NAMES
    assert len({it.name for it in made}) == len(list(tmp_path.glob(".f*"))) == len(made)
    assert all(os.fstat(it.fd).st_size == 0 for it in made)
    for it in made:
        os.close(it.fd)


def test_looking_that_fails_leaves_nothing_open(
    tmp_path: Path, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAMES[0]).write_bytes(b"x")
    look = os.open

    def fail(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int) -> int:
        if os.fsdecode(path) == NAMES[1]:
            raise OSError(24, "no descriptors left")
        return look(path, flags, mode, dir_fd=dir_fd)

    before = descriptors()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no descriptors"):
        patch.setattr(os, "open", fail)
        find_partial(here, b"f")
    assert descriptors() == before
