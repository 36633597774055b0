"""What travels in a `job` channel (docs/protocol.md, "Kind: job").

What a server says of a job is also what it writes into the job's record on the disk: there is
one way to read it.

Hazard: a name becomes a directory's name on the server. It is checked wherever it enters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rshell.channels.process.messages import STDERR, STDOUT, ProcessRequest
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Message
from rshell.values import ExitStatus

VERBS = ("start", "list", "logs", "wait", "kill")
STATES = ("running", "exited", "signaled", "lost")

# A record of stream 0: type and length, then the bytes, or how many bytes were dropped.
_HEAD = struct.Struct(">BI")
_DROPPED = struct.Struct(">Q")
_IS_DROPPED = 0x10
_RECORD_LIMIT = 2**20


class JobRequest(Message, label="the request"):
    """What is asked of a server's jobs: one of `VERBS`.

    `name` is the job's, None for "list" and for a "start" that leaves the choice to the server.
    `process` says what to start. `follow` has the logs go on until the job ends.
    Raises LocalProtocolError for a name that no job can have.
    """

    verb: str = fields.choice(*VERBS)
    name: str | None = fields.name(default=None)
    follow: bool = fields.boolean(default=False)
    process: ProcessRequest | None = fields.merged(ProcessRequest, default=None)

    def check(self) -> None:
        """Raise LocalProtocolError for what a verb lacks, or what a job can't have."""
        fields.check_name(self.name, "a job's")
        process = self.process
        if self.verb != "start":
            if self.name is None and self.verb != "list":
                raise LocalProtocolError(f"{self.verb!r} needs the 'name' of a job")
            if process is not None:
                raise LocalProtocolError(f"{self.verb!r} starts nothing")
        elif process is None or (process.command is None and not process.argv):
            raise LocalProtocolError("'start' needs 'command' or 'argv'")
        elif process.stdin or process.terminal is not None or process.timeout is not None:
            raise LocalProtocolError("a job has no stdin, no terminal and no timeout")


class JobReply(Message, label="the reply"):
    """The reply of OPENED to "start": the job's name."""

    name: str = fields.name()


class JobInfo(Message, type="job", label="the job"):
    """A job as its server knows it.

    `state` is "running", "exited", "signaled" or "lost": its server ended without seeing the
    job's end. `status` is how it ended, None while it runs and for a lost one. `started` and
    `ended` are seconds since 1970 on the server's clock; a lost one "ended" when that was
    noticed. `duration` is in seconds, so far while it runs, None for a lost one. `stdout` and
    `stderr` count the bytes it has written, kept or not; None where that is not known.
    `ended_by` is "kill", "revoked" or "shutdown" where the end was asked for, else empty.
    `held_open` says that a background child still held the output when the command ended.
    """

    name: str = fields.name()
    command: str = fields.shown_command()
    started: float = fields.moment()
    state: str = fields.choice(*STATES)
    status: ExitStatus | None = fields.status(default=None)
    ended: float | None = fields.moment(default=None)
    duration: float | None = fields.duration(default=None)
    stdout: int | None = fields.integer(default=None)
    stderr: int | None = fields.integer(default=None)
    ended_by: str = fields.text(32, default="")
    held_open: bool = fields.boolean(default=False)

    def check(self) -> None:
        """Raise LocalProtocolError for a status that does not fit the state."""
        status = self.status
        if (status is None) != (self.state not in ("exited", "signaled")) or (
            status is not None and (status.signal is not None) != (self.state == "signaled")
        ):
            raise LocalProtocolError("the job's status does not fit its state")


class LogEnd(Message, type="end", label="the end of the log"):
    """The end of a log: how many bytes of it were sent, and how the job stands."""

    count: int = fields.integer(key="bytes")
    job: JobInfo = fields.nested(JobInfo)


class JobsEnd(Message, type="end", label="the end of the list of jobs"):
    """The end of a list of jobs: how many it held."""

    count: int = fields.integer(key="jobs")


class JobRecord(Message, label="the record"):
    """What a server's disk holds of a job."""

    identity: str = fields.text()
    info: JobInfo = fields.merged(JobInfo)


def encode_output(stream: int, data: bytes) -> bytes:
    """Return a record of stream 0 that holds output."""
    return _HEAD.pack(stream, len(data)) + data


def encode_dropped(stream: int, count: int) -> bytes:
    """Return a record of stream 0 that says that `count` bytes are not kept here."""
    return _HEAD.pack(stream | _IS_DROPPED, _DROPPED.size) + _DROPPED.pack(count)


class RecordDecoder:
    """Takes stream 0 apart again: (stream, output, bytes dropped before it)."""

    def __init__(self) -> None:
        self._kept = bytearray()

    @property
    def is_inside_record(self) -> bool:
        """Whether a part of a record is waiting for the rest."""
        return bool(self._kept)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes, int]]:
        """Yield the records that `data` completes. Raises RemoteProtocolError."""
        kept, start = self._kept, 0
        kept += data
        while len(kept) - start >= _HEAD.size:
            kind, length = _HEAD.unpack_from(kept, start)
            stream, is_dropped = kind & ~_IS_DROPPED, bool(kind & _IS_DROPPED)
            if stream not in (STDOUT, STDERR) or length > _RECORD_LIMIT:
                raise RemoteProtocolError("the log holds a record that makes no sense")
            if is_dropped and length != _DROPPED.size:
                raise RemoteProtocolError("the log holds a record of a wrong length")
            end = start + _HEAD.size + length
            if len(kept) < end:
                break
            body = bytes(kept[start + _HEAD.size : end])
            start = end
            yield (stream, b"", _DROPPED.unpack(body)[0]) if is_dropped else (stream, body, 0)
        del kept[:start]
