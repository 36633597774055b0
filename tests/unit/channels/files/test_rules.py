"""Names, places, comparison and blocks, as tables and for any input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.records import MOST_BLOCKS, PIECE, Entry
from rshell.channels.files.rules import (
    LONGEST_NAME,
    Blocks,
    Facts,
    block_size,
    check_name,
    final_mode,
    goes_inside,
    hash_block,
    is_whole_directory,
    judge,
    partial_name,
)
from rshell.errors import RemoteProtocolError
from tests.support.rows import row

FILE = Entry(1, 0, b"f", 0o4755, 100, 10, b"f", {})
DIRECTORY = FILE._replace(type=b"d", mode=0o2777)


def test_no_name_leads_out_of_its_directory() -> None:
    for name in (b"", b".", b"..", b"/", b"a/b", b"/etc", b"a\0", b"../x", b"x/"):
        with pytest.raises(RemoteProtocolError, match="refused"):
            check_name(name)
    for name in (b"...", b".a", b"\xff", b" ", b"\n", b"-rf", b"~", b"*"):
        check_name(name)


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=8))
def test_a_partial_name_fits_and_belongs_to_one_file(name: bytes, salt: bytes) -> None:
    partial = partial_name(name, salt)
    assert len(partial) <= LONGEST_NAME or not salt.isalnum()
    assert partial.startswith(b".") and b".rshell-part" in partial
    assert partial_name(name + b"x", salt) != partial


def test_rsyncs_rule_says_what_is_sent_and_where_to() -> None:
    for source, inside in (
        ("d", False), ("d/", True), ("d/.", True), ("..", True), (".", True), ("/", True),
        ("a/d", False), ("a/..", True), ("...", False), ("d.", False),
    ):  # fmt: skip
        with row(source):
            assert is_whole_directory(source) is inside
    for target, is_directory, alone, inside in (
        ("t", True, True, True), ("t", False, True, False), ("t/", False, True, True),
        ("t", False, False, True), ("t", True, False, True),
    ):  # fmt: skip
        with row(target, is_directory, alone):
            assert goes_inside(target, is_directory=is_directory, alone=alone) is inside


def test_what_is_wanted_of_what_is_there() -> None:
    same = Facts(b"f", 0o644, 100, 10)
    for old, options, verdict in (
        (None, {}, "want"),
        (same, {}, "same"),
        (same, {"checksum": True}, "want"),
        (same._replace(size=11), {}, "want"),
        (same._replace(mtime=101), {}, "want"),
        (same._replace(mtime=101), {"update": True}, "newer"),
        (same._replace(mtime=99), {"update": True}, "want"),
        (same._replace(type=b"l"), {}, "want"),
        (same._replace(type=b""), {"no_clobber": True}, "exists"),
        (None, {"no_clobber": True, "update": True}, "want"),
    ):
        with row(old, options):
            assert judge(FILE, old, TransferOptions(**options)) == verdict


def test_the_mode_that_a_file_gets() -> None:
    old = Facts(b"f", 0o4600, 0, 0)
    for entry, there, options, mode in (
        (FILE, None, {}, 0o750),
        (FILE, old, {}, 0o600),
        (FILE, old._replace(type=b"l"), {}, 0o750),
        (FILE, old, {"preserve": True}, 0o755),
        (FILE, None, {"preserve": True, "setuid": True}, 0o4755),
        (DIRECTORY, None, {}, 0o750),
        (DIRECTORY, Facts(b"d", 0o3700, 0, 0), {}, 0o3700),
        (DIRECTORY, None, {"preserve": True}, 0o2777),
    ):
        with row(entry, there, options):
            assert final_mode(entry, there, TransferOptions(**options), 0o027) == mode


@given(st.integers(0, 2**63 - 1))
def test_there_are_never_more_blocks_than_a_want_may_hold(size: int) -> None:
    block = block_size(size)
    assert block % PIECE == 0 and -(-size // block) <= MOST_BLOCKS
    assert block == PIECE or size > block // 2 * MOST_BLOCKS


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_blocks_are_told_and_found_again(parts: list[bytes]) -> None:
    told = Blocks(PIECE, b"".join(map(hash_block, parts))).encode()
    blocks = Blocks.decode(told, PIECE * len(parts))
    assert blocks is not None and len(blocks) == len(parts) and blocks.size == PIECE
    for index, part in enumerate(parts):
        assert blocks.holds(index, hash_block(part))
        assert not blocks.holds(index, hash_block(part + b"!"))
    assert not blocks.holds(len(parts), hash_block(b""))


def test_blocks_that_make_no_sense_are_refused() -> None:
    assert Blocks.decode(b"", 9) is None
    for payload in (b"\0", b"\0\0\0\0", b"\0\x03\xc0\x01", b"\0\x03\xc0\0x"):
        with pytest.raises(RemoteProtocolError, match="make no sense"):
            Blocks.decode(payload, 9)
