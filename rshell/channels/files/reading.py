"""One file at the sender: its bytes as records, and whether they are of one moment.

A file is read once, in pieces that fit a record, hashed as it is read, and compared by blocks where
the receiver has some. Ranges that a sparse file does not store are told, not read.

Hazard: a file may change while it is read, and half of the old with half of the new is a file that
never was. Its size and time are compared before and after; the receiver keeps nothing until the
hash has come.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Optional

from rshell.channels.files.lines import Peer
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.records import (
    END,
    END_BODY,
    FACTS,
    FRESH,
    HEADER,
    HOLE,
    LENGTH,
    PART,
    PIECE,
    SAME,
    Entry,
)
from rshell.channels.files.rules import Blocks, hash_block
from rshell.values import frozen

SMALL = 32 * 1024  # bytes, up to which a file leaves together with others
_ZEROS = bytes(1024 * 1024)
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@frozen
class Pin:
    """The very file or directory that is meant: its `path` without links, and which inode it is."""

    path: str
    device: int
    inode: int

    def check(self, found: os.stat_result) -> None:
        """Raise OSError unless `found` is it."""
        if (found.st_dev, found.st_ino) != (self.device, self.inode):
            raise OSError(errno.ESTALE, "something else has taken its place")


def open_source(name: bytes, dir_fd: int) -> int:
    """Open what should be a regular file for reading. Raises OSError."""
    return os.open(name, _OPEN_FILE, dir_fd=dir_fd)


def stat_source(fd: int) -> os.stat_result:
    """Return what is known of an open file. Raises OSError for what is no regular one."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file any more")
    return found


def is_unchanged(fd: int, size: int, mtime: int) -> bool:
    """Whether an open file is a regular one and has this size and time."""
    now = os.fstat(fd)
    is_same = now.st_size == size and now.st_mtime_ns == mtime
    return is_same and stat.S_ISREG(now.st_mode)


