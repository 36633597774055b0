"""All jobs of a server, running and kept, and the answers to what their owners ask.

A job is a command that belongs to an identity and not to a channel: callbacks move its output to
its log on the disk, which always has room or drops. Its end is that of the kind `process`. A
channel of the kind `job` is one question and its answer. What happens to the channel, or to its
session, changes nothing for the job, and a kill that was asked for goes on without its asker.

Nothing is on the disk, and nothing locked, before the first question. What a job is, is known
here as long as the server lives; the records on the disk are for the next one. An identity
reaches its own jobs only: another's and none are refused in the same words. A name is one running
job's; a new job may have the name of one that has ended, and takes its place once it has started.

Hazard: a start waits for its turn at the spawner. Its place among the running ones is taken
before that, and given back if it is cancelled; then nothing was started and nothing stays.

Hazard: the clock may jump years ahead, by a mistake that is corrected an hour later, and what
seems old then is not. A job goes when the clock has called it too old for a while, by the count
of this process; one that ended in the clock's future goes first when there are too many.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rshell.aio import Changes
from rshell.channels.base import Context, Work, answer_request, send_list
from rshell.channels.job.messages import (
    JobInfo,
    JobReply,
    JobRequest,
    JobsEnd,
    LogEnd,
    encode_dropped,
    encode_output,
)
from rshell.channels.job.store import JobStore, LogReader, LogWriter, Output
from rshell.channels.process.messages import STDERR, STDIN, STDOUT
from rshell.channels.process.server import make_command
from rshell.errors import ChannelRefused, ConfigurationError, SpawnError
from rshell.execution.piped_process import PipedProcess
from rshell.execution.spawn import Command, SpawnQueue
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds, shorten_command

_NO_JOBS = (
    "jobs end with their server, and this one serves a single session. "
    "Start rshell-server on its own."
)
_CLOCK_DOUBTED = 1 / 14  # of `job_age`: so long the clock must say that a job is too old
_BLOCK = 64 * 1024  # bytes of log that are put together before they are sent
# What the audit log says of a job that has ended.
_FACTS = ["exit_status", "signal", "signal_number", "stdout", "stderr", "duration", "ended_by"]

Audit = Callable[[str, Json], None]
Key = tuple[str, str]  # identity and name


class RunningJob:
    """A job that runs, and the outlet of its own pipes: what comes goes to `log`."""

    _piped: PipedProcess

    def __init__(self, info: JobInfo, log: LogWriter, limits: Bounds) -> None:
        self.room = limits.read_block
        self._info = info
        self._log = log
        self._limits = limits
        self._ended_by = ""
        self._changes = Changes()

    async def start(self, spawner: SpawnQueue, command: Command, *, merge_stderr: bool) -> None:
        """Start the command. Raises SpawnError and OSError; cancelling leaves nothing."""
        self._piped = await PipedProcess.start(
            spawner,
            command,
            self,
            self._limits,
            inputs={STDIN: False},
            outputs={STDOUT: STDOUT, STDERR: STDOUT if merge_stderr else STDERR},
        )

    def on_end(self, callback: Callable[[JobInfo], None]) -> None:
        """Call `callback(info)` once, when all is known and everything released."""
        self._piped.on_end(partial(self._ended, callback))

    @property
    def info(self) -> JobInfo:
        """What is known of it now."""
        if self.is_over:
            return self._info
        counts, duration = self._log.counts, self._piped.duration
        return self._info.replace(duration=duration, stdout=counts[STDOUT], stderr=counts[STDERR])

    @property
    def is_over(self) -> bool:
        """Whether it has ended and its output is complete."""
        return self._info.state != "running"

    def want_room(self) -> None:
        """There always is some."""

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Keep output."""
        self._log.write(stream, data)
        self._changes.notify()

    async def wait_change(self) -> None:
        """Wait for more output or the end; returns at once when it is over. Safe to cancel."""
        if not self.is_over:
            await self._changes.wait()

    async def wait(self) -> JobInfo:
        """Wait for the end and return what is known then. Safe to cancel."""
        while not self.is_over:
            await self.wait_change()
        return self._info

    async def end(self, reason: str) -> None:
        """End it: SIGTERM, SIGKILL after the grace. `reason` is kept as `ended_by`.

        Returns when it is over. Cancelling sends the SIGKILL at once.
        """
        if self._piped.process.exit_status is None and not self._ended_by:
            self._ended_by = reason
        await self._piped.end()
        await self.wait()

    def _ended(self, callback: Callable[[JobInfo], None]) -> None:
        status = self._piped.process.exit_status
        assert status is not None
        self._log.close()
        self._info = self.info.replace(
            state="exited" if status.signal is None else "signaled",
            status=status,
            ended=time.time(),
            ended_by=self._ended_by,
            held_open=self._piped.is_held_open,
        )
        callback(self._info)
        self._changes.notify()


