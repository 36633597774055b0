"""Single steps on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell.channels.files.disk import (
    current_umask,
    facts_of,
    is_same_link,
    make_hard_link,
    make_link,
    remove,
    set_aside,
)
from rshell.channels.files.records import Entry
from rshell.channels.files.rules import Facts

LINK = Entry(1, 0, b"l", 0o777, 5, 0, b"l", {})


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_facts_are_those_of_the_name_itself(tmp_path: Path, here: int) -> None:
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "p")
    link, fifo = facts_of(here, b"l"), facts_of(here, b"p")
    assert link is not None and link.type == b"l"
    assert fifo is not None and fifo.type == b""
    assert facts_of(here, b"nothing") is None


def test_links_are_made_and_replaced(tmp_path: Path, here: int) -> None:
    make_link(here, LINK, b"a", None, backup=False)
    old = facts_of(here, b"l")
    assert is_same_link(here, b"l", b"a", old) and not is_same_link(here, b"l", b"b", old)
    assert not is_same_link(here, b"l", b"a", Facts(b"f", 0, 0, 0))
    make_link(here, LINK, b"b", old, backup=True)
    assert [(path.name, str(path.readlink())) for path in sorted(tmp_path.iterdir())
            if path.is_symlink()] == [("l", "b"), ("l~", "a")]  # fmt: skip
    assert (tmp_path / "l").lstat().st_mtime_ns == 5


def test_a_second_name_takes_the_place_of_what_has_it(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    for _ in range(2):
        make_hard_link(here, b"a", here, b"b")
        assert (tmp_path / "b").samefile(tmp_path / "a")
        assert not [path for path in tmp_path.iterdir() if "part" in path.name]
    set_aside(here, b"a")
    assert (tmp_path / "a~").read_text() == "a"


def test_a_tree_is_removed_and_what_its_links_lead_to_is_not(tmp_path: Path, here: int) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "f").touch()
    (tmp_path / "t" / "a" / "b").mkdir(parents=True)
    (tmp_path / "t" / "a" / "f").touch()
    (tmp_path / "t" / "l").symlink_to("../keep")
    calls: list[int] = []
    remove(here, b"t", lambda: calls.append(1))
    assert not (tmp_path / "t").exists() and (tmp_path / "keep" / "f").exists() and calls
    (tmp_path / "l").symlink_to("keep")
    remove(here, b"l", lambda: None)
    assert (tmp_path / "keep" / "f").exists()


def test_the_umask_is_asked_for_and_stays() -> None:
    before = os.umask(0o027)
    try:
        assert current_umask() == 0o027
        assert current_umask() == 0o027
    finally:
        os.umask(before)
