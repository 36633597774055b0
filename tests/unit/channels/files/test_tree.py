"""Directories by descriptor: deep trees, few descriptors, and no way through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rshell.channels.files.tree import Directories, Directory, open_directory


def test_a_deep_tree_needs_few_descriptors(tmp_path: Path) -> None:
    root = Directory(None, b"")
    tree = Directories(root, open_directory(bytes(tmp_path)), 32)
    try:
        at, chain = root, [root]
        for _ in range(300):
            os.mkdir(b"d", dir_fd=tree.fd(at))
            at = Directory(at, b"d")
            chain.append(at)
        assert len(list(Path("/proc/self/fd").iterdir())) < 100
        for depth in (300, 5, 299, 0, 150):
            state = os.fstat(tree.fd(chain[depth]))
            assert state.st_ino == tmp_path.joinpath(*["d"] * depth).stat().st_ino
        tree.forget(at)
        assert at.path(b"x") == b"/".join([b"d"] * 300 + [b"x"])
    finally:
        tree.close()
    tree.close()


def test_a_directory_that_became_a_link_can_not_be_opened(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = Directory(None, b"")
    tree = Directories(root, open_directory(bytes(tmp_path)), 32)
    try:
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            tree.fd(Directory(root, b"link"))
    finally:
        tree.close()


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs O_PATH")
def test_a_directory_that_may_be_entered_only_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")

    def refuse(path: bytes, flags: int, **more: int) -> int:
        if not flags & os.O_PATH:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, **more)

    opened = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        fd = open_directory(bytes(tmp_path))
    try:
        assert os.stat("f", dir_fd=fd).st_size == 1
    finally:
        os.close(fd)
