"""One file at the sender: ranges, holes, and what can't be opened."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from rshell.channels.files.lines import Line, Peer
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.reading import (
    SMALL,
    data_ranges,
    is_unchanged,
    open_source,
    send_small,
    stat_source,
)
from rshell.channels.files.records import END, END_BODY, PART, Entry, RecordDecoder

ENTRY_OF_F = Entry(1, 0, b"f", 0o644, 5, 4, b"f", {})


def test_ranges_cover_a_file_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        for at in (0, 1_000_000, 5_000_000):
            file.seek(at)
            file.write(b"x")
        file.truncate(9_000_000)
    fd = os.open(path, os.O_RDONLY)
    try:
        for start in (0, 500_000, 1_000_000, 8_999_999, 9_000_000):
            at, holes = start, 0
            for begin, end, is_hole in data_ranges(fd, os.fstat(fd), start):
                assert begin == at and end > begin
                at, holes = end, holes + is_hole
                if is_hole:
                    assert not any(os.pread(fd, min(end - begin, 100_000), begin))
            assert at == 9_000_000
            assert holes or start == 9_000_000
    finally:
        os.close(fd)


def test_a_change_is_seen_and_only_plain_files_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "p")
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        fd = open_source(b"f", here)
        found = stat_source(fd)
        assert is_unchanged(fd, found.st_size, found.st_mtime_ns)
        os.utime(path, ns=(1, 1))
        assert not is_unchanged(fd, found.st_size, found.st_mtime_ns)
        os.close(fd)
        for name in (b"l", b"nothing"):
            with pytest.raises(OSError):
                open_source(name, here)
        fd = open_source(b"p", here)
        with pytest.raises(OSError, match="no regular file any more"):
            stat_source(fd)
        with pytest.raises(OSError):
            send_small(Peer(Line(), Line()), ENTRY_OF_F, fd, TransferTotals())
        os.close(fd)
    finally:
        os.close(here)


def test_a_small_file_leaves_only_as_it_was_announced(tmp_path: Path) -> None:
    """Else whoever looks closer says what it is by now; nothing of it was sent."""
    (tmp_path / "f").write_bytes(b"four")
    os.utime(tmp_path / "f", ns=(5, 5))
    for name, entry, is_sent in (
        ("f", ENTRY_OF_F, True),
        ("f", ENTRY_OF_F._replace(size=3), False),
        ("f", ENTRY_OF_F._replace(size=5), False),
        ("f", ENTRY_OF_F._replace(size=0), False),
        ("f", ENTRY_OF_F._replace(mtime=6), False),
        ("f", ENTRY_OF_F._replace(size=SMALL + 1), False),
    ):
        fd = open_source(name.encode(), tmp_fd := os.open(tmp_path, os.O_RDONLY))
        outgoing, totals = Line(), TransferTotals()
        peer = Peer(Line(), outgoing)
        try:
            assert send_small(peer, entry, fd, totals) is is_sent
        finally:
            os.close(fd)
            os.close(tmp_fd)
        peer.flush()
        sent = outgoing.take(wait=False)
        assert (sent is not None) is is_sent and totals.moved == (4 if is_sent else 0)
        if sent is not None:
            part, end = RecordDecoder(PART, END).feed(bytes(sent))
            assert (part.type, part.payload, end.type) == (PART, b"four", END)
            assert END_BODY.unpack(end.payload) == (4, hashlib.sha256(b"four").digest())
