"""Owners, extended attributes and ACLs: kept where they can be, told where not."""

from __future__ import annotations

import base64
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rshell.channels.files import attributes
from rshell.channels.files.attributes import AttributesReceiver, AttributesSender
from rshell.channels.files.lines import Line, Peer
from rshell.channels.files.messages import FileAttributes, TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.receiver import RECEIVER_HEARS, Receiver
from rshell.channels.files.records import ATTRIBUTES, ENTRY, LEAVE, Entry, encode_entry
from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json, encode_json
from tests.support.rows import row
from tests.support.transfers import Exchange, lie

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
IS_ROOT = os.geteuid() == 0


def acl(user: int, group: int = 60) -> bytes:
    lines = ((1, 6, -1), (2, 4, user), (4, 4, -1), (8, 4, group), (16, 4, -1), (32, 0, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *line) for line in lines)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "tree"
    (root / "d" / "e").mkdir(parents=True)
    for name, data in (("small", b"x"), ("empty", b""), ("big", b"b" * 700_000), ("d/f", b"f")):
        (root / name).write_bytes(data)
    (root / "link").symlink_to("small")
    try:
        os.setxattr(root / "small", "user.a", b"hello")
        os.setxattr(root / "small", ACCESS, acl(1234))
    except (OSError, AttributeError):
        pytest.skip("this file system keeps no attributes")
    os.setxattr(root / "big", "user.bytes", bytes(range(256)))
    os.setxattr(root / "d", "user.d", b"")
    os.setxattr(root / "d", DEFAULT, acl(1234))
    (root / "d" / "f").chmod(0o444)
    if IS_ROOT:
        os.chown(root / "d" / "f", 1234, 60)
        os.chown(root / "link", 5, 6, follow_symlinks=False)
        os.setxattr(root / "big", "trusted.t", b"t")
    (root / "d" / "e").chmod(0o555)
    yield root
    for path in tmp_path.rglob("e"):
        path.chmod(0o755)


