"""The jobs of a server on its disk: a private directory for each, with a record and its output.

    jobs/lock                       held by the server that keeps jobs here
    jobs/IDENTITY/NAME/job.json     what is known of a job, replaced as a whole
    jobs/IDENTITY/NAME/stdout.0     its output, and stdout.1, stderr.0 and so on

A directory is made before the command starts. What a directory of that name holds, a job that has
ended or the rest of one without a record, is put aside as `.NAME` until the new one has started.
IDENTITY is a hash: no identity's spelling meets the file system. The lock is the kernel's and goes
with its process. A server that holds it knows that a record which says "running" and is not its own
is of a server that died: that job is lost.

Output is bounded, in order of arrival, and true about what was dropped. Each stream has files of
its own, of which the newest two are kept: a flood on one stream pushes nothing of the other out. A
file is a series of records: how many bytes of both streams came before (which puts the two back
in order), how many bytes of this stream came before (which shows whatever is missing as a gap), a
length, and the bytes. The bound counts the records' heads too.

Hazards:
- Records of jobs are not synced to the disk. A power cut may leave one unreadable, a full disk
  none; such a directory is left alone, with a line in the log, until a job of its name is started.
- Loading reads every record at once, at the first question: some 100 us for each job.
- Writer and readers of output belong to one thread: a reader that finds nothing of lower order
  knows that there is none. A writer's record is one `writev`; after a crash the last one may be
  torn, and a reader takes it for the end.
- Output goes to the page cache and is not synced: a block of at most 240 KiB costs the loop some
  tens of microseconds. What the kernel has yet to write out is bounded by the files' size, and
  throttles us only where many jobs flood a machine of little memory.
- On a full disk output is dropped and counted; the job goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rshell.channels.job.messages import JobInfo, JobRecord
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.errors import ConfigurationError, RemoteProtocolError
from rshell.security.files import private_directory, read_private, write_private
from rshell.values import is_name

_log = logging.getLogger("rshell.server")

_RECORD = "job.json"
_FIRST = "amber brisk calm clear early gentle golden green happy keen lucky quick quiet silver"
_SECOND = "beaver crane falcon fox hare heron lynx marten otter owl raven robin seal swift wren"
_TRIES = 20  # before a number is put behind the words

_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_HEAD = struct.Struct(">QQI")
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class JobStore:
    """The directory `root`, made and locked at once, until `close`.

    Raises ConfigurationError if it is unusable or another server holds it.
    """

    def __init__(self, root: Path) -> None:
        self._root = private_directory(root)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._lock = os.open(self._root / "lock", flags, 0o600)
        except OSError as error:
            raise ConfigurationError(f"can't keep jobs in {root}: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ConfigurationError(
                f"another server keeps its jobs in {root}. Give this one a --state of its own."
            ) from error

    def close(self) -> None:
        """Let another server have the directory."""
        os.close(self._lock)

    def load(self) -> Iterator[tuple[str, JobInfo]]:
        """Yield (identity, job) for each job that is kept; those that ran have become lost."""
        for aside in self._root.glob("*/.*"):  # a server died in the middle of a start
            directory = aside.parent / aside.name[1:]
            self._settle(directory, is_new=(directory / _RECORD).exists())
        for path in sorted(self._root.glob(f"*/*/{_RECORD}")):
            try:
                record = JobRecord.from_bytes(read_private(path))
                info, identity = record.info, record.identity
                if self.directory(identity, info.name) != path.parent:
                    raise RemoteProtocolError("it is the record of another job")
            except (OSError, ConfigurationError, RemoteProtocolError) as error:
                _log.warning("the job in %s is left alone: %s", path.parent, error)
                continue
            if info.state == "running":
                info = info.replace(state="lost", ended=time.time())
                self.save(identity, info)
            yield identity, info

    def directory(self, identity: str, name: str) -> Path:
        """Return the directory of a job, which need not be there."""
        if not is_name(name):
            raise ValueError(f"not a job's name: {name!r}")
        digest = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()
        return self._root / digest[:32] / name

    def create(self, identity: str, name: str | None) -> str:
        """Make the directory of a new job and return its name, a fresh one without `name`.

        What has that `name` is put aside; `settle` must follow. Raises ConfigurationError, and then
        nothing is put aside.
        """
        if name is not None:
            directory = self.directory(identity, name)
            try:
                if directory.exists():
                    shutil.rmtree(_aside(directory), ignore_errors=True)
                    directory.rename(_aside(directory))
            except OSError as error:
                raise ConfigurationError(f"can't replace {directory}: {error.strerror}.") from error
            try:
                self._make(identity, name)
            except ConfigurationError:
                self._settle(directory, is_new=False)
                raise
            return name
        tries = 0
        while True:
            tries += 1
            words = secrets.choice(_FIRST.split()), secrets.choice(_SECOND.split())
            number = f"-{secrets.randbelow(10**6)}" if tries > _TRIES else ""
            try:
                self._make(identity, "-".join(words) + number)
            except FileExistsError:
                continue
            return "-".join(words) + number

    def settle(self, identity: str, name: str, *, is_new: bool) -> None:
        """Remove what `create` put aside; unless `is_new`, put it back in the new one's place."""
        self._settle(self.directory(identity, name), is_new)

    def save(self, identity: str, info: JobInfo) -> None:
        """Write what is known of a job. A failure is logged: the server knows it still."""
        record = JobRecord(identity, info)
        path = self.directory(identity, info.name) / _RECORD
        try:
            write_private(path, record.to_bytes(), durable=False)
        except ConfigurationError as error:
            _log.error("the record of a job is not written: %s", error)

    def remove(self, identity: str, name: str) -> None:
        """Remove a job with its output, if it is there."""
        shutil.rmtree(self.directory(identity, name), ignore_errors=True)

    def _settle(self, directory: Path, is_new: bool) -> None:
        aside = _aside(directory)
        if is_new and directory.exists():
            shutil.rmtree(aside, ignore_errors=True)
            return
        shutil.rmtree(directory, ignore_errors=True)
        try:
            aside.rename(directory)
        except FileNotFoundError:
            pass  # the name was free
        except OSError as error:
            _log.error("the job in %s is not put back: %s", directory, error)

    def _make(self, identity: str, name: str) -> None:
        directory = self.directory(identity, name)
        private_directory(directory.parent)
        try:
            directory.mkdir(0o700)
        except FileExistsError:
            raise
        except OSError as error:
            raise ConfigurationError(f"can't make {directory}: {error.strerror}.") from error


