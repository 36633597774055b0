"""Directories at the receiver: when one is finished, and what is kept in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from rshell.channels.files.lines import Line, Peer
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.places import Places
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.records import Entry
from rshell.errors import FileMissing, NotADirectory, RemoteProtocolError

DIRECTORY = Entry(1, 0, b"d", 0o511, 7, 0, b"d", {})


def places(target: str, **options: bool) -> Places:
    peer = Peer(Line(), Line())
    return Places(peer, target, "", TransferOptions(**options), TransferTotals(), 0o022)


def test_a_directory_gets_its_mode_and_time_when_all_in_it_is_done(tmp_path: Path) -> None:
    own = places(f"{tmp_path}/t/")
    own.open_top(DIRECTORY)
    assert own.enter(DIRECTORY, own.top)
    below = own.find(1)
    assert own.enter(DIRECTORY._replace(number=2, parent=1), below)
    deepest = own.find(2)
    deepest.pending += 1  # a file that is on its way
    own.leave(2, whole=True)
    own.leave(1, whole=True)
    assert own.are_left
    path = tmp_path / "t" / "d"
    assert path.stat().st_mode & 0o777 == 0o711 and path.stat().st_mtime_ns != 7
    own.let_go(deepest)
    for done in (path, path / "d"):
        assert (done.stat().st_mode & 0o777, done.stat().st_mtime_ns) == (0o511, 7)
    for index in (1, 2, 9):
        with pytest.raises(RemoteProtocolError):
            own.leave(index, whole=True)
    own.close()


def test_what_can_be_no_target(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    alone = Entry(1, 0, b"f", 0o600, 0, 0, b"x", {"alone": True})
    for target, entry, error in (
        ("f", DIRECTORY, NotADirectory),
        ("f/", alone, NotADirectory),
        ("no/where", alone, FileMissing),
        ("no/where", DIRECTORY, FileMissing),
    ):
        own = places(f"{tmp_path}/{target}")
        with pytest.raises(error):
            own.open_top(entry)
        own.close()
    own = places(f"{tmp_path}/f")
    assert own.open_top(alone).name == b"f"
    own.close()
    own = places(f"{tmp_path}/new", dry_run=True)
    assert own.open_top(DIRECTORY).name == b"d" and not (tmp_path / "new").exists()
    own.close()
