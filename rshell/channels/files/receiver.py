"""The end that gets the files: it says what it wants, checks what comes, and puts it in place.

Records come in the order of the walk, and are dealt with one by one. What the other end says is
believed in nothing that matters: names stay in their directory, lengths are bounded by what was
announced, and a file counts once its hash is right. What can't be done for one file is told and the
rest goes on; what makes no sense ends the channel.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Optional

from rshell.channels.files.arrivals import Arrivals
from rshell.channels.files.attributes import open_plain, path_of
from rshell.channels.files.disk import is_same_link, make_hard_link, make_link, set_link_time
from rshell.channels.files.lines import Peer
from rshell.channels.files.messages import FileAttributes, TransferOptions
from rshell.channels.files.places import Place, Places
from rshell.channels.files.progress import TransferTotals, count_note
from rshell.channels.files.records import (
    ATTRIBUTES,
    DONE,
    END,
    ENTRY,
    FRESH,
    GONE,
    HOLE,
    LAST,
    LEAVE,
    NOTE,
    PART,
    REASON,
    RESULT,
    SAME,
    SKIP,
    SKIP_REASONS,
    Entry,
    Record,
    decode_entry,
    decode_json,
)
from rshell.channels.files.rules import Facts, check_name, final_mode, judge
from rshell.channels.files.trouble import as_trouble, ours
from rshell.errors import FileError, RemoteProtocolError
from rshell.terminal.output import printable

RECEIVER_HEARS = (ENTRY, FRESH, PART, SAME, HOLE, END, GONE, LEAVE, LAST, ATTRIBUTES, NOTE)


class Receiver:
    """Takes what the peer sends into `target`, a path relative to `cwd`. `run` does it all.

    With `agreed`, names and types of entries, nothing else may come into the target itself.
    """

    def __init__(
        self,
        peer: Peer,
        target: str,
        options: TransferOptions,
        totals: TransferTotals,
        *,
        cwd: str = "",
        umask: int = 0o022,
        agreed: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.totals = totals
        self._peer = peer
        self._agreed = agreed
        peer.keep_answers()
        self._options = options
        self._umask = umask
        self._places = Places(peer, target, cwd, options, totals, umask)
        self._arrivals = Arrivals(peer, self._places, options, totals, umask)
        self._inodes: dict[int, tuple[Place, bytes]] = {}
        self._waiting: dict[int, list[tuple[Entry, Place]]] = {}  # links of files on their way
        self._count = 0
        self._is_last = False
        self._next: Optional[FileAttributes] = None  # those of the next entry
        self._said = b""  # the last ATTRIBUTES, and what it told
        self._told = FileAttributes(0, 0)
        arrivals = self._arrivals
        self._takers: dict[int, Callable[[Record], None]] = {
            ENTRY: self._take_entry,
            FRESH: arrivals.take_fresh,
            PART: arrivals.take_part,
            SAME: arrivals.take_same,
            HOLE: arrivals.take_hole,
            END: arrivals.take_end,
            GONE: arrivals.take_gone,
            LEAVE: self._take_leave,
            LAST: self._take_last,
            ATTRIBUTES: self._take_attributes,
            NOTE: partial(count_note, totals),
        }

    def run(self) -> None:
        """Receive everything and answer it.

        Raises FileError where nothing can be put there, Stopped, and RemoteProtocolError.
        """
        takers = self._takers
        try:
            while not self._is_last:
                record = self._peer.receive()
                assert record is not None
                takers[record.type](record)
        except FileError as error:  # of the target itself
            self._peer.send_json(DONE, self._count, as_trouble(error, str(error.filename or "")))
            self._peer.flush()
            raise
        finally:
            self._arrivals.close()
            self._places.close()

    def _take_entry(self, record: Record) -> None:
        entry = decode_entry(record.number, record.payload)
        attributes, self._next = self._next, None
        self._count += 1
        if entry.number != self._count:
            raise RemoteProtocolError(f"the entry {entry.number} came as number {self._count}")
        if entry.parent:
            place = self._places.find(entry.parent)
        else:
            if self._agreed is not None and self._agreed.get(entry.name) != entry.type:
                name = printable(os.fsdecode(entry.name), limit=80)
                raise RemoteProtocolError(
                    f"the other end sends {name!r}, which was not agreed upon"
                )
            place = self._places.top
            entry = self._places.open_top(entry)
        if entry.name or entry.parent or entry.type != b"d":
            check_name(entry.name)
        if self._options.delete:
            place.names.add(entry.name)
        try:
            if entry.type == b"d":
                self._offered_directory(entry, place)
            elif place.missing == "failed":
                self._skip(entry, "lost-parent")
            elif entry.type == b"f":
                self._offered_file(entry, place, attributes)
            else:
                self._offered_link(entry, place, attributes)
        except OSError as error:
            self._fail(entry, place, error)

    def _old(self, entry: Entry, place: Place) -> Optional[Facts]:
        """Return what is to be replaced by a file or link. Raises OSError for what can't be."""
        old = self._places.old(entry, place)
        if old is not None and old.type == b"d":
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if old is not None and not old.type and not self._options.no_clobber:
            # To replace /dev/null would harm the whole machine.
            raise OSError(errno.EEXIST, "a device, socket or named pipe has its name")
        return old

    def _offered_file(
        self, entry: Entry, place: Place, attributes: Optional[FileAttributes] = None
    ) -> None:
        old = self._old(entry, place)
        inode: int = entry.more.get("inode", 0)
        ended = None
        if type(inode) is not int:
            raise RemoteProtocolError("an ENTRY holds what no file has")
        if inode and not self._options.dry_run:
            if inode in self._inodes:
                if inode in self._waiting:
                    place.pending += 1
                    self._waiting[inode].append((entry, place))
                else:
                    self._make_hard_link(entry, place, inode)
                return
            self._inodes[inode] = place, entry.name
            ended = partial(self._file_ended, inode)
        verdict = judge(entry, old, self._options)
        if verdict == "want" and self._options.dry_run:
            verdict = "would-send"
        if verdict == "want":
            if ended is not None:
                self._waiting[inode] = []
            self._arrivals.ask(entry, place, old, ended)
            return
        if verdict == "same" and old is not None and not self._options.dry_run:
            mode = final_mode(entry, old, self._options, self._umask)
            if mode != old.mode or attributes is not None:
                self._dress(entry, place, mode, attributes)
        elif inode:
            self._inodes.pop(inode, None)  # what is there is another file
        self._skip(entry, verdict)
        self.totals.skip(partial(place.shown, entry.name), entry.size, verdict)

    def _offered_directory(self, entry: Entry, place: Place) -> None:
        is_new = self._places.enter(entry, place) if entry.name else self._places.enter_top(entry)
        if place.missing == "failed":
            self._skip(entry, "lost-parent")
        elif is_new and self._options.dry_run:
            self._skip(entry, "would-send")
            self.totals.skip(partial(place.shown, entry.name), 0, "would-send")
        elif is_new:
            self._peer.send(RESULT, entry.number)
            self.totals.done(partial(place.shown, entry.name))
        else:
            self._skip(entry, "same")

    def _dress(
        self, entry: Entry, place: Place, mode: int, attributes: Optional[FileAttributes]
    ) -> None:
        """Give a file that stays its mode, and its owner and attributes."""
        with open_plain(self._places.fd(place), entry.name) as where:
            if attributes is None:
                os.chmod(where, mode)
            else:
                self._places.attributes.apply(where, attributes, place.path(entry.name), mode)

    def _offered_link(
        self, entry: Entry, place: Place, attributes: Optional[FileAttributes]
    ) -> None:
        target = entry.more.get("target")
        if not isinstance(target, str) or not target or "\0" in target:
            raise RemoteProtocolError("a symbolic link has no target")
        old = self._old(entry, place)
        verdict = judge(entry, old, self._options)
        raw = os.fsencode(target)
        if verdict == "want" and old is not None:
            fd = self._places.fd(place)
            if is_same_link(fd, entry.name, raw, old):
                verdict = "same"
                if old.mtime != entry.mtime and not self._options.dry_run:
                    set_link_time(fd, entry)
        if verdict == "want" and self._options.dry_run:
            verdict = "would-send"
        if verdict == "want":
            make_link(self._places.fd(place), entry, raw, old, backup=self._options.backup)
        if attributes is not None and verdict in ("want", "same") and not self._options.dry_run:
            path = path_of(self._places.fd(place), entry.name)
            shown = place.path(entry.name)
            self._places.attributes.apply(path, attributes, shown, follow=False)
        if verdict == "want":
            self._peer.send(RESULT, entry.number)
            self.totals.done(partial(place.shown, entry.name))
            return
        self._skip(entry, verdict)
        self.totals.skip(partial(place.shown, entry.name), entry.size, verdict)

    def _skip(self, entry: Entry, why: str) -> None:
        self._peer.send(SKIP, entry.number, REASON.pack(SKIP_REASONS.index(why)))

    def _fail(self, entry: Entry, place: Place, error: OSError) -> None:
        self._peer.send_json(RESULT, entry.number, as_trouble(error))
        self.totals.fail(ours(error, place.path(entry.name)))

    # Hard links: names of a file that has come already, or is on its way.

    def _file_ended(self, inode: int, ok: bool) -> None:
        waiting = self._waiting.pop(inode)
        if not ok:
            del self._inodes[inode]  # the next name of it is sent as a file
        for entry, place in waiting:
            try:
                self._offered_file(entry, place)
            except OSError as error:
                self._fail(entry, place, error)
            self._places.let_go(place)

    def _make_hard_link(self, entry: Entry, place: Place, inode: int) -> None:
        first, name = self._inodes[inode]
        source = os.dup(self._places.fd(first))
        try:
            make_hard_link(source, name, self._places.fd(place), entry.name)
        finally:
            os.close(source)
        self._peer.send(RESULT, entry.number)
        self.totals.sent(partial(place.shown, entry.name), entry.size)

    # The rest.

    def _take_leave(self, record: Record) -> None:
        self._places.leave(record.number, whole=bool(record.payload[0]))

    def _take_last(self, record: Record) -> None:
        is_all = self._places.are_left and not self._arrivals and not self._waiting
        if record.number != self._count or not is_all:
            raise RemoteProtocolError("the other end stopped in the middle")
        self._places.finish_top()
        self._peer.send(DONE, self._count)
        self._peer.flush()
        self._is_last = True

    def _take_attributes(self, record: Record) -> None:
        if not self._options.attributes:
            raise RemoteProtocolError("the other end sends attributes that nobody asked for")
        if record.payload != self._said:  # most are as those before them
            self._said = bytes(record.payload)
            self._told = FileAttributes.decode(decode_json(record))
        attributes = self._told
        if record.number == self._count + 1:
            self._next = attributes
        elif not self._places.dress(record.number, attributes, len(record.payload)):
            self._arrivals.take_attributes(record, attributes)
