"""What travels in a `job` channel (docs/protocol.md, "Kind: job").

Strategy: both ends use the same classes. What a server says of a job is also what it writes
into the job's record on the disk, so there is one way to read it.

Hazard: a name becomes a directory's name on the server. It is checked wherever it enters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rshell.channels.process.messages import (
    STDERR,
    STDOUT,
    ProcessRequest,
    decode_duration,
    decode_status,
    decode_time,
    encode_status,
)
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Body, Json
from rshell.values import COMMAND_SHOWN, NAME_RULE, ExitStatus, is_name, shorten_command

VERBS = ("start", "list", "logs", "wait", "kill")
STATES = ("running", "exited", "signaled", "lost")

_COUNT_LIMIT = 2**63

# A record of stream 0: type and length, then the bytes, or how many bytes were dropped.
_HEAD = struct.Struct(">BI")
_DROPPED = struct.Struct(">Q")
_IS_DROPPED = 0x10
_RECORD_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What is asked of a server's jobs: one of `VERBS`.

    `name` is the job's, None for "list" and for a "start" that leaves the choice to the server.
    `process` says what to start. `follow` has the logs go on until the job ends.
    Raises LocalProtocolError for a name that no job can have.
    """

    verb: str
    name: str | None = None
    follow: bool = False
    process: ProcessRequest | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not is_name(self.name):
            raise LocalProtocolError(f"not a job's name: {self.name!r}. {NAME_RULE}")

    def encode(self) -> Json:
        """Return the JSON object of OPEN."""
        values: Json = {} if self.process is None else self.process.encode()
        values["verb"] = self.verb
        if self.name is not None:
            values["name"] = self.name
        if self.follow:
            values["follow"] = True
        return values

    @classmethod
    def decode(cls, values: Json) -> JobRequest:
        """Read the JSON object of OPEN. Raises RemoteProtocolError, which refuses the channel."""
        body = Body("the request", values)
        verb, name = body.text("verb", limit=32), body.optional_text("name")
        if verb not in VERBS:
            raise RemoteProtocolError(f"no verb {verb!r}; there are {', '.join(VERBS)}")
        if name is None and verb not in ("start", "list"):
            raise RemoteProtocolError(f"{verb!r} needs the 'name' of a job")
        process = None
        if verb == "start":
            process = ProcessRequest.decode(values)
            if process.command is None and not process.argv:
                raise RemoteProtocolError("'start' needs 'command' or 'argv'")
            if process.stdin or process.terminal is not None or process.timeout is not None:
                raise RemoteProtocolError("a job has no stdin, no terminal and no timeout")
        try:
            return cls(verb, name, body.boolean("follow"), process)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from error


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as its server knows it.

    `state` is "running", "exited", "signaled" or "lost": its server ended without seeing the
    job's end. `status` is how it ended, None while it runs and for a lost one. `started` and
    `ended` are seconds since 1970 on the server's clock; a lost one "ended" when that was
    noticed. `duration` is in seconds, so far while it runs, None for a lost one. `stdout` and
    `stderr` count the bytes it has written, kept or not; None where that is not known.
    `ended_by` is "kill" or "shutdown" where the end was asked for, else empty. `held_open` says
    that a background child still held the output when the command ended.
    """

    name: str
    command: str
    started: float
    state: str = "running"
    status: ExitStatus | None = None
    ended: float | None = None
    duration: float | None = None
    stdout: int | None = None
    stderr: int | None = None
    ended_by: str = ""
    held_open: bool = False

    def shortened(self) -> JobInfo:
        """Return it with no more of the command than fits a listing."""
        return replace(self, command=shorten_command(self.command))

    def encode(self) -> Json:
        """Return the message; what is not known is left out."""
        values: Json = {"type": "job", "name": self.name, "command": self.command}
        values |= {"started": self.started, "state": self.state}
        if self.status is not None:
            values |= encode_status(self.status)
        for key in ("ended", "duration", "stdout", "stderr"):
            if getattr(self, key) is not None:
                values[key] = getattr(self, key)
        if self.ended_by:
            values["ended_by"] = self.ended_by
        if self.held_open:
            values["held_open"] = True
        return values

    @classmethod
    def decode(cls, values: Json) -> JobInfo:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("the job", values)
        name, state = body.text("name", limit=64), body.text("state", limit=32)
        if not is_name(name) or state not in STATES:
            raise RemoteProtocolError("the job needs a 'name' and a 'state' that there can be")
        status = decode_status(body) if state in ("exited", "signaled") else None
        if status is not None and (status.signal is not None) != (state == "signaled"):
            raise RemoteProtocolError("the job's status does not fit its state")
        return cls(
            name=name,
            command=body.text("command", limit=COMMAND_SHOWN),
            started=decode_time(body, "started") or 0.0,
            state=state,
            status=status,
            ended=decode_time(body, "ended"),
            duration=None if values.get("duration") is None else decode_duration(body),
            stdout=_count(body, "stdout"),
            stderr=_count(body, "stderr"),
            ended_by=body.text("ended_by", "", limit=32),
            held_open=body.boolean("held_open"),
        )


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


def _count(body: Body, key: str) -> int | None:
    return None if body.values.get(key) is None else body.integer(key, 0, _COUNT_LIMIT)
