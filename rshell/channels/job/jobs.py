"""All jobs of a server, running and kept, by identity and name.

Strategy: nothing is on the disk, and nothing locked, before the first question about jobs. What
a job is, is known here as long as the server lives; the records on the disk are for the next
one. An identity reaches its own jobs only: another's and none are refused in the same words.

Hazard: a start waits for its turn at the spawner. Its place among the running ones is taken
before that, and given back if it is cancelled; then nothing was started and nothing stays.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rshell.channels.base import Work
from rshell.channels.job.log import LogReader, LogWriter
from rshell.channels.job.messages import JobInfo
from rshell.channels.job.running_job import RunningJob
from rshell.channels.job.store import JobStore
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.errors import ChannelRefused, ConfigurationError, SpawnError
from rshell.execution.pipes import output_pipe
from rshell.execution.spawn import Command
from rshell.execution.spawn_queue import SpawnQueue
from rshell.protocol.codec import Json
from rshell.values import Bounds, shorten_command

# What the audit log says of a job that has ended.
_FACTS = ["exit_status", "signal", "signal_number", "stdout", "stderr", "duration", "ended_by"]

Audit = Callable[[str, Json], None]
Key = tuple[str, str]  # identity and name


class Jobs:
    """The jobs in `directory`. Its methods raise ChannelRefused with the code for the peer."""

    def __init__(self, directory: Path, spawner: SpawnQueue, limits: Bounds, work: Work) -> None:
        self._directory = directory
        self._spawner = spawner
        self._limits = limits
        self._work = work
        self._store: JobStore | None = None
        self._ended: dict[Key, JobInfo] = {}
        self._running: dict[Key, RunningJob] = {}
        self._starting: Counter[str] = Counter()
        self._closed = False

    def list(self, identity: str) -> list[JobInfo]:
        """Return an identity's jobs, the oldest first."""
        self._prune(self._load(), identity)
        infos = [info for key, info in self._ended.items() if key[0] == identity]
        infos += [job.info for key, job in self._running.items() if key[0] == identity]
        return sorted(infos, key=lambda info: info.started)

    def find(self, identity: str, name: str) -> JobInfo | RunningJob:
        """Return a job: what is known of one that has ended, or the running one itself."""
        self._load()
        found = self._running.get((identity, name)) or self._ended.get((identity, name))
        if found is None:
            raise ChannelRefused("unknown-job", f"there is no job {name!r} of yours here")
        return found

    def read_log(self, identity: str, name: str) -> LogReader:
        """Return a reader of what is kept of a job's output; the caller closes it."""
        return LogReader(self._load().directory(identity, name))

    async def start(
        self,
        identity: str,
        command: Command,
        *,
        shown: str,
        name: str | None,
        merge_stderr: bool,
        audit: Audit,
    ) -> str:
        """Start a command and return its name; `shown` is what listings say of it.

        Cancelling before the command has started leaves nothing.
        """
        store = self._load()
        count = sum(key[0] == identity for key in self._running) + self._starting[identity]
        if count >= self._limits.jobs_running:
            raise ChannelRefused(
                "busy", f"{count} jobs of yours run already, as many as this server allows"
            )
        self._prune(store, identity)
        try:
            name = store.create(identity, name)
        except FileExistsError as error:
            raise ChannelRefused("failed", f"there is a job {name!r} already") from error
        except ConfigurationError as error:
            raise ChannelRefused("failed", str(error)) from error
        self._starting[identity] += 1
        try:
            info = JobInfo(name, shorten_command(shown), time.time(), "running")
            job = await self._spawn(store, identity, info, command, merge_stderr, audit)
        except BaseException:
            store.remove(identity, name)
            raise
        finally:
            self._starting[identity] -= 1
        if not job.is_over:
            self._running[identity, name] = job
        audit("job-started", {"job": name, "argv": list(command.argv), "cwd": command.cwd})
        return name

    async def close(self) -> None:
        """End every job and record how; nothing more is started. For the server's end."""
        self._closed = True
        while self._running:
            jobs = list(self._running.values())
            await asyncio.gather(*(job.end("shutdown") for job in jobs))
        if self._store is not None:
            self._store.close()
            self._store = None

    def _load(self) -> JobStore:
        if self._closed:
            raise ChannelRefused("failed", "the server is shutting down")
        if self._store is None:
            try:
                self._store = JobStore(self._directory)
            except ConfigurationError as error:
                raise ChannelRefused("failed", str(error)) from error
            for identity, info in self._store.load():
                self._ended[identity, info.name] = info
        return self._store

    async def _spawn(
        self,
        store: JobStore,
        identity: str,
        info: JobInfo,
        command: Command,
        merge_stderr: bool,
        audit: Audit,
    ) -> RunningJob:
        ours: dict[int, int] = {}
        theirs: list[int] = []
        try:
            theirs.append(os.open(os.devnull, os.O_RDONLY))
            for stream in (STDOUT,) if merge_stderr else (STDOUT, STDERR):
                ours[stream], end = output_pipe()
                theirs.append(end)
            process = await self._spawner.spawn(
                command, stdin=theirs[0], stdout=theirs[1], stderr=theirs[-1]
            )
        except BaseException as error:
            for fd in ours.values():
                os.close(fd)
            if isinstance(error, (SpawnError, OSError)):
                raise ChannelRefused("failed", f"the job can't be started: {error}") from error
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        # From here on nothing waits, so a job that runs is always known.
        store.save(identity, info)
        log = LogWriter(store.directory(identity, info.name), self._limits.job_log)

        task = self._work.begin()

        def ended(info: JobInfo) -> None:
            task.end()
            self._running.pop((identity, info.name), None)
            self._ended[identity, info.name] = info
            store.save(identity, info)
            self._prune(store, identity)
            audit("job-ended", {"job": info.name} | _facts(info))

        return RunningJob(info, process, ours, log, self._limits, ended)

    def _prune(self, store: JobStore, identity: str) -> None:
        """Remove an identity's jobs that ended too long ago, or are too many."""
        ended = [
            (info.ended or 0.0, key) for key, info in self._ended.items() if key[0] == identity
        ]
        ended.sort()
        surplus = len(ended) - self._limits.jobs_kept
        oldest = time.time() - self._limits.job_age
        for place, (when, key) in enumerate(ended):
            if place < surplus or when < oldest:
                del self._ended[key]
                store.remove(*key)


def _facts(info: JobInfo) -> Json:
    values = info.encode()
    return {key: values[key] for key in _FACTS if key in values}
