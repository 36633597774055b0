"""Both ends in one process: what the client hears, and that giving up ends both."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rshell.channels.files.joined import JOINED_TOLD, copy_here
from rshell.channels.files.lines import Line, Peer, Stopped
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.records import (
    DONE,
    ENTRY,
    LEAVE,
    PIECE,
    RESULT,
    SAME,
    Record,
    RecordDecoder,
)
from rshell.channels.files.sender import Sender
from rshell.errors import FileError
from tests.support.transfers import listing, make_tree


def copy(sources: list[Path | str], target: Path | str, **options: bool) -> list[Record]:
    told = Line(room=2**30)
    client = Peer(Line(), told)
    try:
        copy_here(client, list(map(str, sources)), str(target), TransferOptions(**options), 0o022)
    finally:
        heard: list[Record] = []
        decoder = RecordDecoder(*JOINED_TOLD)
        while (block := told.take(wait=False)) is not None:
            heard += decoder.feed(bytes(block))
    return heard


def test_a_tree_is_copied_and_no_bytes_of_it_are_told(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    heard = copy([f"{tree}/"], tmp_path / "there", recursive=True)
    assert listing(tmp_path / "there") == listing(tree)
    types = {record.type for record in heard}
    assert types >= {ENTRY, SAME, LEAVE, RESULT, DONE} and heard[-1].type == DONE
    assert sum(len(record.payload) for record in heard) < 4000
    large = {record.number for record in heard if record.type == SAME}
    entries = [record.number for record in heard if record.type == ENTRY]
    assert large < set(entries) and entries == list(range(1, len(entries) + 1))


def test_what_can_not_be_is_told_to_the_client(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    for source, target in (
        ("d", "d"),
        ("d/", "d/e"),
        ("d", "l/x"),
        ("l/", "d/x"),
        ("d", "no/where"),
    ):
        with pytest.raises(FileError):
            copy([tmp_path / source if source[-1] != "/" else f"{tmp_path}/{source}"],
                 tmp_path / target, recursive=True)  # fmt: skip
    copy([tmp_path / "l"], tmp_path / "d", recursive=True)  # which stays a link
    assert (tmp_path / "d" / "l").is_symlink()
    copy([tmp_path / "d"], tmp_path, recursive=True)  # onto itself
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["l"]


def test_giving_up_ends_both_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 50 * PIECE)
    threads = threading.active_count()

    class Leaving(Line):
        def put(self, block: object, *, wait: bool = True) -> None:
            self.stop()
            self.look()

    with pytest.raises(Stopped):
        copy_here(
            Peer(Line(), Leaving()),
            [str(tmp_path / "a")],
            str(tmp_path / "b"),
            TransferOptions(),
            0o022,
        )
    assert threading.active_count() == threads and not (tmp_path / "b").exists()


def test_a_bug_of_one_end_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Sender) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Sender, "run", fail)
    with pytest.raises(ZeroDivisionError):
        copy([tmp_path / "a"], tmp_path / "b")
