"""Single steps on a disk, each by the descriptor of its directory and never through a link."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from typing import Optional

from rshell.channels.files.records import Entry
from rshell.channels.files.rules import Facts, partial_name

_KINDS = {stat.S_IFREG: b"f", stat.S_IFDIR: b"d", stat.S_IFLNK: b"l"}


def facts_of(dir_fd: int, name: bytes) -> Optional[Facts]:
    """Return what has this name, None where nothing has. Raises OSError."""
    try:
        found = os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    return facts(found)


def facts(found: os.stat_result) -> Facts:
    """Return what counts of what the system says of a file."""
    mode = found.st_mode
    kind = _KINDS.get(stat.S_IFMT(mode), b"")
    return Facts(kind, stat.S_IMODE(mode), found.st_mtime_ns, found.st_size)


def is_same_link(dir_fd: int, name: bytes, target: bytes, old: Optional[Facts]) -> bool:
    """Whether there is a symbolic link that leads to `target`."""
    if old is None or old.type != b"l":
        return False
    return os.readlink(name, dir_fd=dir_fd) == target


def make_link(
    dir_fd: int, entry: Entry, target: bytes, old: Optional[Facts], *, backup: bool
) -> None:
    """Make a symbolic link, in the place of what is there."""
    name = entry.name
    if old is None:
        os.symlink(target, name, dir_fd=dir_fd)
    else:
        if backup:
            set_aside(dir_fd, name)
        other = partial_name(name, secrets.token_hex(4).encode())
        os.symlink(target, other, dir_fd=dir_fd)
        os.rename(other, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    set_link_time(dir_fd, entry)


def set_link_time(dir_fd: int, entry: Entry) -> None:
    """Give a symbolic link the time of its entry."""
    times = (entry.mtime, entry.mtime)
    os.utime(entry.name, ns=times, dir_fd=dir_fd, follow_symlinks=False)


def make_hard_link(source_fd: int, source: bytes, dir_fd: int, name: bytes) -> None:
    """Give a file a second name, in the place of what has it."""
    other = partial_name(name, secrets.token_hex(4).encode())
    os.link(source, other, src_dir_fd=source_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    os.rename(other, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    if facts_of(dir_fd, other) is not None:  # both were one file already
        os.unlink(other, dir_fd=dir_fd)


def set_aside(dir_fd: int, name: bytes) -> None:
    """Keep what has this name as NAME~ as well, in the place of what was that."""
    make_hard_link(dir_fd, name, dir_fd, name + b"~")


def remove(dir_fd: int, name: bytes, check: Callable[[], None]) -> None:
    """Remove a file, or a directory and all in it. `check` may raise in between."""
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except IsADirectoryError:
        pass
    except PermissionError:  # what some systems say of a directory
        if not stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode):
            raise
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    levels = [(os.open(name, flags, dir_fd=dir_fd), name)]
    try:
        while levels:
            check()
            fd, own = levels[-1]
            for below in map(os.fsencode, os.listdir(fd)):
                if stat.S_ISDIR(os.lstat(below, dir_fd=fd).st_mode):
                    levels.append((os.open(below, flags, dir_fd=fd), below))
                    break
                os.unlink(below, dir_fd=fd)
            else:
                levels.pop()
                os.close(fd)
                os.rmdir(own, dir_fd=levels[-1][0] if levels else dir_fd)
    finally:
        for fd, _ in levels:
            os.close(fd)


def current_umask() -> int:
    """Return the umask of this process. But on Linux it can't be asked for without setting it."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def give_mode(
    fd: int, found: os.stat_result, mode: int, dress: Optional[Callable[[int], None]]
) -> os.stat_result:
    """Give a file what `dress` gives, and its mode, which may change with an owner."""
    if dress is not None:
        dress(fd)
        found = os.fstat(fd)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(fd, mode)
    return found
