"""Both ends together: trees arrive as they are, and each option does what it says."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from rshell.channels.files import reading
from rshell.channels.files.lines import Line, Peer
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.reading import SMALL, Pin
from rshell.channels.files.records import (
    BLOCK_HEAD,
    DONE,
    END,
    ENTRY,
    LAST,
    PIECE,
    RESULT,
    SAME,
    SKIP,
    WANT,
    encode,
)
from rshell.channels.files.sender import SENDER_HEARS, Sender
from rshell.errors import FileForbidden, FileMissing, NotAFile, RemoteProtocolError
from tests.support.execution import no_leak
from tests.support.rows import row
from tests.support.transfers import Exchange, lie, listing, make_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def test_a_tree_with_everything_in_it_arrives_as_it_is(tree: Path, tmp_path: Path) -> None:
    done = Exchange([tree], tmp_path / "there", recursive=True).check()
    assert listing(tmp_path / "there" / "tree") == listing(tree)
    assert (tmp_path / "there" / "tree" / "sparse").stat().st_blocks * 512 < 1_000_000
    assert done.sender.files == 15 and done.sender.moved < 2_000_000
    again = Exchange([tree], tmp_path / "there", recursive=True).check()
    assert (again.sender.files, again.sender.moved, again.sender.made) == (0, 0, 0)
    assert again.sender.skipped == 18


def test_a_slash_sends_what_is_inside(tree: Path, tmp_path: Path) -> None:
    Exchange([f"{tree}/"], tmp_path / "there", recursive=True, preserve=True).check()
    assert listing(tmp_path / "there") == listing(tree)
    Exchange([f"{tree}/sub/", f"{tree}/zero"], tmp_path / "two", recursive=True).check()
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tree / "sub").iterdir()
    } | {"zero"}


def test_one_file_gets_the_name_of_the_target(tree: Path, tmp_path: Path) -> None:
    for target, found in (
        ("new", "new"), ("new", "new"), ("inside/", "inside/file0"), ("inside", "inside/file0"),
    ):  # fmt: skip
        with row(target):
            Exchange([tree / "sub" / "file0"], f"{tmp_path}/{target}").check()
            assert (tmp_path / found).read_bytes() == b"!"
    failed = Exchange([tree / "zero", tree / "dangling"], tmp_path / "new", recursive=True)
    assert "Not a directory" in str(failed.errors)
    failed = Exchange([tree / "zero"], tmp_path / "no" / "where")
    assert [type(error) for error in failed.errors] == [FileMissing, FileMissing]


def test_what_can_not_be_read_is_told_and_the_rest_goes_on(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "fifo")
    sources = [tree / "nothing", tree / "sub", tree / "zero", tree / "fifo"]
    done = Exchange(sources, tmp_path / "there")
    assert done.errors == []
    for totals in (done.sender, done.receiver):
        assert [type(error) for error in totals.failures] == [FileMissing, NotAFile]
        assert (totals.files, totals.skipped, totals.failed) == (1, 1, 2)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["zero"]


def test_a_named_link_is_a_file_and_within_a_tree_it_is_a_link(tree: Path, tmp_path: Path) -> None:
    (tree / "name").symlink_to("sub/file1")
    Exchange([tree / "name"], tmp_path / "copy").check()
    assert not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy").read_bytes() == (tree / "sub" / "file1").read_bytes()
    Exchange([tree / "name"], tmp_path / "link", recursive=True).check()
    assert (tmp_path / "link").readlink() == Path("sub/file1")


def test_only_the_blocks_that_differ_travel(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    data = bytearray(os.urandom(2_000_000))
    source.write_bytes(data)
    Exchange([source], target).check()
    data[1_000_000] ^= 1
    for change, most in (
        (data, 245_760),
        (data + b"more", 250_000),
        (data[:1_500_000], 245_760),
        (data[:1_474_560], 0),
        (b"", 0),
        (b"small", 5),
    ):
        with row(len(change)):
            source.write_bytes(change)
            assert Exchange([source], target).check().sender.moved <= most
            assert target.read_bytes() == change
    # The same content with another time: looked at, and left where it is.
    source.write_bytes(data)
    Exchange([source], target).check()
    number = target.stat().st_ino
    os.utime(source, ns=(1, 1))
    assert Exchange([source], target).check().sender.moved == 0
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (number, 1)
    # And another content with the same time, which only a closer look finds.
    target.write_bytes(b"x" * len(data))
    os.utime(target, ns=(1, 1))
    assert Exchange([source], target).check().sender.skipped == 1
    assert Exchange([source], target, checksum=True).check().sender.files == 1
    assert target.read_bytes() == data


def test_options_leave_keep_and_remove_files(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    Exchange([f"{tree}/"], there, recursive=True).check()
    whole = listing(there)
    (there / "extra").mkdir()
    (there / "extra" / "file").write_text("x")
    (there / "sub" / "gone").symlink_to("file1")
    (there / "sub" / "file0").write_text("ours, and newer")
    dry = Exchange([f"{tree}/"], there, recursive=True, delete=True, dry_run=True).check()
    assert {event.path for event in dry.events if event.what == "deleted"} == {"extra", "sub/gone"}
    assert [event.path for event in dry.events if event.what == "would-send"] == ["sub/file0"]
    assert (there / "extra" / "file").exists()
    for option in ("no_clobber", "update"):
        Exchange([f"{tree}/"], there, recursive=True, **{option: True}).check()
        assert (there / "sub" / "file0").read_text() == "ours, and newer"
    Exchange([f"{tree}/"], there, recursive=True, backup=True).check()
    assert (there / "sub" / "file0").read_text() == "!"
    assert (there / "sub" / "file0~").read_text() == "ours, and newer"
    done = Exchange([f"{tree}/"], there, recursive=True, delete=True).check()
    assert done.sender.deleted == 3
    assert listing(there) == whole


def test_an_unreadable_directory_removes_nothing(tree: Path, tmp_path: Path) -> None:
    Exchange([tree], tmp_path, recursive=True).check()
    there = tmp_path / "there"
    Exchange([f"{tree}/"], there, recursive=True).check()
    (there / "sub" / "own").touch()

    def no_listing(fd: object) -> list[str]:
        if isinstance(fd, int) and os.path.samestat(os.fstat(fd), (tree / "sub").stat()):
            raise PermissionError(13, "Permission denied")
        return listdir(fd)  # type: ignore[call-overload, no-any-return]

    listdir = os.listdir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "listdir", no_listing)
        done = Exchange([f"{tree}/"], there, recursive=True, delete=True)
    assert [type(error) for error in done.receiver.failures] == [FileForbidden]
    assert (there / "sub" / "own").exists()


def test_a_tree_that_is_made_leaves_no_descriptor(tree: Path, tmp_path: Path) -> None:
    with no_leak():
        Exchange([tree], tmp_path / "there", recursive=True).check()


def test_hard_links_stay_one_file(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"x" * 300_000)
    for name in ("b", "c"):
        os.link(tree / "a", tree / name)
    for _ in range(2):
        Exchange([tree], tmp_path / "there", recursive=True, hard_links=True).check()
        numbers = {path.stat().st_ino for path in (tmp_path / "there" / "tree").iterdir()}
        assert len(numbers) == 1 and len(list((tmp_path / "there" / "tree").iterdir())) == 3


def test_modes_obey_the_umask_or_the_source(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("x")
    source.chmod(0o6777)
    for options, mode in (
        ({}, 0o700), ({"preserve": True}, 0o777), ({"preserve": True, "setuid": True}, 0o6777),
    ):  # fmt: skip
        target = tmp_path / f"b{mode:o}"
        Exchange([source], target, umask=0o077, **options).check()
        assert target.stat().st_mode & 0o7777 == mode


def test_a_file_that_changes_is_read_again_and_then_given_up(
    tmp_path: Path,
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    is_unchanged = reading.is_unchanged
    for size, most in ((20_000, 3), (1_000_000, 2)):
        target.write_bytes(b"old")
        for changes, ok in ((1, True), (most - 1, True), (most, False)):
            source.write_bytes(b"x" * size)
            left = [changes]

            def look(fd: int, size: int, mtime: int, left: list[int] = left) -> bool:
                if left[0]:
                    left[0] -= 1
                    with source.open("ab") as file:
                        file.write(b"y")
                return is_unchanged(fd, size, mtime)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(reading, "is_unchanged", look)
                done = Exchange([source], target)
            with row(size, changes):
                assert done.errors == [] and bool(done.sender.files) is ok
                assert target.read_bytes() == (source.read_bytes() if ok else b"old")
                if not ok:
                    assert "changed each time" in str(done.receiver.failures[0])
            target.write_bytes(b"old")


def test_what_the_system_says_of_a_small_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5)

    def fail(fd: int, size: int, at: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    done = Exchange([tmp_path / "a"], tmp_path / "b")
    for totals in (done.sender, done.receiver):
        assert [error.errno for error in totals.failures] == [errno.EIO]
    assert not (tmp_path / "b").exists()


def test_a_file_whose_size_means_nothing_is_sent_with_what_is_in_it(tmp_path: Path) -> None:
    """As in /proc, where it is 0, and in /sys, where it is that of a page."""
    source, target = tmp_path / "a", tmp_path / "b"
    pread = os.pread
    for said in (0, 4096):
        for content in (b"", b"x" * 9, b"x" * SMALL, b"x" * (SMALL + 1)):
            with source.open("wb") as file:
                file.truncate(said)  # which takes no room, and nor do files there

            def read(fd: int, size: int, at: int, content: bytes = content) -> bytes:
                if not os.path.samestat(os.fstat(fd), source.stat()):
                    return pread(fd, size, at)
                return content[at : at + min(size, 5000)]  # a page or so at a time

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "pread", read)
                done = Exchange([source], target)
            with row(said, len(content)):
                if len(content) > SMALL:
                    assert "tells no size" in str(done.receiver.failures[0])
                    assert not target.exists()
                else:
                    assert done.errors == [] and target.read_bytes() == content
                    target.unlink()


def test_a_receiver_that_lies_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)

    def send(peer: Peer) -> None:
        Sender(peer, [str(tmp_path / "a")], TransferOptions(), TransferTotals()).run()

    for records, said in (
        ([(WANT, 2, b"")], "has had its answer"),
        ([(RESULT, 1, b""), (RESULT, 1, b"")], "has had its answer"),
        ([(SKIP, 1, b"\x09")], "reason 9"),
        ([(WANT, 1, b"abc")], "make no sense"),
        ([(WANT, 1, BLOCK_HEAD.pack(2 * PIECE) + bytes(16))], "make no sense"),
        ([(WANT, 1, BLOCK_HEAD.pack(PIECE) + bytes(32))], "make no sense"),
        ([(WANT, 1, BLOCK_HEAD.pack(PIECE) + bytes(16))] * 2, "no more bytes"),
        ([(WANT, 1, b"")] * 2, "no more bytes"),
        ([(RESULT, 1, b""), (DONE, 7, b"")], "7 entries of 1"),
        ([(DONE, 1, b"")], "1 entries of 1"),
        ([(RESULT, 1, b"[]")], "JSON object"),
        ([(SAME, 1, b"\0" * 8)], "was not due"),
        ([], "too early"),
    ):
        with row(said), pytest.raises(RemoteProtocolError, match=said):
            lie(SENDER_HEARS, records, send)
    heard = lie(SENDER_HEARS, [(WANT, 1, b""), (RESULT, 1, b""), (DONE, 1, b"")], send)
    assert [record.type for record in heard] == [ENTRY, 3, END, LAST]
    (tmp_path / "a").write_bytes(b"")
    heard = lie(SENDER_HEARS, [(RESULT, 1, b'{"error":"ENOSPC"}'), (DONE, 1, b"")], send)
    assert [record.type for record in heard] == [ENTRY, LAST]


def test_special_files_are_told_and_not_sent(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    os.mkfifo(tmp_path / "t" / "fifo")
    done = Exchange([tmp_path / "t"], tmp_path / "there", recursive=True).check()
    assert [(event.what, event.path) for event in done.events if event.what != "made"] == [
        ("special", "t/fifo")
    ]


def test_very_many_sources_need_few_descriptors(tmp_path: Path) -> None:
    sources = []
    for number in range(300):
        directory = tmp_path / "from" / str(number)
        directory.mkdir(parents=True)
        (directory / f"f{number}").write_text("x")
        sources.append(directory / f"f{number}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert Exchange(sources, tmp_path / "there").check().sender.files == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_was_pinned_is_sent_under_its_name_and_nothing_else_is(
    tree: Path, tmp_path: Path
) -> None:
    file, sub, there = tree / "sub" / "file0", tree / "sub", tmp_path / "there"
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(file)

    def pin(path: Path) -> Pin:
        found = path.stat()
        return Pin(str(path), found.st_dev, found.st_ino)

    pinned = {f"{tmp_path}/link": pin(file), f"{tree}/sub": pin(sub)}
    done = Exchange(list(pinned), f"{there}/", recursive=True, pinned=pinned).check()
    assert (there / "link").read_bytes() == file.read_bytes() and done.sender.files == 13
    assert listing(there / "sub") == listing(sub)
    # Something else takes their places: a link, a copy, another directory.
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    sub.rename(tree / "sub2")
    sub.mkdir()
    (sub / "other").touch()
    (sub / "file0").symlink_to(tmp_path / "secret")
    done = Exchange(list(pinned), f"{tmp_path}/again/", recursive=True, pinned=pinned)
    assert [failure.strerror for failure in done.sender.failures] == [
        "something else has taken its place"
    ] * 2
    assert not (tmp_path / "again").exists()


def test_a_sender_that_waits_for_room_and_a_receiver_with_much_to_tell_do_not_wait_for_each_other(
    tmp_path: Path,
) -> None:
    """A large file is on its way while a directory is cleared, with a note for each name."""
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "tree" / "0").write_bytes(b"x" * 2_000_000)
    (tmp_path / "there" / "a").mkdir(parents=True)
    for number in range(1500):
        (tmp_path / "there" / "a" / f"{number:0240}").touch()
    done = Exchange(
        [f"{tmp_path}/tree/"], tmp_path / "there", recursive=True, delete=True, room=3000
    ).check()
    assert (done.sender.deleted, done.sender.files) == (1500, 1)


def test_a_receiver_that_can_go_on_with_nothing_is_heard_in_the_middle_of_a_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    incoming, outgoing = Line(), Line(room=2**30)
    peer = Peer(incoming, outgoing, *SENDER_HEARS)
    send_raw, send_part = peer.send_raw, peer.send_part

    def want(record: bytes) -> None:
        send_raw(record)
        if record[0] == ENTRY:
            incoming.put(encode(WANT, 1))

    def answer(index: int, buffer: bytearray, size: int) -> None:
        send_part(index, buffer, size)
        incoming.put(encode(DONE, 1, b'{"error":"ENOENT","path":"t"}'))

    peer.send_raw = want  # type: ignore[method-assign]
    peer.send_part = answer  # type: ignore[method-assign]
    with pytest.raises(FileMissing, match="'t'"):
        Sender(peer, [str(tmp_path / "a")], TransferOptions(), TransferTotals()).run()
