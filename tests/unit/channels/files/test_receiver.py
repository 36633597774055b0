"""A sender that lies, a disk that is full, and transfers that are cut: nothing torn is left."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from pathlib import Path

import pytest

from rshell.channels.files import writing
from rshell.channels.files.lines import Peer, Stopped
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.receiver import RECEIVER_HEARS, Receiver
from rshell.channels.files.records import (
    DONE,
    END,
    END_BODY,
    ENTRY,
    FACTS,
    FRESH,
    GONE,
    HOLE,
    LAST,
    LEAVE,
    LENGTH,
    PART,
    PIECE,
    RESULT,
    SAME,
    SKIP,
    WANT,
    Entry,
    Record,
    encode_entry,
)
from rshell.errors import FileError, FileInTheWay, RemoteProtocolError
from tests.support.rows import row
from tests.support.transfers import Exchange, lie, listing, make_tree

Said = tuple[int, int, bytes]


def entry(number: int, name: bytes, *, parent: int = 0, kind: bytes = b"f", size: int = 5) -> Said:
    whole = encode_entry(Entry(number, parent, kind, 0o644, 0, size, name, {}))
    return ENTRY, number, whole[9:]


def link(number: int, name: bytes, target: str, parent: int = 0) -> Said:
    whole = encode_entry(Entry(number, parent, b"l", 0o777, 0, 0, name, {"target": target}))
    return ENTRY, number, whole[9:]


def end(number: int, data: bytes = b"hello") -> Said:
    return END, number, END_BODY.pack(len(data), hashlib.sha256(data).digest())


def receive(target: Path, records: list[Said], **options: bool) -> list[Record]:
    def work(peer: Peer) -> None:
        Receiver(peer, f"{target}/", TransferOptions(**options), TransferTotals()).run()

    return lie(RECEIVER_HEARS, records, work)


def test_an_honest_dialogue(tmp_path: Path) -> None:
    said = receive(
        tmp_path / "t",
        [entry(1, b"d", kind=b"d"), entry(2, b"f", parent=1), (LEAVE, 1, b"\1"),
         (PART, 2, b"hello"), end(2), (LAST, 2, b"")],
    )  # fmt: skip
    assert [(record.type, record.number) for record in said] == [
        (RESULT, 1), (WANT, 2), (RESULT, 2), (DONE, 2),
    ]  # fmt: skip
    assert (tmp_path / "t" / "d" / "f").read_bytes() == b"hello"


def test_a_sender_that_lies_writes_nothing_anywhere_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    ask = entry(1, b"f")
    for records, said in (
        ([entry(1, b"../outside/x")], "refused"),
        ([entry(1, b"/etc/x")], "refused"),
        ([entry(1, b"..", kind=b"d")], "refused"),
        ([entry(1, b".", kind=b"d")], "refused"),
        ([entry(1, b"")], "refused"),
        ([entry(1, b"d", kind=b"d"), entry(2, b"", parent=1, kind=b"d")], "refused"),
        ([entry(1, b"a\0b")], "refused"),
        ([entry(2, b"f")], "came as number 1"),
        ([entry(1, b"f", parent=9)], "not open"),
        ([ask, entry(2, b"x", parent=1)], "not open"),
        ([entry(1, b"d", kind=b"d"), (LEAVE, 1, b"\1"), entry(2, b"x", parent=1)], "not open"),
        ([link(1, b"l", "")], "no target"),
        ([entry(1, b"l", kind=b"l")], "no target"),
        ([ask, (LEAVE, 1, b"\1")], "could be left"),
        ([(PART, 1, b"x")], "not due"),
        ([ask, entry(2, b"g"), (PART, 1, b"h"), (PART, 2, b"x")], "not due"),
        ([ask, (PART, 1, b"hello"), end(1), end(1)], "not due"),
        ([ask, (LAST, 1, b"")], "in the middle"),
        ([ask, (PART, 1, b"hello"), end(1), (LAST, 7, b"")], "in the middle"),
        ([entry(1, b"d", kind=b"d"), (LAST, 1, b"")], "in the middle"),
        ([ask, *[(FRESH, 1, FACTS.pack(0, 0, 5))] * 9], "makes no sense"),
        ([entry(n, b"%d" % n) for n in range(1, 4200)], "more files"),
        ([entry(n, b"%d" % n, kind=b"d") for n in range(1, 6200)], "more directories"),
        ([ask, (GONE, 1, b"[1]")], "JSON object"),
        ([], "too early"),
    ):
        target = tmp_path / f"t{len(list(tmp_path.iterdir()))}"
        with row(said, records[:3]), pytest.raises(RemoteProtocolError, match=said):
            receive(target, records)
    assert not list(outside.iterdir())


def test_wrong_bytes_fail_their_file_and_leave_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "t"
    target.mkdir()
    big = bytes(PIECE)
    for records, size in (
        ([(PART, 1, b"hellO"), end(1)], 5),
        ([(PART, 1, b"hell"), end(1, b"hell")], 5),
        ([(PART, 1, b"hello!"), end(1, b"hello!")], 5),
        ([(PART, 1, b"hello"), (PART, 1, b"x"), end(1)], 5),
        ([(HOLE, 1, LENGTH.pack(2**62)), end(1)], 5),
        ([(SAME, 1, LENGTH.pack(5)), end(1)], 5),
        ([(PART, 1, big), (PART, 1, big), end(1, big + big[1:] + b"x")], 2 * PIECE),
        ([(PART, 1, big), (SAME, 1, LENGTH.pack(PIECE)), end(1, big * 2)], 2 * PIECE),
        ([end(1, b"")], 5),
    ):
        (target / "f").write_bytes(b"old")
        with row(size, [record[:2] for record in records]):
            said = receive(target, [entry(1, b"f", size=size), *records, (LAST, 1, b"")])
            (result,) = [record for record in said if record.type == RESULT]
            assert b"EBADMSG" in bytes(result.payload) and said[-1].type == DONE
            assert [path.name for path in target.iterdir()] == ["f"]
            assert (target / "f").read_bytes() == b"old"


def test_links_are_replaced_and_never_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "t"
    outside.mkdir()
    (outside / "f").write_text("theirs")
    target.mkdir()
    (target / "f").symlink_to(outside / "f")
    (target / "d").symlink_to(outside)
    (target / ".f.rshell-part").symlink_to(outside / "f")
    said = receive(
        target,
        [entry(1, b"f"), entry(2, b"d", kind=b"d"), entry(3, b"f", parent=2), (LEAVE, 2, b"\1"),
         (PART, 1, b"hello"), end(1),
         link(4, b"e", str(outside)), entry(5, b"e", kind=b"d"), entry(6, b"f", parent=5),
         (LEAVE, 5, b"\1"), (LAST, 6, b"")],
    )  # fmt: skip
    answers = {record.number: record for record in said if record.type in (SKIP, RESULT)}
    assert b"ENOTDIR" in bytes(answers[2].payload) and b"ENOTDIR" in bytes(answers[5].payload)
    assert answers[3].type == answers[6].type == SKIP
    assert (target / "f").read_text() == "hello" and not (target / "f").is_symlink()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"f": "theirs"}


def test_a_directory_that_is_swapped_for_a_link_is_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "t"
    outside.mkdir()

    class Swapping(Receiver):
        def run(self) -> None:
            take = self._takers[PART]

            def swap(record: Record) -> None:
                (target / "d").rmdir()
                (target / "d").symlink_to(outside)
                self._places._tree.forget(self._places.find(1))  # type: ignore[union-attr]
                take(record)

            self._takers[PART] = swap
            super().run()

    records = [entry(1, b"d", kind=b"d"), entry(2, b"f", parent=1), (PART, 2, b"hello"), end(2),
               (LEAVE, 1, b"\1"), (LAST, 2, b"")]  # fmt: skip
    lie(RECEIVER_HEARS, records, lambda peer: Swapping(
        peer, f"{target}/", TransferOptions(), TransferTotals()).run())  # fmt: skip
    assert not list(outside.iterdir())


def test_a_full_disk_fails_one_file_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, size in (("a", 10), ("big", 3_000_000), ("c", 10)):
        (tree / name).write_bytes(os.urandom(size))

    def full(fd: int, data: bytes, at: int) -> int:
        if at >= 1_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, at)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    done = Exchange([f"{tree}/"], tmp_path / "there", recursive=True)
    assert done.errors == []
    for totals in (done.sender, done.receiver):
        assert (totals.files, totals.failed) == (2, 1)
        assert isinstance(totals.failures[0], FileError)
        assert (totals.failures[0].errno, totals.failures[0].filename) == (errno.ENOSPC, "big")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["a", "c"]


def test_a_transfer_that_was_cut_anywhere_is_taken_up_again(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    big = os.urandom(3_000_000)
    (tree / "big").write_bytes(big)
    there = tmp_path / "there"
    there.mkdir()
    (there / "big").write_bytes(b"old" * 1000)
    source = random.Random(7)
    for _ in range(40):
        cut = source.randrange(600_000)
        done = Exchange([f"{tree}/"], there, recursive=True, cut=cut)
        if not done.errors:
            break
        assert {type(error) for error in done.errors} <= {Stopped, RemoteProtocolError}
        assert (there / "big").read_bytes() in (b"old" * 1000, big)
        for path in there.rglob("*"):
            if ".rshell-part" in path.name or path.is_symlink() or not path.is_file():
                continue
            own = tree / path.relative_to(there)
            assert path.read_bytes() == own.read_bytes() or path.name == "big"
    Exchange([f"{tree}/"], there, recursive=True).check()
    assert listing(there) == listing(tree)


def test_what_was_cut_is_not_sent_again_but_for_a_block(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(4_000_000))
    sent = 0
    for _ in range(3):
        done = Exchange([source], target, cut=1_000_000)
        assert done.errors and not target.exists()
        kept = (tmp_path / ".b.rshell-part").stat().st_size
        assert kept >= sent
        sent = kept
    assert sent > 2_500_000
    done = Exchange([source], target).check()
    assert done.sender.moved <= 4_000_000 - sent + PIECE
    assert target.read_bytes() == source.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_at_once_do_not_write_into_one_partial_file(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(600_000))
    fd = os.open(tmp_path, os.O_RDONLY)
    options = TransferOptions()
    try:
        first = writing.Writing(b"b", 600_000, options, lambda: None)
        first.write(fd, b"x" * 1000)
        assert (tmp_path / ".b.rshell-part").exists()
        Exchange([source], target).check()
        assert target.read_bytes() == source.read_bytes()
        assert (tmp_path / ".b.rshell-part").read_bytes() == b"x" * 1000
        first.abandon(fd)
    finally:
        os.close(fd)


def test_what_a_run_that_still_has_its_lock_was_sent_travels_once_and_is_removed(
    tmp_path: Path,
) -> None:
    source, target = tmp_path / "a", tmp_path / "d" / "b"
    target.parent.mkdir()
    data = os.urandom(2_000_000)
    source.write_bytes(data)
    size = len(data)
    fd = os.open(target.parent, os.O_RDONLY)
    try:
        # A server keeps the sessions of clients that were killed: each holds its partial file.
        held = []
        for sent in (500_000, 1_500_000):
            held.append(writing.Writing(b"b", size, TransferOptions(), lambda: None))
            held[-1].write(fd, data[:sent])
        assert len(list(target.parent.iterdir())) == 2
        # A later run is cut as well; what it left is found, whatever its name.
        later = Exchange([source], target, cut=300_000)
        assert later.errors and len(list(target.parent.iterdir())) == 3
        held.pop(0).abandon(fd)
        done = Exchange([source], target).check()
        assert done.sender.moved <= size - 1_500_000 + PIECE
        assert target.read_bytes() == data
        assert len(list(target.parent.iterdir())) == 2  # the file, and what is locked
        held.pop().abandon(fd)
        assert list(target.parent.iterdir()) == [target]
    finally:
        os.close(fd)


def test_no_device_socket_or_pipe_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "a" / "link").symlink_to("file")
    for name in ("file", "link"):
        os.mkfifo(tmp_path / "b" / name)
    done = Exchange([f"{tmp_path}/a/"], tmp_path / "b", recursive=True)
    assert [type(error) for error in done.sender.failures] == [FileInTheWay] * 2
    assert all((tmp_path / "b" / name).is_fifo() for name in ("file", "link"))
    Exchange([f"{tmp_path}/a/"], tmp_path / "b", recursive=True, no_clobber=True).check()


def test_deleting_what_was_not_sent_leaves_the_partial_files_of_what_was(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    (tmp_path / "b").mkdir()
    kept = {".f.rshell-part", ".f.rshell-part-3"}
    for name in (*kept, ".f.rshell-party", ".g.rshell-part", "h"):
        (tmp_path / "b" / name).write_text("y")
    (tmp_path / "b" / "f").write_text("x")
    for directory in ("a", "b"):
        os.utime(tmp_path / directory / "f", ns=(5, 5))
    Exchange([f"{tmp_path}/a/"], tmp_path / "b", recursive=True, delete=True).check()
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"f", *kept}


def test_nothing_comes_into_the_target_but_what_was_agreed_upon(tmp_path: Path) -> None:
    agreed = {b"f": b"f", b"d": b"d"}

    def work(peer: Peer) -> None:
        options, totals = TransferOptions(), TransferTotals()
        Receiver(peer, f"{tmp_path}/t/", options, totals, agreed=agreed).run()

    tree = [entry(1, b"d", kind=b"d"), entry(2, b"any", parent=1), (LEAVE, 1, b"\1"),
            (PART, 2, b"hello"), end(2), (LAST, 2, b"")]  # fmt: skip
    lie(RECEIVER_HEARS, tree, work)
    assert listing(tmp_path / "t").keys() == {".", "d", "d/any"}
    for record in (
        entry(1, b".bashrc"), entry(1, b"f", kind=b"d"), entry(1, b"d"), link(1, b"f", "/etc"),
        entry(1, b"", kind=b"d"), entry(1, b"\x1b[2J"),
    ):  # fmt: skip
        with row(record), pytest.raises(RemoteProtocolError, match="not agreed upon"):
            lie(RECEIVER_HEARS, [record], work)
    assert listing(tmp_path / "t").keys() == {".", "d", "d/any"}
