"""Small files at the receiver, each written in one go once its hash was found right.

In a directory that was made for the same transfer, and so holds no partial files, one has no name
before it is whole, where the system has such files (open(2), O_TMPFILE): that takes fewer calls,
and leaves nothing behind. Elsewhere it is a partial file for a moment (partial.py).

Of ten thousand files, each call of the system that one does without is a hundredth of a second. So
the directory in which /proc has our descriptors is kept open, and a mode is set without a look at
the one that the umask and a default ACL have made.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Optional

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.partial import OPEN, is_ours
from rshell.channels.files.records import Payload
from rshell.channels.files.rules import partial_name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class SmallFiles:
    """Writes files of a transfer that came whole and were checked already. `close` it."""

    def __init__(self, options: TransferOptions) -> None:
        self._is_allowed = not (
            options.inplace or options.backup or options.no_clobber or options.fsync
        )
        self._may_be_unnamed = hasattr(os, "O_TMPFILE")
        self._descriptors = -1  # the directory of ours in /proc

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
                _fill(fd, data, mode, mtime, dress)
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
            if not is_ours(fd, partial, dir_fd, os.fstat(fd)):
                return False
            _fill(fd, data, mode, mtime, dress)
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
            if self._descriptors < 0:
                self._descriptors = os.open("/proc/self/fd", _DIRECTORY)
            return os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=dir_fd)
        except OSError:  # no /proc, no such files here, or what a named one will meet as well
            self._may_be_unnamed = False
            return -1

    def _name(self, fd: int, dir_fd: int, name: bytes) -> bool:
        """Give an open file its name, unless that is taken."""
        try:
            os.link(
                b"%d" % fd,
                name,
                src_dir_fd=self._descriptors,
                dst_dir_fd=dir_fd,
                follow_symlinks=True,
            )
        except FileExistsError:
            pass
        except OSError:  # a /proc of another kind
            self._may_be_unnamed = False
        else:
            return True
        return False

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptors >= 0:
            os.close(self._descriptors)
            self._descriptors = -1


def _fill(
    fd: int, data: Payload, mode: int, mtime: int, dress: Optional[Callable[[int], None]]
) -> None:
    """Give an empty file all that it is to have but its name."""
    if data and os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if dress is not None:
        dress(fd)
    os.fchmod(fd, mode)  # after an owner, which may change it
    os.utime(fd, ns=(mtime, mtime))
