"""The files whose bytes the receiver wants, from the question to the name they get.

One file's bytes come at a time. A small file is kept until its hash was found right, and written
in one go; a large one is written as it comes. Of large ones, blocks that are there already are
looked up first, for a few files at once: that holds descriptors and memory.
"""

from __future__ import annotations

import errno
import hashlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Optional, Union

from rshell.channels.files.lines import Peer
from rshell.channels.files.messages import FileAttributes, FileTrouble, TransferOptions
from rshell.channels.files.places import Place, Places
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.records import (
    END_BODY,
    FACTS,
    LENGTH,
    PIECE,
    RESULT,
    WANT,
    Entry,
    Payload,
    Record,
    decode_json,
    unpack,
)
from rshell.channels.files.rules import Facts, final_mode
from rshell.channels.files.small import SmallFiles
from rshell.channels.files.trouble import as_trouble, from_trouble, ours
from rshell.channels.files.writing import Writing, WrongContent
from rshell.errors import RemoteProtocolError

_STARTS = 3  # times that the bytes of a file may begin


class Arrival:
    """A file whose bytes are wanted. `ended(ok)` is called at its end."""

    __slots__ = (
        "attributes",
        "data",
        "ended",
        "entry",
        "has_failed",
        "is_searched",
        "old",
        "place",
        "starts",
        "writing",
    )

    def __init__(
        self,
        entry: Entry,
        place: Place,
        old: Optional[Facts],
        ended: Optional[Callable[[bool], None]],
    ) -> None:
        self.entry = entry
        self.place = place
        self.old = old
        self.ended = ended
        self.attributes: Optional[FileAttributes] = None
        self.data: Optional[Payload] = None  # the whole of a small one
        self.writing: Optional[Writing] = None
        self.is_searched = False
        self.has_failed = False
        self.starts = 0

    def path(self) -> str:
        """Return its path for people."""
        return self.place.shown(self.entry.name)