class Jobs:
    """The jobs in `directory`; without one there are none, and every question is refused.

    Its length is the number of those that run.
    Its methods raise ChannelRefused with the code for the peer.
    """

    def __init__(
        self, directory: Path | None, spawner: SpawnQueue, limits: Bounds, work: Work
    ) -> None:
        self._directory = directory
        self._spawner = spawner
        self._limits = limits
        self._work = work
        self._store: JobStore | None = None
        self._ended: dict[Key, JobInfo] = {}
        self._running: dict[Key, RunningJob] = {}
        self._starting: set[Key] = set()
        # When the clock was first seen to call a job too old.
        self._old_since: dict[Key, float] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

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
        count = sum(key[0] == identity for key in [*self._running, *self._starting])
        limits = self._limits
        if count >= limits.jobs_running:
            raise ChannelRefused(
                "busy", f"{count} jobs of yours run already, as many as this server allows"
            )
        self._prune(store, identity)
        if name is not None and {(identity, name)} & (self._running.keys() | self._starting):
            raise ChannelRefused("failed", f"there is a job {name!r} already, and it runs")
        try:
            name = store.create(identity, name)
        except ConfigurationError as error:
            raise ChannelRefused("failed", str(error)) from error
        info = JobInfo(name, shorten_command(shown), time.time(), "running")
        job = RunningJob(info, LogWriter(store.directory(identity, name), limits.job_log), limits)
        self._starting.add((identity, name))
        try:
            await job.start(self._spawner, command, merge_stderr=merge_stderr)
        except BaseException as error:
            store.settle(identity, name, is_new=False)
            why = str(error) or "its client left"
            audit("job-failed", {"job": name, "argv": list(command.argv), "reason": why})
            if isinstance(error, (SpawnError, OSError)):
                raise ChannelRefused("failed", f"the job can't be started: {error}") from error
            raise
        finally:
            self._starting.discard((identity, name))
        # From here on nothing waits, so a job that runs is always known.
        store.save(identity, info)
        store.settle(identity, name, is_new=True)
        self._forget(identity, name)
        audit("job-started", {"job": name, "argv": list(command.argv), "cwd": command.cwd})
        task = self._work.begin()

        def ended(info: JobInfo) -> None:
            task.end()
            del self._running[identity, info.name]
            self._ended[identity, info.name] = info
            store.save(identity, info)
            self._prune(store, identity)
            audit("job-ended", {"job": info.name} | _facts(info))

        self._running[identity, name] = job
        job.on_end(ended)
        return name

    async def end_all(self, identity: str, reason: str) -> None:
        """End an identity's jobs; see `RunningJob.end`."""
        jobs = [job for key, job in self._running.items() if key[0] == identity]
        await asyncio.gather(*(job.end(reason) for job in jobs))

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
        if self._directory is None:
            raise ChannelRefused("failed", _NO_JOBS)
        if self._store is None:
            try:
                self._store = JobStore(self._directory)
            except ConfigurationError as error:
                raise ChannelRefused("failed", str(error)) from error
            for identity, info in self._store.load():
                self._ended[identity, info.name] = info
        return self._store

    def _prune(self, store: JobStore, identity: str) -> None:
        """Remove an identity's jobs that ended too long ago, or are too many."""
        now = time.time()
        ended = [
            (info.ended or 0.0, key) for key, info in self._ended.items() if key[0] == identity
        ]
        ended.sort(key=lambda entry: (entry[0] <= now, entry))
        surplus = len(ended) - self._limits.jobs_kept
        for place, (when, key) in enumerate(ended):
            if place < surplus or self._is_too_old(key, now - when):
                self._forget(*key)
                store.remove(*key)

    def _is_too_old(self, key: Key, age: float) -> bool:
        if age < self._limits.job_age:
            self._old_since.pop(key, None)
            return False
        now = time.monotonic()
        since = self._old_since.setdefault(key, now)
        return now - since >= self._limits.job_age * _CLOCK_DOUBTED

    def _forget(self, identity: str, name: str) -> None:
        self._ended.pop((identity, name), None)
        self._old_since.pop((identity, name), None)

    # Answers.

    async def serve(self, channel: Channel, context: Context) -> None:
        """Answer one request about the jobs of `context.identity`."""
        with self._work.begin(context.session, is_command=False):
            await answer_request(channel, JobRequest, partial(self._answer, channel, context))

    async def _answer(self, channel: Channel, context: Context, request: JobRequest) -> None:
        if request.verb == "start":
            channel.accept(JobReply(await self._start(context, request)).encode())
        elif request.verb == "list":
            send_list(channel, self.list(context.identity), JobsEnd)
        else:
            assert request.name is not None
            job = self.find(context.identity, request.name)
            if request.verb == "logs":
                reader = self.read_log(context.identity, request.name)
                try:
                    channel.accept()
                    await _send_log(channel, reader, job, request.follow)
                finally:
                    reader.close()
                return
            channel.accept()
            if request.verb == "kill" and isinstance(job, RunningJob):
                context.audit("job-killed", {"job": request.name})
                context.clean_up(job.end("kill"))
            info = await job.wait() if isinstance(job, RunningJob) else job
            channel.send_message(info.encode())
        channel.close()

    async def _start(self, context: Context, request: JobRequest) -> str:
        process = request.process
        assert process is not None
        return await self.start(
            context.identity,
            make_command(context, process),
            shown=process.command or shlex.join(process.argv),
            name=request.name,
            merge_stderr=process.merge_stderr,
            audit=context.audit,
        )


