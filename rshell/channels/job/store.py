"""The jobs of a server on its disk: a private directory for each, with a record and its output.

    jobs/lock                       held by the server that keeps jobs here
    jobs/IDENTITY/NAME/job.json     what is known of a job, replaced as a whole
    jobs/IDENTITY/NAME/stdout.0     its output (see `log`)

Strategy: a directory is made before the command starts, so two jobs can't share a name. IDENTITY
is a hash, so that no identity's spelling meets the file system. The lock is the kernel's and
goes with its process, so whoever holds it knows that a record which says "running" and is not
its own is of a server that died: that job is lost.

Hazards:
- Records are not synced to the disk. A power cut may leave one unreadable; such a directory
  is left alone, with a line in the log.
- Loading reads every record at once, at the first question: some 100 us for each job.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rshell.channels.job.messages import JobInfo, JobRecord
from rshell.errors import ConfigurationError, RemoteProtocolError
from rshell.security.files import private_directory, read_private, write_private
from rshell.values import is_name

_log = logging.getLogger("rshell.server")

_RECORD = "job.json"
_FIRST = "amber brisk calm clear early gentle golden green happy keen lucky quick quiet silver"
_SECOND = "beaver crane falcon fox hare heron lynx marten otter owl raven robin seal swift wren"
_TRIES = 20  # before a number is put behind the words


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

        Raises FileExistsError for a name that is taken, ConfigurationError.
        """
        if name is not None:
            self._make(identity, name)
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

    def save(self, identity: str, info: JobInfo) -> None:
        """Write what is known of a job. A failure is logged: the server knows it still."""
        record = JobRecord(identity, info)
        path = self.directory(identity, info.name) / _RECORD
        try:
            write_private(path, record.to_bytes(), durable=False)
        except ConfigurationError as error:
            _log.error("the record of a job is not written: %s", error)

    def remove(self, identity: str, name: str) -> None:
        """Remove a job with its output. Harmless when it is gone."""
        shutil.rmtree(self.directory(identity, name), ignore_errors=True)

    def _make(self, identity: str, name: str) -> None:
        directory = self.directory(identity, name)
        private_directory(directory.parent)
        try:
            directory.mkdir(0o700)
        except FileExistsError:
            raise
        except OSError as error:
            raise ConfigurationError(f"can't make {directory}: {error.strerror}.") from error
