"""Directories by descriptor: nothing below the first one is ever reached through a symbolic link.

A `Directory` knows its parent and its name there. Its descriptor is opened when it is used, from
the parent's, and may be closed again when many are open: a tree may be deep, and descriptors are
few. A part that somebody replaced by a link meanwhile can't be opened.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Optional

_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(path: bytes, *, dir_fd: Optional[int] = None, flags: int = 0) -> int:
    """Open a directory to reach what is in it. Raises OSError.

    One that may be entered and not read will do, on Linux; it can't be listed.
    """
    try:
        return os.open(path, os.O_RDONLY | _DIRECTORY | flags, dir_fd=dir_fd)
    except PermissionError:
        if not hasattr(os, "O_PATH"):
            raise
        return os.open(path, os.O_PATH | _DIRECTORY | flags, dir_fd=dir_fd)


class Directory:
    """A directory of a tree, known by its `parent` and its `name` there; None is the root's."""

    __slots__ = ("name", "parent")

    def __init__(self, parent: Optional[Directory], name: bytes) -> None:
        self.parent = parent
        self.name = name

    def path(self, name: bytes = b"") -> bytes:
        """Return the path of `name` in here, for people, as seen from the root."""
        parts = [name] if name else []
        at: Optional[Directory] = self
        while at is not None:
            if at.name:
                parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))


class Directories:
    """The descriptors of directories below one root, whose own is `root`'s and owned here.

    `most` are open at once, besides that one.
    """

    def __init__(self, root: Directory, fd: int, most: int) -> None:
        self._most = most
        self._root = root
        self._fd = fd
        self._open: OrderedDict[Directory, int] = OrderedDict()

    def fd(self, directory: Directory) -> int:
        """Return an open descriptor, good until the next call. Raises OSError."""
        if directory is self._root:
            return self._fd
        found = self._open.get(directory)
        if found is not None:
            self._open.move_to_end(directory)
            return found
        missing = []
        at: Optional[Directory] = directory
        while at is not None and at is not self._root and at not in self._open:
            missing.append(at)
            at = at.parent
        fd = self._fd if at is None or at is self._root else self._open[at]
        for below in reversed(missing):
            fd = open_directory(below.name, dir_fd=fd, flags=os.O_NOFOLLOW)
            self._open[below] = fd
            if len(self._open) > self._most:
                os.close(self._open.popitem(last=False)[1])
        return fd

    def forget(self, directory: Directory) -> None:
        """Close a directory that is done with."""
        fd = self._open.pop(directory, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close all of them, the root too."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
