"""The end that has the files: it walks them, offers them, and sends what the other end wants.

Entries go ahead of the answers, up to a number, and the bytes of files follow as they are wanted:
no file waits for a round trip of its own. Each entry is answered once, by WANT, SKIP or RESULT;
what was wanted is answered again, by RESULT, unless it was GONE. `_open` holds those that still
wait for an answer, so its size is what bounds both ends.

Hazard: a symbolic link is read as a link, and a directory is never entered through one, except for
a source that was named itself and stands for a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Optional, Union

from rshell.channels.files.attributes import AttributesSender
from rshell.channels.files.lines import Peer
from rshell.channels.files.messages import FileNote, FileTrouble, TransferOptions
from rshell.channels.files.progress import TransferTotals, count_answer, count_note
from rshell.channels.files.reading import (
    Pin,
    open_source,
    send_open,
    send_small,
    stat_source,
)
from rshell.channels.files.records import (
    DONE,
    GONE,
    LAST,
    LEAVE,
    NOTE,
    RESULT,
    SKIP,
    WANT,
    Entry,
    Record,
    decode_json,
    encode_entry,
)
from rshell.channels.files.rules import Blocks, is_whole_directory
from rshell.channels.files.tree import Directories, Directory, open_directory
from rshell.channels.files.trouble import as_note, as_trouble, from_trouble, ours
from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json

_AT_ONCE = 64  # entries before the next look at the answers
SENDER_HEARS = (WANT, SKIP, RESULT, DONE, NOTE)


class _Offered:
    """An entry that was sent, and where it is: `name` in a directory of `tree`.

    `blocks` are those that the receiver has, once it `is_wanted`.
    """

    __slots__ = ("blocks", "directory", "entry", "is_wanted", "name", "pin", "tree")

    def __init__(self, entry: Entry, tree: Directories, directory: Directory, name: bytes) -> None:
        self.entry = entry
        self.tree = tree
        self.directory = directory
        self.name = name
        self.blocks: Optional[Blocks] = None
        self.is_wanted = False
        self.pin: Optional[Pin] = None

    def path(self) -> str:
        return os.fsdecode(self.directory.path(self.entry.name))


class _Level:
    """A directory on the way of a walk; `names` are still to come, the next one last."""

    def __init__(self, directory: Directory, index: int, names: list[bytes], whole: bool) -> None:
        self.directory = directory
        self.index = index
        self.names = names
        self.whole = whole


class Sender:
    """Sends the files and trees at `sources` (paths, relative to `cwd`). `run` does it all.

    Those that `pinned` holds are sent under the name that they have there, and not if they are
    another file or directory by now.
    """

    def __init__(
        self,
        peer: Peer,
        sources: Sequence[str],
        options: TransferOptions,
        totals: TransferTotals,
        cwd: str = "",
        pinned: Optional[Mapping[str, Pin]] = None,
    ) -> None:
        self.totals = totals
        self._peer = peer
        self._limits = peer.limits
        self._sources = sources
        self._pinned = pinned or {}
        self._options = options
        self._cwd = cwd
        self._count = 0  # entries so far
        self._open: dict[int, _Offered] = {}
        self._wanted: deque[_Offered] = deque()
        self._refused: set[int] = set()  # directories that the receiver has not
        self._inodes: dict[tuple[int, int], int] = {}
        self._trees: dict[bytes, tuple[Directory, Directories]] = {}
        self._is_done = False
        self._attributes: Optional[AttributesSender] = None
        if options.attributes:
            self._attributes = AttributesSender(peer, options, self._failed)

    def run(self) -> None:
        """Send everything, and wait until the receiver is done.

        Raises FileError where the receiver can't take anything, Stopped, RemoteProtocolError.
        """
        try:
            walk = self._walk_all()
            walks = True
            while not self._is_done:
                self._hear(wait=False)
                if walks and self._may_offer():
                    walks = self._offer(walk)
                if self._wanted:
                    self._send_file(self._wanted.popleft())
                elif walks and self._may_offer():
                    continue
                elif walks or self._open:
                    self._hear(wait=True)
                else:
                    break
            if not self._is_done:
                self._peer.send(LAST, self._count)
            while not self._is_done:
                self._hear(wait=True)
        finally:
            for _, tree in self._trees.values():
                tree.close()

    # Walking.

    def _may_offer(self) -> bool:
        """Whether more entries may wait; of many sources, only once those before have ended."""
        has_room = len(self._trees) < self._limits.files_sources
        return len(self._open) < (self._limits.files_offered if has_room else 1)

    def _offer(self, walk: Iterator[Union[_Offered, _Level]]) -> bool:
        """Send the next entries; return whether there may be more."""
        for _ in range(_AT_ONCE):
            if not self._may_offer():
                return True
            item = next(walk, None)
            if item is None:
                return False
            if isinstance(item, _Level):
                self._peer.send(LEAVE, item.index, bytes((item.whole,)))
            else:
                self._open[item.entry.number] = item
                self._peer.send_raw(encode_entry(item.entry))
        return True

    def _walk_all(self) -> Iterator[Union[_Offered, _Level]]:
        alone = len(self._sources) == 1
        for source in self._sources:
            try:
                yield from self._walk_source(source, alone=alone)
            except OSError as error:
                self._failed(os.fsencode(source), error)

    def _walk_source(self, source: str, *, alone: bool) -> Iterator[Union[_Offered, _Level]]:
        path = real = os.fsencode(os.path.join(self._cwd, source))
        name = b"" if is_whole_directory(source) else os.path.basename(path)
        pin = self._pinned.get(source)
        if pin is not None:
            real = os.fsencode(pin.path)
        elif name and not self._options.recursive:
            real = os.path.realpath(path)  # whoever names a link to a file wants the file
        found = os.lstat(real) if name else os.stat(path)
        if stat.S_ISDIR(found.st_mode) and not self._options.recursive:
            raise IsADirectoryError(errno.EISDIR, "it is a directory; those need -r")
        if not name and not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        base, inside = path, b""
        if pin is not None and stat.S_ISDIR(found.st_mode):
            base = real  # what is in it is reached from here, whatever takes its name
        elif name:
            base, inside = os.path.dirname(real) or b".", os.path.basename(real)
        if base not in self._trees:
            self._close_unused()
            root = Directory(None, b"")
            self._trees[base] = (
                root,
                Directories(root, open_directory(base), self._limits.files_directories),
            )
        root, tree = self._trees[base]
        if pin is not None:
            fd = tree.fd(root)
            found = os.lstat(inside, dir_fd=fd) if inside else os.fstat(fd)
            pin.check(found)
        first = self._entry(tree, root, inside, 0, name, found, alone=alone)
        if first is not None:
            first.pin = pin
            yield first
            if first.entry.type == b"d":
                below = Directory(root, inside) if inside else root
                yield from self._walk_below(tree, below, first.entry.number)

    def _close_unused(self) -> None:
        """Close the trees of earlier sources, of which nothing is on its way, if there are many."""
        if len(self._trees) < self._limits.files_sources:
            return
        used = {id(offered.tree) for offered in self._open.values()}
        for base, (_, tree) in list(self._trees.items()):
            if id(tree) not in used:
                tree.close()
                del self._trees[base]

    def _walk_below(
        self, tree: Directories, directory: Directory, index: int
    ) -> Iterator[Union[_Offered, _Level]]:
        """Yield what is in a directory, depth first, and each directory again when it is left."""
        levels = [self._enter(tree, directory, index)]
        while levels:
            level = levels[-1]
            if not level.names or level.index in self._refused:
                self._refused.discard(level.index)
                if self._attributes is not None:
                    self._attributes.of_directory(tree, level.directory, level.index)
                yield levels.pop()
                continue
            name = level.names.pop()
            try:
                found = os.lstat(name, dir_fd=tree.fd(level.directory))
                offered = self._entry(tree, level.directory, name, level.index, name, found)
            except FileNotFoundError:
                continue  # removed since the names were read
            except OSError as error:
                self._failed(level.directory.path(name), error)
                level.whole = False
                continue
            if offered is not None:
                yield offered
                if offered.entry.type == b"d":
                    below = Directory(level.directory, name)
                    levels.append(self._enter(tree, below, offered.entry.number))

    def _enter(self, tree: Directories, directory: Directory, index: int) -> _Level:
        try:
            names = sorted(map(os.fsencode, os.listdir(tree.fd(directory))), reverse=True)
        except OSError as error:
            self._failed(directory.path(), error)
            return _Level(directory, index, [], whole=False)
        return _Level(directory, index, names, whole=True)

    def _entry(
        self,
        tree: Directories,
        directory: Directory,
        inside: bytes,
        parent: int,
        name: bytes,
        found: os.stat_result,
        *,
        alone: bool = False,
    ) -> Optional[_Offered]:
        """Return the next entry, `inside` a directory here, `name` in the `parent` there.

        None for what is not sent. Raises OSError.
        """
        mode, size = found.st_mode, 0
        more: Json = {}
        if stat.S_ISREG(mode):
            kind, size = b"f", found.st_size
            if self._options.hard_links and found.st_nlink > 1:
                key = (found.st_dev, found.st_ino)
                more["inode"] = self._inodes.setdefault(key, len(self._inodes) + 1)
        elif stat.S_ISDIR(mode):
            kind = b"d"
        elif stat.S_ISLNK(mode):
            kind = b"l"
            target = os.readlink(inside, dir_fd=tree.fd(directory))
            more["target"] = os.fsdecode(target)
        else:
            path = os.fsdecode(directory.path(name))
            self.totals.note("special", path)
            self._peer.send_note(FileNote("special", path).encode())
            return None
        if alone and kind != b"d":
            more["alone"] = True
        self._count += 1
        if self._attributes is not None and kind != b"d":
            fd, shown = tree.fd(directory), directory.path(name)
            self._attributes.of_entry(self._count, fd, inside, found, shown)
        bits = stat.S_IMODE(mode)
        entry = Entry(self._count, parent, kind, bits, found.st_mtime_ns, size, name, more)
        return _Offered(entry, tree, directory, inside)

    # Answers.

    def _hear(self, *, wait: bool) -> None:
        """Take the answers that are there; with `wait`, one at least."""
        record = self._peer.receive(wait=wait)
        while record is not None:
            self._take(record)
            record = self._peer.receive(wait=False) if not self._is_done else None

    def _take(self, record: Record) -> None:
        number = record.number
        if record.type == NOTE:
            count_note(self.totals, record)
            return
        if record.type == DONE:
            self._take_done(record)
            return
        offered = self._open.get(number)
        if offered is None:
            raise RemoteProtocolError(f"an answer for the entry {number}, which has had its answer")
        if record.type == WANT:
            if offered.entry.type != b"f" or offered.is_wanted:
                raise RemoteProtocolError(f"a WANT for the entry {number}, which has no more bytes")
            offered.blocks = Blocks.decode(record.payload, offered.entry.size)
            offered.is_wanted = True
            self._wanted.append(offered)
            return
        del self._open[number]
        entry = offered.entry
        if record.type == RESULT and record.payload and entry.type == b"d":
            self._refused.add(number)
        count_answer(self.totals, record, offered.path, entry.type, entry.size)

    def _take_done(self, record: Record) -> None:
        self._is_done = True
        if record.payload:
            raise from_trouble(FileTrouble.decode(decode_json(record)))
        if record.number != self._count or self._open:
            raise RemoteProtocolError(
                f"the other end was done with {record.number} entries of {self._count}"
            )

    # One file.

    def _send_file(self, wanted: _Offered) -> None:
        entry, attributes = wanted.entry, self._attributes
        if entry.number not in self._open:
            return  # the receiver has failed with it meanwhile
        self.totals.begun(wanted.path, entry.size)
        try:
            fd = open_source(wanted.name, wanted.tree.fd(wanted.directory))
            try:
                blocks, wanted.blocks = wanted.blocks, None
                is_plain = wanted.pin is None and attributes is None and blocks is None
                if is_plain and self._send_at_once(entry, fd):
                    return
                found = stat_source(fd)
                if wanted.pin is not None:
                    wanted.pin.check(found)
                if attributes is not None:
                    attributes.of_file(entry.number, fd, found)
                check = partial(self._check, entry.number)
                send_open(self._peer, entry, fd, found, blocks, self.totals, check)
            finally:
                os.close(fd)
        except OSError as error:
            if self._is_done:  # the receiver can't take anything any more
                raise
            self._gone(wanted, error)

    def _send_at_once(self, entry: Entry, fd: int) -> bool:
        """Send a small file without a look at what it is; False where it must be looked at."""
        try:
            return send_small(self._peer, entry, fd, self.totals)
        except OSError:
            return False

    def _check(self, index: int) -> None:
        """Take the answers that are there. Raises OSError where the receiver has failed with it."""
        self._hear(wait=False)
        if index not in self._open:
            raise OSError(errno.ECANCELED, "the other end could not take it")

    def _gone(self, wanted: _Offered, error: OSError) -> None:
        """Give a file up."""
        if self._open.pop(wanted.entry.number, None) is not None:
            self.totals.fail(ours(error, os.fsencode(wanted.path())))
        self._peer.send_json(GONE, wanted.entry.number, as_trouble(error))

    def _failed(self, path: bytes, error: OSError) -> None:
        """Tell both ends of what can't be read and so has no entry."""
        self.totals.fail(ours(error, path))
        self._peer.send_note(as_note("failed", path, error).encode())
