"""The audit log: who logged in, from where, what was run, and how many were turned away.

One JSON object a line. JSON escapes every control character, so no name or command can forge a
line or move a reader's terminal. The file is opened for appending, mode 0600, and each line is one
write. A line that would be very long has its longest texts cut.

The file is looked at once a second, when there is something to write: where its name leads
elsewhere, because somebody moved it away, a new one is begun. A full one is renamed to `.1`, the
one before to `.2`, and so on; the oldest goes. One identity may write so much a second, and
strangers may fail so often a minute; what is beyond that is counted instead, with everybody who was
turned away, in one line a minute.

Hazard: an audit line that can't be written must not stop the work of those who are logged in, nor
go unnoticed: the first failure is logged, and the number of lost lines with the next success.

Hazard: a full disk takes a part of a line, and what is appended to it later would make one
unreadable line of two. The next line then begins with a newline, also where an earlier server left
the part.

Hazard: several servers may append to one file (`--stdio`), and only one of them may rename it. They
take a lock on it, and whoever finds then that the name leads elsewhere has nothing left to do.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rshell.errors import ConfigurationError
from rshell.protocol.codec import Json
from rshell.protocol.flow import Allowance
from rshell.values import Bounds

_log = logging.getLogger("rshell.server")

_LOOK = 1.0  # seconds between two looks at where the file's name leads
_LONG = 16 * 1024  # bytes of a line that is not cut
_TEXT = 1_000  # characters that are kept of a text in a longer one
_ITEMS = 64  # and items of a list
_BURST = 16  # seconds' worth that an identity may write at once
_NAMES = 1_000  # of those turned away, counted one by one in a minute
_SHOWN = 5  # of them, in the line
_FAILURES = 60  # failed logins that have a line of their own at once, and so many a minute


class AuditLog:
    """Appends lines to `path`; None keeps no log. Raises ConfigurationError if it can't.

    `on_drop(identity)` is called for each line that is beyond the share of an identity.
    """

    def __init__(self, path: Path | None, limits: Bounds | None = None) -> None:
        self.on_drop: Callable[[str], None] = lambda identity: None
        self._limits = limits or Bounds()
        self._path = path
        self._fd = -1
        self._size = 0
        self._is_torn = False  # the file ends in the middle of a line
        self._looked = 0.0
        self._trouble = ""
        self._lost = 0
        self._shares: dict[str, Allowance] = {}
        if path is not None:
            try:
                self._open(path)
            except OSError as error:
                raise ConfigurationError(
                    f"can't write the audit log {path}: {error.strerror}. "
                    "Free the path, or choose another --state directory."
                ) from error

    def write(self, event: str, facts: Json) -> None:
        """Append one line: the time (UTC), the event, and its facts."""
        if self._fd < 0:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        record: Json = {"time": stamp, "event": event} | facts
        if self._lost:
            record["lines_lost_before"] = self._lost
        line = json.dumps(record)
        if len(line) > _LONG:
            line = json.dumps(_shorten(record))
        moment = time.monotonic()
        if not self._is_within_share(facts, len(line) + 1, moment):
            return
        if moment - self._looked >= _LOOK:
            self._look(moment)
        if self._size + len(line) >= self._limits.audit_size and self._size:
            self._rotate()
        self._append(line.encode("ascii") + b"\n")

    def reopen(self) -> None:
        """Follow the name of the file at once, after somebody has moved it away."""
        if self._fd >= 0:
            self._look(time.monotonic())

    def close(self) -> None:
        """Close the file. Does nothing when it is closed."""
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                os.close(fd)
        except OSError as error:  # a file system in a network may say only here that it is full
            _log.error("the audit log may lack its last lines: %s", error.strerror)

    def _append(self, line: bytes) -> None:
        data = b"\n" + line if self._is_torn else line
        try:
            written = os.write(self._fd, data)
            self._size += written
            if written:
                self._is_torn = not data[:written].endswith(b"\n")
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._lost = 0
        except OSError as error:
            if not self._lost:
                _log.error("can't write the audit log: %s", error.strerror)
            self._lost += 1

    def _open(self, path: Path) -> None:
        """Open the file, and put it in the place of one that is open. Raises OSError."""
        # Without O_NONBLOCK, a pipe of that name would wait here for a reader.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(path, flags, 0o600)
        try:
            status = os.fstat(fd)
            self._is_torn = bool(
                stat.S_ISREG(status.st_mode)
                and status.st_size
                and os.pread(fd, 1, status.st_size - 1) != b"\n"
            )
        except BaseException:
            os.close(fd)
            raise
        before, self._fd = self._fd, fd
        self._size = status.st_size
        if before >= 0:
            os.close(before)

    def _is_in_place(self) -> bool:
        """Whether the name still leads to the open file. Raises OSError."""
        assert self._path is not None
        ours = os.fstat(self._fd)
        self._size = ours.st_size  # others may have written, too
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _look(self, moment: float) -> None:
        self._looked = moment
        if self._path is None:
            return
        try:
            if not self._is_in_place():
                self._open(self._path)
            self._trouble = ""
        except OSError as error:  # goes on with the file that is open, and tries again
            if self._trouble != str(error):
                self._trouble = str(error)
                _log.error("the audit log goes on in a file without its name: %s", error.strerror)

    def _rotate(self) -> None:
        assert self._path is not None
        locked = self._fd
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_in_place():
                for number in range(self._limits.audit_kept, 0, -1):
                    if self._older(number - 1).exists():
                        self._older(number - 1).replace(self._older(number))
                self._path.unlink(missing_ok=True)  # where none are kept
            self._open(self._path)  # which lets go of the lock
        except BlockingIOError:
            pass  # another server is at it
        except OSError as error:
            _log.error("the audit log is full and can't be moved away: %s", error.strerror)
            self._size = 0  # not again before the next look, and as much
            if self._fd == locked:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(locked, fcntl.LOCK_UN)

    def _older(self, number: int) -> Path:
        assert self._path is not None
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _is_within_share(self, facts: Json, size: int, now: float) -> bool:
        identity = facts.get("identity")
        if not isinstance(identity, str):
            return True
        share = self._shares.get(identity)
        if share is None:
            for name in [name for name, other in self._shares.items() if other.is_full(now)]:
                del self._shares[name]
            rate = self._limits.audit_each
            share = self._shares[identity] = Allowance(_BURST * rate, rate, now)
        if share.take(size, now):
            return True
        self.on_drop(identity)
        return False


def _shorten(value: object) -> object:
    """Return a value of JSON with long texts and lists cut, which say so."""
    if isinstance(value, str) and len(value) > _TEXT:
        return f"{value[:_TEXT]}... ({len(value)} characters)"
    if isinstance(value, list):
        rest = [f"... ({len(value)} items)"] if len(value) > _ITEMS else []
        return [_shorten(item) for item in value[:_ITEMS]] + rest
    if isinstance(value, dict):
        return {key: _shorten(item) for key, item in value.items()}
    return value


class Refusals:
    """Counts who is turned away, and why, and writes what came to `audit` once in a while.

    `total` has all since the server began, by reason. The reasons are those of docs/security.md;
    shares that were used up go by the name of their limit.
    """

    def __init__(self, audit: AuditLog, seconds: float) -> None:
        self.total: Counter[str] = Counter()
        self._audit = audit
        self._seconds = seconds
        self._recent: Counter[str] = Counter()
        self._who: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._failures = Allowance(_FAILURES, _FAILURES / 60, self._loop.time())
        audit.on_drop = lambda identity: self.count("audit_each", identity)

    def count(self, reason: str, who: str) -> None:
        """Count one; `who` is an address or an identity."""
        self.total[reason] += 1
        self._recent[reason] += 1
        if who in self._who or len(self._who) < _NAMES:
            self._who[who] += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._write)

    def note(self, event: str, who: str, facts: Json) -> None:
        """Count one that also has a line of its own, unless there are too many."""
        self.count(event, who)
        if self._failures.take(1, self._loop.time()):
            self._audit.write(event, facts)

    def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()

    def _write(self) -> None:
        self._timer = None
        most = dict(self._who.most_common(_SHOWN))
        self._audit.write("turned-away", {"reasons": dict(self._recent), "most": most})
        self._recent.clear()
        self._who.clear()