def dressed(root: Path) -> dict[str, object]:
    """Return what belongs to each file of a tree."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        own: dict[str, bytes] = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        its = (state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns, own)
        found[str(path.relative_to(root))] = its
    return found


def test_all_that_belongs_to_a_tree_arrives_and_follows_changes(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    os.setxattr(there, DEFAULT, acl(99))  # what is made in here inherits what nobody sent
    chosen = {"recursive": True, "attributes": True}
    Exchange([f"{tree}/"], there, **chosen).check()
    assert dressed(there) == dressed(tree)
    # Only what belongs to the files changes, and is found though size and time are the same.
    os.setxattr(tree / "d", "user.new", b"n")
    os.setxattr(there / "d" / "e", "user.extra", b"x") if IS_ROOT else None
    os.removexattr(tree / "small", "user.a")
    os.removexattr(tree / "small", ACCESS)
    (there / "d" / "f").chmod(0o644)
    os.setxattr(there / "d" / "f", "user.extra", b"x")
    (there / "d" / "f").chmod(0o444)
    done = Exchange([f"{tree}/"], there, **chosen).check()
    assert done.sender.files == 0 and dressed(there) == dressed(tree)
    # Content that differs by blocks, and files that are written into.
    with (tree / "big").open("ab") as file:
        file.write(b"more")
    Exchange([f"{tree}/"], there, inplace=True, **chosen).check()
    assert dressed(there) == dressed(tree)
    # And without being asked, nothing of it.
    Exchange([f"{tree}/"], tmp_path / "plain", recursive=True).check()
    assert not any(its[4] for its in dressed(tmp_path / "plain").values())  # type: ignore[index]
    dry = Exchange([f"{tree}/"], tmp_path / "dry", dry_run=True, **chosen).check()
    assert dry.sender.files == 0 and not (tmp_path / "dry").exists()


def test_hard_links_and_single_files_keep_theirs(tree: Path, tmp_path: Path) -> None:
    os.link(tree / "small", tree / "second")
    chosen = {"recursive": True, "attributes": True, "hard_links": True}
    for _ in range(2):
        Exchange([f"{tree}/"], tmp_path / "there", **chosen).check()
        assert dressed(tmp_path / "there") == dressed(tree)
    Exchange([tree / "small"], tmp_path / "one", attributes=True).check()
    assert os.getxattr(tmp_path / "one", "user.a") == b"hello"


def test_what_can_not_be_applied_is_told_once_and_the_file_stays(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = errno.ENOTSUP

    def refuse(where: object, name: str, value: bytes, **rest: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)
    for number, failures in ((errno.ENOTSUP, 1), (errno.ENOSPC, 3)):
        target = tmp_path / f"there{number}"
        done = Exchange([f"{tree}/"], target, recursive=True, attributes=True)
        assert done.errors == []
        for totals in (done.sender, done.receiver):
            assert (totals.failed, totals.files) == (failures, 4), totals.failures
            assert all("it is there without " in str(error) for error in totals.failures)
        assert (target / "big").read_bytes() == (tree / "big").read_bytes()
    assert "user.a (No space left on device)" in str(done.sender.failures)


def test_what_can_not_be_read_is_told_and_removes_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Exchange([tree / "small"], tmp_path / "one", attributes=True).check()
    listxattr = os.listxattr

    def refuse(where: Any, **rest: bool) -> list[str]:
        if isinstance(where, bytes) and where.endswith(b"/small"):
            raise OSError(errno.EIO, "no")
        return listxattr(where, **rest)

    monkeypatch.setattr(os, "listxattr", refuse)
    done = Exchange([tree / "small"], tmp_path / "one", attributes=True)
    assert [error.errno for error in done.receiver.failures] == [errno.EIO]
    assert os.getxattr(tmp_path / "one", "user.a") == b"hello"


def receiver(**options: bool) -> AttributesReceiver:
    chosen = TransferOptions(attributes=True, **options)
    return AttributesReceiver(Peer(Line(), Line()), chosen, TransferTotals())


class Kernel:
    """Notes what is asked of the system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, euid: int) -> None:
        self.asked: list[tuple[object, ...]] = []
        monkeypatch.setattr(os, "geteuid", lambda: euid)
        monkeypatch.setattr(os, "getegid", lambda: euid)
        monkeypatch.setattr(os, "getgroups", lambda: [77])
        for name in ("chown", "setxattr", "removexattr"):
            monkeypatch.setattr(os, name, self.note(name), raising=False)
        monkeypatch.setattr(attributes, "_values_of", lambda where, follow: {})

    def note(self, name: str) -> Any:
        return lambda where, *arguments, follow_symlinks: self.asked.append((name, *arguments))


def test_only_root_gives_what_only_root_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0o644)
    own = (tmp_path / "f").stat()
    names = ("security.capability", "security.x", "trusted.x", "system.x", "user.x", "odd")
    values = {name: base64.b64encode(name.encode()).decode() for name in names}
    wanted = FileAttributes(4321, 77, {}, {}, values)
    path = os.fsencode(tmp_path / "f")
    for euid, setuid, chown, applied in (
        (0, False, [("chown", 4321, 77)], {"security.x", "trusted.x", "user.x", "odd"}),
        (0, True, [("chown", 4321, 77)], {*names} - {"system.x"}),
        (own.st_uid or 9, True, [], {"user.x"}),
    ):
        with monkeypatch.context() as patch:
            kernel = Kernel(patch, euid)
            receiver(setuid=setuid).apply(path, wanted, b"f", 0o6755)
        if euid and own.st_uid == euid:
            chown = [("chown", euid, 77)]  # a group that we are in
        asked = [call for call in kernel.asked if call[0] == "chown"]
        with row(euid, setuid):
            assert asked == chown
            assert {call[1] for call in kernel.asked if call[0] == "setxattr"} == applied
            # It has not got its owner, so it must not run as whoever has it now.
            assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o755


