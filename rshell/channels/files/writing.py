"""One file that is written as it comes, until it has its name (small ones: small.py).

The bytes go into a partial file (partial.py), which nobody else writes to. What a killed run has
left there is compared block by block with the source, and taken up again. The last step is the
rename, after the length and the hash of the whole were found right. Until then the old file stays.

Where the old file has a block that the new one has, too, or somebody else's partial file has, the
block is copied here. As long as all of the old file is alike, nothing is written at all: a file
that turns out to be the same stays itself.

Hazard: the name may be moved away, or be a link, at any moment. Every step goes by the directory's
descriptor and never through a link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from typing import Optional

from rshell.channels.files.disk import give_mode, set_aside
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.partial import (
    OPEN,
    Partial,
    create_partial,
    find_partial,
    remove_left,
)
from rshell.channels.files.records import PIECE, Payload
from rshell.channels.files.rules import Blocks, block_size, hash_block

_ZEROS = bytes(1024 * 1024)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FULL = (errno.ENOSPC, errno.EDQUOT)


class WrongContent(Exception):
    """What arrived is not the file that was announced; the message says in what."""


class Writing:
    """The content of one file on its way to `name` in a directory.

    `size` is the length that was announced. `check` is called in long work and may raise. Every
    method may raise OSError; `abandon` must follow, which is also for leaving off in between.
    """

    def __init__(
        self, name: bytes, size: int, options: TransferOptions, check: Callable[[], None]
    ) -> None:
        self.name = name
        self.size = size
        self.at = 0
        self._options = options
        self._check = check
        self._hash = hashlib.sha256()
        self._fd = -1
        self._partial = b""  # the name that it has now
        self._kept = 0  # bytes at the beginning of the partial file that were there before
        self._other: Optional[Partial] = None  # somebody else's
        self._old = -1
        self._old_size = 0
        self._block = PIECE
        self._may_reuse = False

    @property
    def is_begun(self) -> bool:
        """Whether there is anything to finish: a file to write, or an old one that is the same."""
        return self._fd >= 0 or self.at > 0

    # What is there.

    def find_blocks(self, dir_fd: int, *, has_old: bool) -> Optional[Blocks]:
        """Return the blocks that are there already, from a partial file and from the old one."""
        if not self._options.inplace:
            own, self._other = find_partial(dir_fd, self.name)
            if own is not None:
                self._fd, self._partial, self._kept = own
        self._open_old(dir_fd, has_old=has_old)
        if not (self._kept or self._old_size or self._other):
            return None
        self._block = size = block_size(self.size)
        hashes = []
        for at in range(0, self.size, size):
            source = self._source(at)
            if source < 0:
                break
            self._check()
            hashes.append(hash_block(self._read(source, at, min(size, self.size - at))))
        self._may_reuse = True
        return Blocks(size, b"".join(hashes)) if hashes else None

    def _open_old(self, dir_fd: int, *, has_old: bool) -> None:
        if not has_old:
            return
        try:
            self._old = os.open(self.name, _READ, dir_fd=dir_fd)
        except OSError:
            return  # what can't be read can still be replaced
        found = os.fstat(self._old)
        if stat.S_ISREG(found.st_mode):
            self._old_size = found.st_size
        else:
            self._close_old()

    def _source(self, at: int) -> int:
        """Return the descriptor that has the block with the byte `at`, -1 if none does."""
        end = min(at - at % self._block + self._block, self.size)
        if self._fd >= 0 and end <= self._kept:
            return self._fd
        if self._other is not None and end <= self._other.size:
            return self._other.fd
        return self._old if end <= self._old_size else -1

    def _read(self, fd: int, at: int, length: int) -> bytes:
        data = os.pread(fd, length, at)
        if len(data) != length:
            raise WrongContent("what was there of it got shorter meanwhile")
        return data

    # What comes.

    def begin_anew(self, size: int) -> None:
        """The source has changed: nothing of what came counts."""
        if self.at:
            self._may_reuse = False
        self.size = size
        self.at = 0
        self._hash = hashlib.sha256()

    def write(self, dir_fd: int, data: Payload) -> None:
        """Add bytes. Raises WrongContent for more than were announced."""
        self._advance(len(data))
        fd = self._writable(dir_fd)
        self._hash.update(data)
        view, at = memoryview(data), self.at
        while view:
            written = os.pwrite(fd, view, at)
            at += written
            view = view[written:]
        self.at = at

    def skip_same(self, dir_fd: int, length: int) -> None:
        """Add bytes that are here already."""
        self._advance(length)
        if not self._may_reuse:
            raise WrongContent("bytes were left out that are not here")
        while length:
            self._check()
            step = min(length, PIECE)
            source = self._source(self.at)
            if source < 0:
                raise WrongContent("bytes were left out that are not here")
            data = self._read(source, self.at, step)
            self._hash.update(data)
            if source != self._fd and self._fd >= 0 and not self._options.inplace:
                os.pwrite(self._fd, data, self.at)
            self.at += step
            length -= step

    def skip_hole(self, dir_fd: int, length: int) -> None:
        """Add zeros that take no room on the disk."""
        self._advance(length)
        fd = self._writable(dir_fd)
        end, size = self.at + length, os.fstat(fd).st_size
        if size < end:
            os.ftruncate(fd, end)
        while self.at < end:
            self._check()
            step = min(end - self.at, len(_ZEROS))
            zeros = memoryview(_ZEROS)[:step]
            self._hash.update(zeros)
            if self.at < size:  # what lies there is of another time
                os.pwrite(fd, zeros[: size - self.at], self.at)
            self.at += step

    def _advance(self, length: int) -> None:
        if self.at + length > self.size:
            raise WrongContent(f"more than the {self.size} bytes came that were announced")

    def _writable(self, dir_fd: int) -> int:
        """Return the descriptor to write to, with all that came before in it."""
        if self._fd < 0:
            if self._options.inplace:
                flags = os.O_CREAT | OPEN
                self._fd = os.open(self.name, flags, 0o600, dir_fd=dir_fd)
                if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                    raise OSError(errno.EINVAL, "something else has its name")
            else:
                self._fd, self._partial, _ = create_partial(dir_fd, self.name)
                self._copy_others()
        return self._fd

    def _copy_others(self) -> None:
        """Copy what others had of all that came before."""
        at = 0
        while at < self.at:
            self._check()
            data = self._read(self._source(at), at, min(PIECE, self.at - at))
            os.pwrite(self._fd, data, at)
            at += len(data)

    # The end.

    def check_whole(self, size: int, digest: bytes) -> None:
        """Raise WrongContent unless this is all, and what it was at the source."""
        if not self.at == size == self.size:
            raise WrongContent(f"{self.at} bytes came of {self.size}")
        if self._hash.digest() != digest:
            raise WrongContent("what came is not what was sent: its hash is another one")

    @property
    def is_old(self) -> bool:
        """Whether the old file is what was sent, byte for byte, and nothing was written."""
        is_alike = self._old >= 0 and self._old_size == self.size
        return is_alike and self._fd < 0 and self._other is None

    def finish(
        self,
        dir_fd: int,
        mode: int,
        mtime: int,
        *,
        has_old: bool,
        dress: Optional[Callable[[int], None]] = None,
    ) -> None:
        """Give the whole file its mode, its time and its name, and close it.

        `dress` is called with its descriptor before it gets the last two.
        """
        if self.is_old:
            found = give_mode(self._old, os.fstat(self._old), mode, dress)
            os.utime(self._old, ns=(found.st_atime_ns, mtime))
            self.close()
            return
        fd = self._writable(dir_fd)
        found = os.fstat(fd)
        if found.st_size != self.size:
            os.ftruncate(fd, self.size)
        give_mode(fd, found, mode, dress)
        os.utime(fd, ns=(mtime, mtime))
        if self._options.fsync:
            os.fsync(fd)
        if not self._options.inplace:
            self._rename(dir_fd, has_old=has_old)
        self.close()

    def _rename(self, dir_fd: int, *, has_old: bool) -> None:
        if self._options.no_clobber:
            # Whoever was faster keeps what is theirs.
            os.link(self._partial, self.name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            os.unlink(self._partial, dir_fd=dir_fd)
        else:
            if self._options.backup and has_old:
                set_aside(dir_fd, self.name)
            os.rename(self._partial, self.name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        self._partial = b""
        remove_left(dir_fd, self.name)
        if self._options.fsync:
            os.fsync(dir_fd)

    def abandon(self, dir_fd: int, error: Optional[BaseException] = None) -> None:
        """Leave off. What came stays for the next time, unless it was wrong or the disk is full.

        Nor does it stay where somebody else was faster, who would have left it locked.
        """
        is_full = isinstance(error, OSError) and error.errno in _FULL
        is_worthless = isinstance(error, WrongContent) or not (self.at or self._kept)
        if self._partial and (is_full or is_worthless or self._was_overtaken(dir_fd)):
            try:
                os.unlink(self._partial, dir_fd=dir_fd)
            except OSError:
                pass  # it is in nobody's way
        self.close()

    def _was_overtaken(self, dir_fd: int) -> bool:
        """Whether a file of this size got the name after the last byte of ours came."""
        try:
            there = os.lstat(self.name, dir_fd=dir_fd)
        except OSError:
            return False
        return there.st_size == self.size and there.st_ctime_ns > os.fstat(self._fd).st_mtime_ns

    def close(self) -> None:
        """Let go of the descriptors, and with them of the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._other is not None:
            os.close(self._other.fd)
            self._other = None
        self._close_old()

    def _close_old(self) -> None:
        if self._old >= 0:
            os.close(self._old)
            self._old = -1