def _facts(info: JobInfo) -> Json:
    values = info.encode()
    return {key: values[key] for key in _FACTS if key in values}


async def _send_log(
    channel: Channel, reader: LogReader, job: JobInfo | RunningJob, follow: bool
) -> None:
    """Send what is kept, and what comes if `follow`, then how the job stands, and close.

    Without `follow` a job that writes on and on is sent as it stood at the beginning.
    """
    running = job if isinstance(job, RunningJob) else None
    info = job.info if isinstance(job, RunningJob) else job
    before = None
    if running is not None and not follow:
        before = (info.stdout or 0) + (info.stderr or 0)
    sent = 0
    while True:
        # Asked before reading: what is there once a job is over is all there will be.
        is_over = running is None or running.is_over
        while block := _read_block(reader, before):
            await channel.write(block)
            sent += len(block)
        if running is None or is_over or not follow:
            break
        await running.wait_change()
    if running is not None and follow:
        info = running.info
    if info.state != "running" and info.stdout is not None and info.stderr is not None:
        for piece in reader.missing({STDOUT: info.stdout, STDERR: info.stderr}):
            await channel.write(block := _encode(piece))
            sent += len(block)
    channel.send_message(LogEnd(sent, info).encode())
    channel.close()


def _read_block(reader: LogReader, before: int | None) -> bytes:
    block = bytearray()
    while len(block) < _BLOCK and (piece := reader.read(before)) is not None:
        block += _encode(piece)
    return bytes(block)


def _encode(piece: Output) -> bytes:
    gap = encode_dropped(piece.stream, piece.dropped) if piece.dropped else b""
    return gap + (encode_output(piece.stream, piece.data) if piece.data else b"")
