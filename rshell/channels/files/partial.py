"""The partial files of a name: where what comes of a file lies until it is whole.

Each is locked by whoever writes to it. There is one, and some more for others who send a file of
the same name meanwhile. One that nobody has locked was left by a run that was killed.

Hazard: a run that was killed may have its lock for a while, because a server keeps the session of a
client that has vanished. So what somebody else has locked is read, too, and what nobody needs is
removed by whoever is last: at the rename what others have left, and at the end of a run that was
given up its own, where the whole file has arrived by another one.

Hazard: the name may be a link, or be moved away at any moment. A file found under it counts only if
it is a plain one of ours with a single name, and still has that one once it is locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from typing import NamedTuple, Optional

from rshell.channels.files.rules import partial_name, partial_names

OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Partial(NamedTuple):
    """An open partial file: its descriptor, its name, and its size when it was found."""

    fd: int
    name: bytes
    size: int


def find_partial(dir_fd: int, name: bytes) -> tuple[Optional[Partial], Optional[Partial]]:
    """Return what was left of a file and is locked by us now, and what somebody else has locked.

    Of each the largest; of the latter only one that is larger than what is ours.
    """
    own: Optional[Partial] = None
    other: Optional[Partial] = None
    try:
        for is_left, found in _open_all(dir_fd, name):
            best = own if is_left else other
            if best is not None and best.size >= found.size:
                os.close(found.fd)
                continue
            if best is not None:
                os.close(best.fd)
            own, other = (found, other) if is_left else (own, found)
    except OSError:
        for kept in (own, other):
            if kept is not None:
                os.close(kept.fd)
        raise
    if own is not None and other is not None and other.size <= own.size:
        os.close(other.fd)
        other = None
    return own, other


def create_partial(dir_fd: int, name: bytes) -> Partial:
    """Return an empty partial file, locked by us. Raises OSError.

    One that was left is not emptied but replaced, because somebody may be reading it.
    """
    places = partial_names(name)
    while True:
        partial = next(places, None) or partial_name(name, secrets.token_hex(4).encode())
        fd = _create(dir_fd, partial)
        if fd < 0 and _remove(dir_fd, partial):
            fd = _create(dir_fd, partial)
        if fd >= 0 and is_ours(fd, partial, dir_fd):
            return Partial(fd, partial, 0)
        if fd >= 0:
            os.close(fd)


def _create(dir_fd: int, partial: bytes) -> int:
    try:
        return os.open(partial, OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dir_fd)
    except FileExistsError:
        return -1


def _remove(dir_fd: int, partial: bytes) -> bool:
    """Remove a partial file that nobody has locked; return whether there was one."""
    fd = _open(dir_fd, partial)
    if fd < 0:
        return False
    try:
        if not is_ours(fd, partial, dir_fd):
            return False
        os.unlink(partial, dir_fd=dir_fd)
    finally:
        os.close(fd)
    return True


def remove_left(dir_fd: int, name: bytes) -> None:
    """Remove the partial files that nobody has locked."""
    for partial in partial_names(name):
        try:
            _remove(dir_fd, partial)
        except OSError:
            pass  # it is in nobody's way


def _open_all(dir_fd: int, name: bytes) -> Iterator[tuple[bool, Partial]]:
    """Open all that are there; yield whether each is ours now, or somebody else has locked it."""
    for partial in partial_names(name):
        fd = _open(dir_fd, partial)
        if fd < 0:
            continue
        found = os.fstat(fd)
        if is_ours(fd, partial, dir_fd, found):
            yield True, Partial(fd, partial, found.st_size)
        elif _is_plain(found):
            yield False, Partial(fd, partial, found.st_size)
        else:
            os.close(fd)


def _open(dir_fd: int, partial: bytes) -> int:
    try:
        return os.open(partial, OPEN, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES, errno.ELOOP, errno.EISDIR, errno.ENXIO):
            return -1
        raise


def _is_plain(found: os.stat_result) -> bool:
    is_own = found.st_uid == os.geteuid() and found.st_nlink == 1
    return stat.S_ISREG(found.st_mode) and is_own


def is_ours(fd: int, name: bytes, dir_fd: int, found: Optional[os.stat_result] = None) -> bool:
    """Whether this is a plain file of ours, has that one name, and could be locked."""
    found = found or os.fstat(fd)
    if not _is_plain(found):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = os.lstat(name, dir_fd=dir_fd)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)
