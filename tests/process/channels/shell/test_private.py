"""The private directories of shells: what killed servers have left of them is removed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rshell.channels.shell.private import SOCKET, make_directory, places, sweep


def test_a_directory_at_whose_socket_nobody_listens_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = places()[0]
    assert place == tmp_path / "rshell" / "shells"
    alive, left, bare, young = (make_directory(place, for_errands=True) for _ in range(4))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead,
    ):
        listening.bind(str(alive / SOCKET))
        listening.listen()
        dead.bind(str(left / SOCKET))
        elsewhere = place / "errands-another.machine-x"
        elsewhere.mkdir()
        for directory in (alive, left, bare, elsewhere):
            os.utime(directory, (0, 0))
        sweep(place)
        assert {path.name for path in place.iterdir()} == {
            alive.name, young.name, elsewhere.name,
        }  # fmt: skip


def test_without_a_state_directory_there_is_that_for_passing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert places() == [tmp_path]
    # Nor does every machine have one of those: tempfile says so then.
    monkeypatch.setattr("tempfile.gettempdir", no_place)
    assert places() == []


def no_place() -> str:
    raise FileNotFoundError("No usable temporary directory found")