def _aside(directory: Path) -> Path:
    """Return where a job of the same name waits; no name begins with a dot."""
    return directory.with_name(f".{directory.name}")


class Output(NamedTuple):
    """A piece of a log: `data` of a stream, and how many bytes before it were dropped."""

    stream: int
    data: bytes
    dropped: int


class LogWriter:
    """Writes both streams of one job into its private `directory`, at most `limit` bytes for each.

    `counts` has the bytes of each stream so far, kept or not. Never raises for the disk's sake.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.counts = {STDOUT: 0, STDERR: 0}
        self._directory = directory
        self._half = max(limit // 2, _HEAD.size + 1)
        self._fds = {STDOUT: -1, STDERR: -1}
        self._numbers = {STDOUT: -1, STDERR: -1}
        self._sizes = {STDOUT: 0, STDERR: 0}
        self._complained = False

    def write(self, stream: int, data: bytes) -> None:
        """Append output of a stream. Blocks for as long as the page cache takes."""
        most = self._half - _HEAD.size
        for start in range(0, len(data), most):
            piece = data[start : start + most]
            try:
                self._append(stream, piece)
            except OSError as error:
                self._complain(error)
            self.counts[stream] += len(piece)

    def close(self) -> None:
        """Close the files. May be called again."""
        for stream in self._fds:
            self._close(stream)

    def _append(self, stream: int, piece: bytes) -> None:
        size = _HEAD.size + len(piece)
        if self._fds[stream] < 0 or self._sizes[stream] + size > self._half:
            self._rotate(stream)
        head = _HEAD.pack(sum(self.counts.values()), self.counts[stream], len(piece))
        fd = self._fds[stream]
        written = -1
        try:
            written = os.writev(fd, (head, piece))
        finally:
            if 0 <= written < size:
                os.ftruncate(fd, self._sizes[stream])  # the disk is full: no half of a record
        if written == size:
            self._sizes[stream] += size
        else:
            raise OSError("no space left for all of it")

    def _rotate(self, stream: int) -> None:
        number = self._numbers[stream] + 1
        fd = os.open(self._directory / f"{_NAMES[stream]}.{number}", _WRITE, 0o600)
        self._close(stream)
        self._fds[stream], self._numbers[stream], self._sizes[stream] = fd, number, 0
        (self._directory / f"{_NAMES[stream]}.{number - 2}").unlink(missing_ok=True)

    def _close(self, stream: int) -> None:
        """Close a stream's file. The number is free afterwards even where this fails."""
        fd, self._fds[stream] = self._fds[stream], -1
        try:
            if fd >= 0:
                os.close(fd)  # a file system in a network may first say here that it is full
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.error("output of the job in %s is dropped: %s", self._directory, error)


