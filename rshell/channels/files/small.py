"""Small files at the receiver, each written in one go once its hash was found right.

In a directory that was made for the same transfer, and so holds no partial files, one has no name
before it is whole, where the system has such files (open(2), O_TMPFILE): that takes fewer calls,
and leaves nothing behind. Elsewhere it is a partial file for a moment (partial.py).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Optional

from rshell.channels.files.disk import give_mode
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.partial import OPEN, is_ours
from rshell.channels.files.records import Payload
from rshell.channels.files.rules import partial_name


class SmallFiles:
    """Writes files of a transfer that came whole and were checked already."""

    def __init__(self, options: TransferOptions) -> None:
        self._is_allowed = not (
            options.inplace or options.backup or options.no_clobber or options.fsync
        )
        self._may_be_unnamed = hasattr(os, "O_TMPFILE")

    def write(
        self,
        dir_fd: int,
        name: bytes,
        data: Payload,
        mode: int,
        mtime: int,
        dress: Optional[Callable[[int], None]] = None,
        *,
        is_fresh: bool = False,
    ) -> bool:
        """Write a file; False where the long way has to be taken. `is_fresh` is its directory."""
        if not self._is_allowed:
            return False
        first = mode & 0o777 if dress is None else 0o600
        fd = self._open_unnamed(dir_fd, first) if is_fresh else -1
        if fd >= 0:
            try:
                _fill(fd, os.fstat(fd), data, mode, mtime, dress)
                if self._name(fd, dir_fd, name):
                    return True
            finally:
                os.close(fd)
        partial = partial_name(name)
        try:
            fd = os.open(partial, os.O_CREAT | os.O_EXCL | OPEN, first, dir_fd=dir_fd)
        except FileExistsError:
            return False
        try:
            found = os.fstat(fd)
            if not is_ours(fd, partial, dir_fd, found):
                return False
            _fill(fd, found, data, mode, mtime, dress)
            os.rename(partial, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError:
            os.unlink(partial, dir_fd=dir_fd)
            raise
        finally:
            os.close(fd)
        return True

    def _open_unnamed(self, dir_fd: int, mode: int) -> int:
        if not self._may_be_unnamed:
            return -1
        try:
            return os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=dir_fd)
        except OSError:  # a file system that has none, or what a named one will meet as well
            self._may_be_unnamed = False
            return -1

    def _name(self, fd: int, dir_fd: int, name: bytes) -> bool:
        """Give an open file its name, unless that is taken."""
        try:
            os.link(b"/proc/self/fd/%d" % fd, name, dst_dir_fd=dir_fd, follow_symlinks=True)
        except FileExistsError:
            pass
        except OSError:  # no /proc
            self._may_be_unnamed = False
        else:
            return True
        return False


def _fill(
    fd: int,
    found: os.stat_result,
    data: Payload,
    mode: int,
    mtime: int,
    dress: Optional[Callable[[int], None]],
) -> None:
    """Give an empty file all that it is to have but its name."""
    if data and os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    give_mode(fd, found, mode, dress)
    os.utime(fd, ns=(mtime, mtime))
