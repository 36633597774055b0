"""What rshell-get and rshell-put are asked for, and what there is of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rshell.channels.shell.errands.wish import Unwished, Wish, count_trees, named_place
from rshell.channels.shell.messages import ERRAND_PATHS, Errand
from tests.support.rows import row


def test_command_lines_are_read_as_those_of_other_commands() -> None:
    for arguments, paths, recursive in (
        (["a", "-r", "b"], ("a", "b"), True),
        (["--recursive", "--", "-r"], ("-r",), True),
        (["a\udcff"], ("a\udcff",), False),
        ([], (), False),
    ):
        with row(arguments):
            wish = Wish.parse(["rshell-put", "/x", *arguments])
            assert (wish.paths, wish.recursive) == (paths, recursive)
            assert wish.look() == Errand(1, "put", "/x", paths, recursive=recursive)
    for words, status in (
        (["rshell-get", "/x", "--help"], 0),
        (["rshell-get", "/x"], 255),
        (["rshell-get", "/x", ""], 255),
        (["rshell-get", "/x", "-z"], 255),
        (["rshell-get", "x", "a"], 255),
        (["cat", "/x", "a"], 255),
        (["rshell-get", "/x", *["a"] * (ERRAND_PATHS + 1)], 255),
        (["rshell-put", "/x", "a\0b"], 255),
    ):
        with row(words[:4]), pytest.raises(Unwished) as caught:
            Wish.parse(words).look()
        assert caught.value.status == status


def test_files_are_named_by_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "x").write_bytes(b"123")
    (tmp_path / "tree" / "loop").symlink_to("..")
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "to a").symlink_to("a")
    (tmp_path / "to tree").symlink_to("tree")
    where, tree = str(tmp_path), f"{tmp_path}/tree"
    for arguments, files, directories, count, size in (
        (["a", "to a"], (f"{where}/a", f"{where}/to a"), (), 2, 10),
        (["-r", "to tree/", "a"], (f"{where}/a",), (tree,), 2, 8),
        (["-r", "tree/sub/.."], (), (tree,), 1, 3),
        (["-r", "."], (), (where,), 2, 8),
        (["to tree/sub/x"], (f"{tree}/sub/x",), (), 1, 3),
    ):
        with row(arguments):
            found = Wish.parse(["rshell-get", where, *arguments]).look()
            assert (found.files, found.directories) == (files, directories)
            assert (found.count, found.bytes, found.more) == (count, size, False)
    assert named_place("/") == "/"


def test_a_tree_that_takes_long_is_not_counted_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert count_trees([str(tmp_path)], seconds=-1.0) == (0, 0, True)
    assert count_trees([str(tmp_path), f"{tmp_path}/none"]) == (1, 0, False)
