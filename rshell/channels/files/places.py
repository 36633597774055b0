"""The directories at the receiver: where entries go, and what is done when all of one has come.

Hazard: memory must not grow with the tree. A directory is forgotten when the sender has left it
and nothing below it is on its way; only then does it get its mode and its time, which its files
would change.

Hazard: what was not sent is removed only where the sender has read all of a directory.
"""

from __future__ import annotations

import errno
import os
from typing import Optional

from rshell.channels.files.attributes import AttributesReceiver, path_of_open
from rshell.channels.files.disk import facts, facts_of, remove
from rshell.channels.files.lines import Peer
from rshell.channels.files.messages import FileAttributes, FileNote, TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.records import Entry
from rshell.channels.files.rules import Facts, final_mode, goes_inside, without_partials
from rshell.channels.files.tree import Directories, Directory, open_directory
from rshell.channels.files.trouble import as_note, ours
from rshell.errors import NotADirectory, RemoteProtocolError


class Place(Directory):
    """A directory that entries go into.

    `old` is what it was before. `pending` counts what is not done in it, the sender's leaving
    included. `missing` is "failed" or "dry" for one that is not there: it could not be made, or
    nothing is. `names` are kept for `delete`, `attributes` until it is done; they came as
    `attributes_size` bytes.
    """

    __slots__ = (
        "attributes",
        "attributes_size",
        "depth",
        "entry",
        "missing",
        "names",
        "old",
        "parent_place",
        "pending",
        "whole",
    )

    def __init__(
        self,
        parent: Optional[Place],
        name: bytes,
        entry: Optional[Entry] = None,
        old: Optional[Facts] = None,
        missing: str = "",
    ) -> None:
        super().__init__(parent, name)
        self.parent_place = parent
        self.entry = entry
        self.old = old
        self.missing = missing
        self.pending = 1
        self.names: set[bytes] = set()
        self.attributes: Optional[FileAttributes] = None
        self.attributes_size = 0
        self.whole = True
        self.depth: int = 0 if parent is None else parent.depth + 1

    def shown(self, name: bytes = b"") -> str:
        """Return a path for people, as seen from the target."""
        return os.fsdecode(self.path(name))


