"""What travels in a `process` channel beside DATA (docs/protocol.md, "Kind: process").

Strategy: both ends use the same classes, so a field is written and read in one place. Text that
is not UTF-8 (paths, arguments) travels as lone surrogates, Python's surrogateescape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Body, Json
from rshell.values import ExitStatus, TerminalSize

# Stream numbers of the kinds that run commands.
STDIN, STDOUT, STDERR = 0, 1, 2

_COUNT_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """What to run, and how.

    `command` goes through the user's shell, `argv` does not; with neither, the user's shell
    itself runs and reads its stdin. `stdin` False gives an empty stdin. `timeout` in seconds.
    """

    command: str | None = None
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    clear_env: bool = False
    stdin: bool = False
    merge: bool = False
    terminal: TerminalSize | None = None
    term: str = ""
    timeout: float | None = None

    def encode(self) -> Json:
        """Return the JSON object of OPEN; what has its default is left out."""
        values: Json = {}
        if self.command is not None:
            values["command"] = self.command
        if self.argv:
            values["argv"] = list(self.argv)
        if self.cwd is not None:
            values["cwd"] = self.cwd
        if self.env:
            values["env"] = dict(self.env)
        for name in ("clear_env", "stdin", "merge"):
            if getattr(self, name):
                values[name] = True
        if self.terminal is not None:
            values["terminal"] = encode_terminal(self.terminal, self.term)
        if self.timeout is not None:
            values["timeout"] = self.timeout
        return values

    @classmethod
    def decode(cls, values: Json) -> ProcessRequest:
        """Read the JSON object of OPEN. Raises RemoteProtocolError, which refuses the channel."""
        body = Body("the request", values)
        command, argv = body.optional_text("command"), body.texts("argv")
        if command is not None and argv:
            raise RemoteProtocolError("the request has both 'command' and 'argv'; one may be given")
        terminal, term = decode_terminal(body)
        return cls(
            command=command,
            argv=argv,
            cwd=body.optional_text("cwd"),
            env=body.text_map("env"),
            clear_env=body.boolean("clear_env"),
            stdin=body.boolean("stdin"),
            merge=body.boolean("merge"),
            terminal=terminal,
            term=term,
            timeout=body.seconds("timeout"),
        )


def encode_terminal(size: TerminalSize, term: str) -> Json:
    """Return a terminal's size and type as JSON."""
    return encode_size(size) | {"term": term}


def decode_terminal(body: Body) -> tuple[TerminalSize | None, str]:
    """Read "terminal": its size, None where there is none, and its type."""
    if body.values.get("terminal") is None:
        return None, ""
    values = Body("the terminal", body.object("terminal"))
    return decode_size(values), values.text("term", "", limit=100)


def encode_size(size: TerminalSize) -> Json:
    """Return a terminal's size as JSON."""
    return {"columns": size.columns, "rows": size.rows}


def decode_size(body: Body) -> TerminalSize:
    """Read a terminal's size. Raises RemoteProtocolError."""
    return TerminalSize(body.integer("columns", 1, 65535), body.integer("rows", 1, 65535))


@dataclass(frozen=True, slots=True)
class ProcessEnding:
    """How a command ended. `stdout` and `stderr` count the bytes that were sent.

    `timed_out` says that its timeout ended it; `held_open` that a background child still holds
    its output; `duration` is seconds on the server's clock.
    """

    status: ExitStatus
    stdout: int
    stderr: int
    duration: float
    timed_out: bool = False
    held_open: bool = False

    def encode(self) -> Json:
        """Return the message."""
        values: Json = {"type": "exit"} | encode_status(self.status)
        values |= {"stdout": self.stdout, "stderr": self.stderr, "duration": self.duration}
        if self.timed_out:
            values["timed_out"] = True
        if self.held_open:
            values["held_open"] = True
        return values

    @classmethod
    def decode(cls, values: Json) -> ProcessEnding:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("exit", values)
        return cls(
            status=decode_status(body),
            stdout=body.integer("stdout", 0, _COUNT_LIMIT),
            stderr=body.integer("stderr", 0, _COUNT_LIMIT),
            duration=decode_duration(body),
            timed_out=body.boolean("timed_out"),
            held_open=body.boolean("held_open"),
        )


def decode_time(body: Body, key: str) -> float | None:
    """Read a point in time, in seconds since 1970; None where there is none."""
    value = body.values.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < 1e11:
        raise RemoteProtocolError(f"{body.name} needs {key!r}: seconds since 1970")
    return float(value)


def decode_duration(body: Body) -> float:
    """Read how long something took, in seconds, 0 if it is not said. Raises RemoteProtocolError."""
    value = body.values.get("duration", 0.0)
    if type(value) not in (int, float) or not 0 <= value < 1e12:
        raise RemoteProtocolError(f"{body.name} needs 'duration': a number of seconds")
    return float(value)


def encode_status(status: ExitStatus) -> Json:
    """Return the fields that say how something ended."""
    if status.code is not None:
        return {"exit_status": status.code}
    return {"signal": status.signal, "signal_number": status.signal_number}


def decode_status(body: Body) -> ExitStatus:
    """Read the fields that say how something ended. Raises RemoteProtocolError."""
    if body.values.get("signal") is not None:
        number = body.integer("signal_number", 1, 127)
        return ExitStatus(signal=body.text("signal", limit=32), signal_number=number)
    return ExitStatus(code=body.integer("exit_status", 0, 255))