class Arrivals:
    """All of them."""

    def __init__(
        self,
        peer: Peer,
        places: Places,
        options: TransferOptions,
        totals: TransferTotals,
        umask: int,
    ) -> None:
        self._peer = peer
        self._limits = peer.limits
        self._places = places
        self._options = options
        self._totals = totals
        self._umask = umask
        self._small = SmallFiles(options)
        self._files: dict[int, Arrival] = {}
        self._searches: deque[Arrival] = deque()
        self._searched = 0
        self._current: Optional[Arrival] = None

    def __len__(self) -> int:
        return len(self._files)

    def ask(
        self,
        entry: Entry,
        place: Place,
        old: Optional[Facts],
        ended: Optional[Callable[[bool], None]] = None,
    ) -> None:
        """Ask for a file's bytes, now or when there is room. `ended` is told how it went."""
        if len(self._files) >= self._limits.files_wanted:
            raise RemoteProtocolError("more files were offered than may wait for their bytes")
        file = Arrival(entry, place, old, ended)
        self._files[entry.number] = file
        place.pending += 1
        is_plain = old is not None and old.type == b"f"
        if (entry.size <= PIECE and not (is_plain and self._options.checksum)) or place.old is None:
            self._peer.send(WANT, entry.number)
        else:
            self._searches.append(file)
            self._search()

    def _search(self) -> None:
        while self._searches and self._searched < self._limits.files_searched:
            file = self._searches.popleft()
            file.is_searched = True
            self._searched += 1
            is_plain = file.old is not None and file.old.type == b"f"
            self._peer.flush()
            try:
                writing = self._begin(file)
                blocks = writing.find_blocks(self._places.fd(file.place), has_old=is_plain)
            except (OSError, WrongContent) as error:
                self._give_up(file, error)
                self._forget(file)
            else:
                self._peer.send(WANT, file.entry.number, b"" if blocks is None else blocks.encode())

    def _begin(self, file: Arrival) -> Writing:
        entry = file.entry
        file.writing = Writing(entry.name, entry.size, self._options, self._peer.look)
        return file.writing

    # What comes.

    def _find(self, record: Record) -> Arrival:
        file = self._files.get(record.number)
        if file is None or self._current not in (None, file):
            raise RemoteProtocolError(f"bytes of the entry {record.number} were not due")
        if self._current is None:
            self._current = file
            self._totals.begun(file.path, file.entry.size)
        return file

    def take_fresh(self, record: Record) -> None:
        """The source is another one than was announced, or has changed."""
        file = self._find(record)
        mode, mtime, size = unpack(FACTS, record)
        file.starts += 1
        if file.starts > _STARTS or mode > 0o7777 or size >= 2**63:
            raise RemoteProtocolError(f"the entry {record.number} began anew, and makes no sense")
        file.entry = file.entry._replace(mode=mode, mtime=mtime, size=size)
        file.data = None
        self._totals.at, self._totals.size = 0, size
        if file.writing is not None:
            file.writing.begin_anew(size)

    def take_part(self, record: Record) -> None:
        """Take bytes."""
        file, data = self._find(record), record.payload
        self._totals.moved += len(data)
        self._totals.at += len(data)
        if file.has_failed:
            return
        if file.writing is None and file.data is None and len(data) == file.entry.size:
            file.data = data
        else:
            self._write(file, Writing.write, data)

    def take_attributes(self, record: Record, attributes: FileAttributes) -> None:
        """Take what belongs to the file whose bytes come next."""
        self._find(record).attributes = attributes

    def take_same(self, record: Record) -> None:
        """Take bytes that are here already."""
        self._take_gap(record, Writing.skip_same)

    def take_hole(self, record: Record) -> None:
        """Take zeros."""
        self._take_gap(record, Writing.skip_hole)

    def _take_gap(self, record: Record, method: Callable[[Writing, int, int], None]) -> None:
        file = self._find(record)
        (length,) = unpack(LENGTH, record)
        if not file.has_failed:
            self._write(file, method, length)
        self._totals.at += length

    def _write(self, file: Arrival, method: Callable[..., None], what: Any) -> None:
        try:
            fd = self._places.fd(file.place)
            writing = file.writing or self._begin(file)
            if file.data is not None:
                data, file.data = file.data, None
                writing.write(fd, data)
            method(writing, fd, what)
        except (OSError, WrongContent) as error:
            self._give_up(file, error)

    def take_end(self, record: Record) -> None:
        """Take the length and the hash of a file, and put it in its place."""
        file = self._find(record)
        size, digest = unpack(END_BODY, record)
        if not file.has_failed:
            try:
                self._finish(file, size, digest)
            except (OSError, WrongContent) as error:
                self._give_up(file, error)
            else:
                self._peer.send(RESULT, record.number)
                self._totals.sent(file.path, size)
        self._forget(file)

    def _finish(self, file: Arrival, size: int, digest: bytes) -> None:
        entry, fd = file.entry, self._places.fd(file.place)
        mode = final_mode(entry, file.old, self._options, self._umask)
        dress = None
        if file.attributes is not None:
            dress = partial(self._dress, file, file.attributes, mode)
        if file.writing is None:
            data = file.data or b""
            if len(data) != size or size != entry.size:
                raise WrongContent(f"{len(data)} bytes came of {entry.size}")
            if hashlib.sha256(data).digest() != digest:
                raise WrongContent("what came is not what was sent: its hash is another one")
            is_fresh = file.place.old is None
            if self._small.write(fd, entry.name, data, mode, entry.mtime, dress, is_fresh=is_fresh):
                return
            if data:
                self._begin(file).write(fd, data)
        writing = file.writing or self._begin(file)
        if not writing.is_begun:
            writing.write(fd, b"")
        writing.check_whole(size, digest)
        writing.finish(fd, mode, entry.mtime, has_old=file.old is not None, dress=dress)

    def _dress(self, file: Arrival, attributes: FileAttributes, mode: int, fd: int) -> None:
        path = file.place.path(file.entry.name)
        self._places.attributes.apply(fd, attributes, path, mode)

    def take_gone(self, record: Record) -> None:
        """The sender gives a file up."""
        file = self._find(record)
        trouble = FileTrouble.decode(decode_json(record))
        if not file.has_failed:
            file.has_failed = True
            self._abandon(file, None)
            self._totals.fail(from_trouble(trouble, file.path()))
        self._forget(file)

    # Ends.

    def _give_up(self, file: Arrival, error: Union[OSError, WrongContent]) -> None:
        """Tell that a file failed; what still comes of it, up to its end, is thrown away."""
        file.has_failed = True
        file.data = None
        if isinstance(error, WrongContent):
            said = OSError(errno.EBADMSG, str(error))
        else:
            said = error
        self._peer.send_json(RESULT, file.entry.number, as_trouble(said))
        self._peer.flush()
        self._totals.fail(ours(said, file.place.path(file.entry.name)))
        self._abandon(file, error)

    def _abandon(self, file: Arrival, error: Optional[BaseException]) -> None:
        if file.writing is None:
            return
        try:
            file.writing.abandon(self._places.fd(file.place), error)
        except OSError:
            file.writing.close()  # its directory is gone

    def _forget(self, file: Arrival) -> None:
        del self._files[file.entry.number]
        self._searched -= file.is_searched
        if self._current is file:
            self._current = None
        if file.ended is not None:
            file.ended(not file.has_failed)
        self._places.let_go(file.place)
        self._search()

    def close(self) -> None:
        """Leave off; what came of files that are not whole stays for the next time."""
        self._small.close()
        for file in self._files.values():
            self._abandon(file, None)