def test_users_are_known_by_name_and_else_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    sent = Line()
    peer = Peer(Line(), sent)
    found = os.stat_result((0o100644, 1, 1, 1, 50, 60, 1, 0, 0, 0))
    monkeypatch.setattr(attributes, "_values_of", lambda where, follow: {ACCESS: acl(70, 80)})
    monkeypatch.setattr(attributes, "_user_name", {50: "ann", 70: "bob"}.get)
    monkeypatch.setattr(attributes, "_group_name", {60: "staff"}.get)
    monkeypatch.setattr(attributes, "_user_number", {"ann": 150, "bob": 170}.get)
    monkeypatch.setattr(attributes, "_group_number", {"staff": 160}.get)
    for numeric, chown, value in ((False, (150, 160), acl(170, 80)), (True, (50, 60), acl(70, 80))):
        options = TransferOptions(attributes=True, numeric_ids=numeric)
        AttributesSender(peer, options, lambda *_: None).of_file(1, 0, found)
        peer.flush()
        block = sent.take(wait=False)
        assert block is not None
        wanted = FileAttributes.from_bytes(bytes(block)[9:])
        with monkeypatch.context() as patch:
            kernel = Kernel(patch, 0)
            receiver().apply(os.fsencode(tmp_path / "f"), wanted, b"f")
        with row(numeric):
            assert kernel.asked == [("chown", *chown), ("setxattr", ACCESS, value)]


def said(number: int, attributes: Json) -> tuple[int, int, bytes]:
    return ATTRIBUTES, number, encode_json({"uid": 0, "gid": 0, **attributes})


def entry(number: int, kind: bytes = b"d", parent: int = 0) -> tuple[int, int, bytes]:
    whole = encode_entry(Entry(number, parent, kind, 0o755, 0, 1, b"%d" % number, {}))
    return ENTRY, number, whole[9:]


def test_a_sender_that_lies_about_attributes_is_refused(tmp_path: Path) -> None:
    many = {f"user.{number}": "" for number in range(1025)}
    for records, what in (
        ([said(1, {"attributes": many}), entry(1)], "more than 1024"),
        ([said(1, {"users": many}), entry(1)], "more than 1024"),
        ([said(1, {"attributes": {"user.x": "A" * 90_000}})], "it can't be one"),
        ([said(1, {"attributes": {"user." + "x" * 300: ""}})], "it can't be one"),
        ([said(1, {"attributes": {"user.\0": ""}})], "it can't be one"),
        ([said(1, {"attributes": {"user.x": "A"}}), entry(1), (LEAVE, 1, b"\1")], None),
        ([entry(1), said(1, {"attributes": {"user.x": "A"}}), (LEAVE, 1, b"\1")], "not base64"),
        ([said(1, {"uid": -1})], "needs 'uid'"),
        ([said(1, {"gid": 2**32 - 1})], "needs 'gid'"),
        ([said(7, {})], "not due"),
    ):

        def receive(peer: Peer) -> None:
            options = TransferOptions(attributes=True)
            Receiver(peer, f"{tmp_path}/t/", options, TransferTotals()).run()

        with row(what), pytest.raises(RemoteProtocolError, match=what or "too early"):
            lie(RECEIVER_HEARS, records, receive)

    def unasked(peer: Peer) -> None:
        Receiver(peer, f"{tmp_path}/t/", TransferOptions(), TransferTotals()).run()

    with pytest.raises(RemoteProtocolError, match="nobody asked for"):
        lie(RECEIVER_HEARS, [said(1, {})], unasked)


def test_attributes_of_very_many_open_directories_do_not_fill_the_memory(tmp_path: Path) -> None:
    totals = TransferTotals()
    large = {"attributes": {f"user.{number}": "A" * 87_000 for number in range(11)}}

    def receive(peer: Peer) -> None:
        Receiver(peer, f"{tmp_path}/t/", TransferOptions(attributes=True), totals).run()

    records = [entry(number, parent=number - 1) for number in range(1, 31)]
    records += [said(number, large) for number in range(1, 31)]
    with pytest.raises(RemoteProtocolError, match="too early"):
        lie(RECEIVER_HEARS, records, receive)
    assert totals.failed == 30 - 17 and "too many wait" in str(totals.failures[0])