class Places:
    """All directories that are not done. `top` is the target, or what it is in."""

    def __init__(
        self,
        peer: Peer,
        target: str,
        cwd: str,
        options: TransferOptions,
        totals: TransferTotals,
        umask: int,
    ) -> None:
        self.top = Place(None, b"")
        self._peer = peer
        self._limits = peer.limits
        self._target = target
        self._path = os.fsencode(os.path.join(cwd, target))
        self._options = options
        self._totals = totals
        self._umask = umask
        self._tree: Optional[Directories] = None
        self._own_name = b""  # of the one file that is sent, if it is to have another one
        self._places: dict[int, Place] = {}
        self.attributes = AttributesReceiver(peer, options, totals)
        self._attributes_size = 0

    def open_top(self, entry: Entry) -> Entry:
        """Open the target at the first entry; return the entry with the name it has there.

        Raises FileError: without a target there is nothing to do.
        """
        if self._tree is None and not self.top.missing:
            try:
                self._open(alone=entry.more.get("alone") is True)
            except OSError as error:
                raise ours(error, self._path) from error
        return entry._replace(name=self._own_name) if self._own_name and entry.name else entry

    def _open(self, *, alone: bool) -> None:
        try:
            fd = open_directory(self._path)
        except NotADirectoryError:
            fd, is_there = -1, True
        except FileNotFoundError:
            fd, is_there = -1, False
        if fd < 0 and not goes_inside(self._target, is_directory=False, alone=alone):
            base, self._own_name = os.path.split(self._path)
            fd = open_directory(base or b".")
        elif fd < 0:
            if is_there:
                raise NotADirectory(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if self._options.dry_run:
                self.top.missing = "dry"
                return
            os.mkdir(self._path)
            fd = open_directory(self._path)
            self._tree = Directories(self.top, fd, self._limits.files_directories)
            return
        self._tree = Directories(self.top, fd, self._limits.files_directories)
        self.top.old = facts(os.fstat(fd))

    def fd(self, place: Place) -> int:
        """Return the descriptor of a directory, good until the next call. Raises OSError."""
        assert self._tree is not None
        return self._tree.fd(place)

    def find(self, index: int) -> Place:
        """Return the directory that an entry names as its own. Raises RemoteProtocolError."""
        place = self._places.get(index)
        if place is None:
            raise RemoteProtocolError(f"an entry is in the directory {index}, which is not open")
        return place

    def old(self, entry: Entry, place: Place) -> Optional[Facts]:
        """Return what has the name of an entry. Raises OSError."""
        if place.missing or place.old is None:  # nothing is in a directory that we made
            return None
        return facts_of(self.fd(place), entry.name)

    @property
    def are_left(self) -> bool:
        """Whether the sender has left all of them."""
        return not self._places

    def enter_top(self, entry: Entry) -> bool:
        """Take the target itself for the directory that was sent; return whether it was made."""
        self.top.entry = entry
        self._places[entry.number] = self.top
        return self.top.old is None

    def enter(self, entry: Entry, place: Place) -> bool:
        """Make a directory, or use the one that is there; return whether it was made.

        Raises OSError; the directory counts as one that is not there then. Raises
        RemoteProtocolError for more than a walk leaves open: those within each other, and those
        that went ahead of an answer.
        """
        if len(self._places) > self._limits.files_depth + self._limits.files_wanted:
            raise RemoteProtocolError("more directories were entered than a walk leaves open")
        below = Place(place, entry.name, entry, missing="failed")
        self._places[entry.number] = below
        place.pending += 1
        if place.missing == "failed":
            return False
        if below.depth > self._limits.files_depth:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        below.old = self.old(entry, place)
        if below.old is not None and below.old.type != b"d":
            raise OSError(errno.ENOTDIR, "something else has its name")
        if below.old is None and not self._options.dry_run:
            mode = final_mode(entry, None, self._options, self._umask) & 0o777 | 0o700
            os.mkdir(entry.name, mode, dir_fd=self.fd(place))
        below.missing = "dry" if below.old is None and self._options.dry_run else ""
        return below.old is None

    def dress(self, index: int, attributes: FileAttributes, size: int) -> bool:
        """Keep the attributes of a directory, `size` bytes of JSON, until it is done.

        Returns whether this is the number of one.
        """
        place = self._places.get(index)
        if place is None:
            return False
        self._forget_attributes(place)
        if self._attributes_size + size > self._limits.files_attributes:
            error = OSError(errno.ENOMEM, "it is there without owner and attributes: too many wait")
            self.attributes.complain(place.path(), error)
            return True
        place.attributes, place.attributes_size = attributes, size
        self._attributes_size += size
        return True

    def _forget_attributes(self, place: Place) -> None:
        self._attributes_size -= place.attributes_size
        place.attributes, place.attributes_size = None, 0

    def leave(self, index: int, *, whole: bool) -> None:
        """The sender has left a directory; `whole` says that it could read all of it."""
        place = self._places.pop(index, None)
        if place is None:
            raise RemoteProtocolError(f"the entry {index} is no directory that could be left")
        place.whole = place.whole and whole
        if place is not self.top:
            self._delete_others(place)
            self.let_go(place)

    def let_go(self, place: Place) -> None:
        """One thing less is on its way in a directory; finish those that are done."""
        at: Optional[Place] = place
        while at is not None and at is not self.top:
            at.pending -= 1
            if at.pending:
                return
            self._finish(at)
            if self._tree is not None:
                self._tree.forget(at)
            at = at.parent_place

    def finish_top(self) -> None:
        """Everything has come."""
        if self.top.entry is not None:
            self._delete_others(self.top)
            self._finish(self.top)

    def _finish(self, place: Place) -> None:
        entry, attributes = place.entry, place.attributes
        self._forget_attributes(place)
        if entry is None or place.missing or self._options.dry_run:
            return
        try:
            fd = self.fd(place)
            mode = final_mode(entry, place.old, self._options, self._umask)
            if attributes is not None:
                self.attributes.apply(path_of_open(fd), attributes, place.path(), mode)
            before = place.old.mode if place.old is not None else (mode | 0o700) & ~self._umask
            if before & 0o7777 != mode and attributes is None:
                os.fchmod(fd, mode)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        except OSError as error:
            self._note_failed(place.path(), error)

    def _delete_others(self, place: Place) -> None:
        if not self._options.delete or not place.whole or place.missing or place.old is None:
            return
        try:
            others = set(map(os.fsencode, os.listdir(self.fd(place)))) - place.names
        except OSError as error:
            self._note_failed(place.path(), error)
            return
        for name in sorted(without_partials(others, place.names)):
            try:
                if not self._options.dry_run:
                    remove(self.fd(place), name, self._peer.look)
            except OSError as error:
                self._note_failed(place.path(name), error)
                continue
            self._peer.send_note(FileNote("deleted", place.shown(name)).encode())
            self._totals.note("deleted", place.shown(name))

    def _note_failed(self, path: bytes, error: OSError) -> None:
        self._peer.send_note(as_note("failed", path, error).encode())
        self._totals.fail(ours(error, path))

    def close(self) -> None:
        """Close all descriptors."""
        if self._tree is not None:
            self._tree.close()
