"""What is said while files travel, and what it amounts to at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from rshell.channels.files.messages import FileNote, FileTrouble
from rshell.channels.files.records import REASON, SKIP, SKIP_REASONS, Record, decode_json, unpack
from rshell.channels.files.trouble import from_trouble
from rshell.errors import FileError, RemoteProtocolError
from rshell.values import frozen

LARGE = 4 * 1024 * 1024  # bytes; such a file is worth a line of its own
_KEPT = 1000  # failures; the others are counted


@frozen
class FileEvent:
    """Something that befell one file.

    `what` is "begun", "sent", "made" (a directory or link), "skipped", "would-send", "deleted",
    "special" or "failed". `why` is the reason of a skip, `error` that of a failure. `size` is the
    file's size in bytes.
    """

    what: str
    path: str
    size: int = 0
    why: str = ""
    error: Optional[FileError] = None


class TransferTotals:
    """What was done: it grows while files travel, and is whole at the end.

    `files` counts those that were sent, `bytes` their sizes, `moved` the bytes of them that had to
    travel, `at` those of the present file that are done, of its `size`. `made` counts directories
    and links, `skipped` what was left as it is, `deleted` what was removed.

    `tell` is called with each event; of what went well, only with that of a file of `told_from`
    bytes or more.
    """

    def __init__(
        self, tell: Optional[Callable[[FileEvent], object]] = None, told_from: int = 0
    ) -> None:
        self.files = self.bytes = self.moved = 0
        self.made = self.skipped = self.deleted = self.failed = 0
        self.path, self.at, self.size = "", 0, 0
        self.failures: list[FileError] = []
        self._tell = tell
        # An event for each of many small files costs a tenth of copying it.
        self._told_from = told_from

    def __repr__(self) -> str:
        shown = ("files", "bytes", "moved", "made", "skipped", "deleted", "failed")
        return f"TransferTotals({', '.join(f'{name}={getattr(self, name)}' for name in shown)})"

    def add(self, other: TransferTotals) -> None:
        """Count what another transfer did as well."""
        for name in ("files", "bytes", "moved", "made", "skipped", "deleted", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures

    def begun(self, path: Callable[[], str], size: int) -> None:
        """A file's bytes begin to travel."""
        self.at, self.size = 0, size
        if size >= LARGE:
            self.path = path()
            if size >= self._told_from:
                self._say(FileEvent("begun", self.path, size))

    def sent(self, path: Callable[[], str], size: int) -> None:
        """A file is whole at the other end."""
        self.files += 1
        self.bytes += size
        self.at = self.size = 0
        if self._tell is not None and size >= self._told_from:
            self._say(FileEvent("sent", path(), size))

    def done(self, path: Callable[[], str]) -> None:
        """A directory or link is there."""
        self.made += 1
        if self._tell is not None and not self._told_from:
            self._say(FileEvent("made", path()))

    def skip(self, path: Callable[[], str], size: int, why: str) -> None:
        """A file stays as it is."""
        self.skipped += 1
        if self._tell is not None and size >= self._told_from:
            what = "would-send" if why == "would-send" else "skipped"
            self._say(FileEvent(what, path(), size, why))

    def note(self, what: str, path: str) -> None:
        """Something was deleted, or is too special to be sent."""
        if what == "deleted":
            self.deleted += 1
        else:
            self.skipped += 1
        self._say(FileEvent(what, path))

    def fail(self, error: FileError) -> None:
        """Something could not be done."""
        self.failed += 1
        if len(self.failures) < _KEPT:
            self.failures.append(error)
        self._say(FileEvent("failed", str(error.filename or ""), error=error))

    def _say(self, event: FileEvent) -> None:
        if self._tell is not None:
            self._tell(event)


def count_note(totals: TransferTotals, record: Record) -> None:
    """Count what a NOTE tells of. Raises RemoteProtocolError."""
    note = FileNote.decode(decode_json(record))
    if note.what == "failed":
        totals.fail(from_trouble(note))
    else:
        totals.note(note.what, note.path)


def count_answer(
    totals: TransferTotals, record: Record, path: Callable[[], str], kind: bytes, size: int
) -> None:
    """Count a SKIP or RESULT for an entry of this `kind` and size. Raises RemoteProtocolError."""
    if record.type == SKIP:
        (reason,) = unpack(REASON, record)
        if reason >= len(SKIP_REASONS):
            raise RemoteProtocolError(f"a SKIP with the reason {reason}")
        why = SKIP_REASONS[reason]
        if why == "would-send" or (why != "lost-parent" and kind != b"d"):
            totals.skip(path, size, why)
    elif record.payload:
        totals.fail(from_trouble(FileTrouble.decode(decode_json(record)), path()))
    elif kind == b"f":
        totals.sent(path, size)
    else:
        totals.done(path)
