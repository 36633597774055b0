"""Every exception that rshell raises on purpose.

A caller who wants one net catches `RshellError`; one who wants to act on a cause catches a leaf
and reads its attributes. Messages are for people and say what to do next; attributes are for
programs. `asyncio.CancelledError` is never wrapped.

Hazard: `OpenTimeout` and `ProcessTimeout` are also `TimeoutError`, and `except TimeoutError`
around a timeout of asyncio catches them too; put the more precise clause first.
"""

from __future__ import annotations

from typing import Any, TypeVar

Error = TypeVar("Error", bound=BaseException)


def caused_by(cause: BaseException, error: Error) -> Error:
    """Return `error` with its cause, as `raise error from cause` does, but without raising."""
    error.__cause__ = cause
    return error


class RshellError(Exception):
    """The root of the hierarchy."""


class ConfigurationError(RshellError):
    """A file, certificate or setting on this machine is unusable; the message says why."""


class ConnectError(RshellError):
    """No session came to be: the address, the network, the server or the login refused."""


class AddressError(ConnectError, ValueError):
    """The text is not an address. `text` holds it."""

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class UntrustedServer(ConnectError):
    """The server is not the one that was expected; nothing was sent to it.

    `expected` and `received` are fingerprints (`SHA256:` and hexadecimal digits) where known.
    """

    def __init__(self, message: str, *, expected: str = "", received: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.received = received


class AuthenticationFailed(ConnectError):
    """The server did not accept the token, or could not prove that it knows it."""


class ServerBusy(ConnectError):
    """The server closed the connection before it said anything: it turns some away."""


class VersionMismatch(ConnectError):
    """The ends share no protocol version. `ours` and `theirs` are (lowest, highest)."""

    def __init__(self, message: str, *, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        super().__init__(message)
        self.ours = ours
        self.theirs = theirs


class OpenTimeout(ConnectError, TimeoutError):
    """No session within `timeout` seconds."""

    def __init__(self, message: str, *, timeout: float) -> None:
        super().__init__(message)
        self.timeout = timeout


class SessionClosed(RshellError):
    """The session is over.

    `code` is a GOODBYE code of docs/protocol.md, `reason` a sentence, `by` is "local" or "remote".
    """

    def __init__(self, code: str, reason: str, *, by: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.by = by


class LinkLost(SessionClosed):
    """The byte stream ended without a GOODBYE, or the peer fell silent.

    `silent` tells the two apart: a peer whose process has ended is not silent, its machine says
    so at once; one that sleeps, or lost its network, is.
    """

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__("lost", reason, by="remote")
        self.silent = silent


class ResumeFailed(SessionClosed):
    """The peer no longer keeps what resuming this session would need."""

    def __init__(self, reason: str, *, by: str = "remote") -> None:
        super().__init__("resume-failed", reason, by=by)


class ProtocolError(RshellError):
    """The rules of docs/protocol.md were broken."""


class LocalProtocolError(ProtocolError):
    """Our own code asked for something that the state does not allow: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule. `code` is the GOODBYE code that answers it."""

    def __init__(self, reason: str, *, code: str = "protocol") -> None:
        super().__init__(reason)
        self.code = code


class ChannelError(RshellError):
    """One channel failed; the session goes on."""


class ChannelRefused(ChannelError):
    """The peer did not open the channel. `code` is a REFUSED code, `reason` a sentence."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ChannelReset(ChannelError):
    """The channel was cut short. `code` is a RESET code, `by` is "local" or "remote"."""

    def __init__(self, code: str, reason: str, *, by: str = "remote") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.by = by


class ProcessError(RshellError):
    """A command ran and did not end well."""


class SpawnError(ProcessError):
    """The command could not be started.

    `status` is the exit status a shell would give: 127 not found, 126 not executable, and 125
    for a directory that can't be entered.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ProcessFailed(ProcessError):
    """`check=True`, and the status was not 0.

    Exactly one of `exit_status` (0 to 255) and `signal` (such as "SIGTERM") is not None.
    `stdout` and `stderr` hold what was collected.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_status: int | None,
        signal: str | None,
        stdout: bytes | str,
        stderr: bytes | str,
    ) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        self.signal = signal
        self.stdout = stdout
        self.stderr = stderr


class ProcessTimeout(ProcessError, TimeoutError):
    """The command passed its `timeout` (seconds) and its process group was ended."""

    def __init__(
        self, message: str, *, timeout: float, stdout: bytes | str, stderr: bytes | str
    ) -> None:
        super().__init__(message)
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr


class JobLost(ProcessError):
    """How the job ended can't be known: its server ended while it ran, and so did the job.

    `name` is the job's. What is kept of its output can still be read.
    """

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class OutputTruncated(ProcessError):
    """The output passed the caller's `max_output` (bytes); the command was ended.

    `stdout` and `stderr` hold what was collected until then.
    """

    def __init__(
        self, message: str, *, max_output: int, stdout: bytes | str, stderr: bytes | str
    ) -> None:
        super().__init__(message)
        self.max_output = max_output
        self.stdout = stdout
        self.stderr = stderr


class FileError(RshellError, OSError):
    """A file could not be used as asked, here or there: an OSError with `errno` and `filename`.

    What the system says of a missing file, a missing permission and the like is also Python's own
    error for that. `file_error` makes the right one.
    """


class FileMissing(FileError, FileNotFoundError):
    """There is no such file or directory."""


class FileInTheWay(FileError, FileExistsError):
    """Something else has that name."""


class FileForbidden(FileError, PermissionError):
    """The user whom the server or this program runs as may not do that."""


class NotAFile(FileError, IsADirectoryError):
    """A directory is where a file was asked for."""


class NotADirectory(FileError, NotADirectoryError):
    """Something else is where a directory was asked for."""


class TransferFailed(RshellError):
    """Some files were not sent; the others were.

    `failures` holds a FileError for each, a thousand at most; `totals` is a TransferTotals.
    """

    def __init__(self, message: str, *, failures: list[FileError], totals: Any) -> None:
        super().__init__(message)
        self.failures = failures
        self.totals = totals


_FILE_ERRORS: dict[type[OSError], type[FileError]] = {
    FileNotFoundError: FileMissing,
    FileExistsError: FileInTheWay,
    PermissionError: FileForbidden,
    IsADirectoryError: NotAFile,
    NotADirectoryError: NotADirectory,
}


def file_error(number: int, reason: str, path: str = "") -> FileError:
    """Return the error for an `errno`, whose kind is that of Python's own."""
    cls = _FILE_ERRORS.get(type(OSError(number, reason)), FileError)
    return cls(number, reason, path) if path else cls(number, reason)