class LogReader:
    """Reads what is kept of a job's output, in order of arrival, while it may still grow.

    It stays with that job: another one that takes the name is not read.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._directory = os.open(directory, _READ | os.O_DIRECTORY)
        except FileNotFoundError:
            self._directory = -1  # too old, and removed meanwhile
        self._cursors = [_Cursor(self._directory, STDOUT), _Cursor(self._directory, STDERR)]

    def read(self, before: int | None = None) -> Output | None:
        """Return the next piece, None when there is none now; call again when there may be.

        `before` leaves out what came after that many bytes of both streams. Raises OSError.
        """
        found = [cursor for cursor in self._cursors if cursor.look()]
        if not found:
            return None
        first = min(found, key=lambda cursor: cursor.order)
        return first.take() if before is None or first.order < before else None

    def missing(self, counts: dict[int, int]) -> list[Output]:
        """Return what is missing at the end of streams of so many bytes, as pieces without data."""
        gaps = [(c.stream, counts[c.stream] - c.offset) for c in self._cursors]
        return [Output(stream, b"", gap) for stream, gap in gaps if gap > 0]

    def close(self) -> None:
        """Close the files. May be called again."""
        for cursor in self._cursors:
            cursor.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


class _Cursor:
    """A place in one stream's files. `offset` is what the reader was given or told of.

    `directory` is the reader's descriptor of where they are, -1 where there is nothing.
    """

    def __init__(self, directory: int, stream: int) -> None:
        self.stream = stream
        self.offset = 0
        self.order = 0  # of the record that `look` has found
        self._directory = directory
        self._fd = -1
        self._number = -1
        self._place = 0
        self._next: tuple[int, int] | None = None  # its offset and length

    def look(self) -> bool:
        """Find the next whole record; False when there is none now."""
        while self._next is None:
            if self._fd >= 0:
                head = os.pread(self._fd, _HEAD.size, self._place)
                if len(head) == _HEAD.size:
                    self.order, offset, length = _HEAD.unpack(head)
                    if self._place + _HEAD.size + length <= os.fstat(self._fd).st_size:
                        self._next = offset, length
                        return True
            later = self._later()
            if later is None:
                return False
            self._open(later)
        return True

    def take(self) -> Output:
        """Return the record that `look` has found."""
        assert self._next is not None
        offset, length = self._next
        data = os.pread(self._fd, length, self._place + _HEAD.size)
        dropped = max(0, offset - self.offset)
        self._place += _HEAD.size + length
        self.offset = offset + length
        self._next = None
        return Output(self.stream, data, dropped)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _later(self) -> int | None:
        """Return the number of the next file that is there."""
        if self._directory < 0:
            return None
        prefix = f"{_NAMES[self.stream]}."
        names = os.listdir(self._directory)  # noqa: PTH208 - a descriptor's
        numbers = (int(name[len(prefix) :]) for name in names if name.startswith(prefix))
        return min((number for number in numbers if number > self._number), default=None)

    def _open(self, number: int) -> None:
        fd = os.open(f"{_NAMES[self.stream]}.{number}", _READ, dir_fd=self._directory)
        self.close()
        self._fd, self._number, self._place = fd, number, 0