def data_ranges(fd: int, found: os.stat_result, at: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, is a hole) for the file from `at` on, in order."""
    size = found.st_size
    if found.st_blocks * 512 >= size:
        yield at, size, False
        return
    while at < size:
        try:
            start = min(os.lseek(fd, at, os.SEEK_DATA), size)
        except OSError:  # no data from here on
            start = size
        if start > at:
            yield at, start, True
        if start < size:
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            yield start, end, False
            start = end
        at = start


def send_small(peer: Peer, entry: Entry, fd: int, totals: TransferTotals) -> bool:
    """Send a small file whole, if it is a regular one, as announced, and was so all along.

    Raises OSError, and has sent nothing then.
    """
    size = entry.size
    if size > SMALL:
        return False
    data = os.pread(fd, size + 1, 0)
    if len(data) != size or not is_unchanged(fd, size, entry.mtime):
        return False
    _send_whole(peer, entry.number, data, totals)
    return True


def _send_whole(peer: Peer, index: int, data: bytes, totals: TransferTotals) -> None:
    if data:
        peer.send(PART, index, data)
    peer.send(END, index, END_BODY.pack(len(data), hashlib.sha256(data).digest()))
    totals.moved += len(data)


def send_open(
    peer: Peer,
    entry: Entry,
    fd: int,
    found: os.stat_result,
    blocks: Optional[Blocks],
    totals: TransferTotals,
    check: Callable[[], None],
) -> None:
    """Send an open file, of which the receiver has `blocks`; once again where it changes.

    Raises OSError where it changes again, and what `check` raises, which is called now and then.
    """
    for attempt in range(2):
        if attempt or (found.st_size, found.st_mtime_ns) != (entry.size, entry.mtime):
            facts = (stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_size)
            peer.send(FRESH, entry.number, FACTS.pack(*facts))
            entry = entry._replace(mtime=found.st_mtime_ns, size=found.st_size)
        if blocks is None and entry.size <= SMALL:
            if send_small(peer, entry, fd, totals):
                return
            if not found.st_blocks and is_unchanged(fd, entry.size, entry.mtime):
                _send_unsized(peer, entry, fd, stat.S_IMODE(found.st_mode), totals)
                return
        else:
            try:
                if Reading(peer, entry.number, fd, found, totals).send(blocks, check):
                    return
            except EOFError:
                pass
        found, blocks = os.fstat(fd), None
    raise OSError(errno.EAGAIN, "it changed each time while it was read")


def _send_unsized(peer: Peer, entry: Entry, fd: int, mode: int, totals: TransferTotals) -> None:
    """Send a file of /proc or /sys, whose size means nothing. Raises OSError for a large one."""
    data = b""
    while piece := os.pread(fd, SMALL + 1 - len(data), len(data)):
        data += piece
    if len(data) > SMALL:
        raise OSError(errno.EFBIG, "the system tells no size of it, and it is large: use cat")
    peer.send(FRESH, entry.number, FACTS.pack(mode, entry.mtime, len(data)))
    _send_whole(peer, entry.number, data, totals)


class Reading:
    """Sends one open file. `send` returns whether all of it was of one moment."""

    def __init__(
        self, peer: Peer, index: int, fd: int, found: os.stat_result, totals: TransferTotals
    ) -> None:
        self._peer = peer
        self._index = index
        self._fd = fd
        self._found = found
        self._totals = totals
        self._hash = hashlib.sha256()
        self._same = 0  # bytes that the receiver has, not told yet

    def send(self, blocks: Optional[Blocks], check: Callable[[], None]) -> bool:
        """Send the content and its END, unless the file changes meanwhile.

        `check` is called now and then. Raises what it raises, OSError, EOFError where the file got
        shorter, and what `Peer.look` does.
        """
        self._peer.flush()  # small files before it, whose ends need not wait for all of this one
        size, at = self._found.st_size, 0
        if blocks is not None:
            while at < min(len(blocks) * blocks.size, size):
                check()
                at = self._send_block(at, blocks)
        for start, end, is_hole in data_ranges(self._fd, self._found, at):
            if is_hole:
                self._send_hole(end - start)
            else:
                for at in range(start, end, PIECE):
                    check()
                    self._send_part(at, min(PIECE, end - at))
        self._tell_same()
        if not is_unchanged(self._fd, size, self._found.st_mtime_ns):
            return False
        self._peer.send(END, self._index, END_BODY.pack(size, self._hash.digest()))
        return True

    def _send_hole(self, length: int) -> None:
        self._tell_same()
        self._peer.send(HOLE, self._index, LENGTH.pack(length))
        while length:
            self._peer.look()
            zeros = memoryview(_ZEROS)[: min(length, len(_ZEROS))]
            self._hash.update(zeros)
            self._totals.at += len(zeros)
            length -= len(zeros)

    def _send_block(self, at: int, blocks: Blocks) -> int:
        """Send what differs of the block at `at`; return where the next one begins."""
        size = min(blocks.size, self._found.st_size - at)
        data = bytearray(size)
        self._read(at, memoryview(data))
        if blocks.holds(at // blocks.size, hash_block(data)):
            self._hash.update(data)
            self._same += size
            self._totals.at += size
            self._peer.look()
        else:
            for start in range(0, size, PIECE):
                part = memoryview(data)[start : start + PIECE]
                self._send_part(at + start, len(part), part)
        return at + size

    def _send_part(self, at: int, size: int, data: Optional[memoryview] = None) -> None:
        self._tell_same()
        buffer = bytearray(HEADER.size + size)
        view = memoryview(buffer)[HEADER.size :]
        if data is None:
            self._read(at, view)
        else:
            view[:] = data
        self._hash.update(view)
        view.release()
        self._peer.send_part(self._index, buffer, size)
        self._totals.at += size
        self._totals.moved += size

    def _tell_same(self) -> None:
        if self._same:
            self._peer.send(SAME, self._index, LENGTH.pack(self._same))
            self._same = 0

    def _read(self, at: int, view: memoryview) -> None:
        while view:
            read = os.preadv(self._fd, [view], at)
            if not read:
                raise EOFError
            view = view[read:]
            at += read
