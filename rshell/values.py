"""Small frozen values that every layer shares: addresses, statuses, sizes and limits.

A value checks itself when it is made, and code that holds one never checks again. `frozen` makes
their classes, here and everywhere else.

Hazard: an address travels from people and config files into `connect()` and, through
`--via`, near command lines. A host that starts with `-` or holds blanks or control
characters is refused here, once, for all of them.
"""

from __future__ import annotations

import dataclasses
import re
import signal as signals
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from rshell.errors import AddressError

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform as dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """Do nothing: the real one speaks to type checkers."""
        return lambda function: function


Value = TypeVar("Value")

_SLOTS = {"slots": True} if sys.version_info >= (3, 10) else {}

DEFAULT_PORT = 7000

# Labels as the domain name system has them (RFC 1123), and underscores, which people use.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,32})?\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
COMMAND_SHOWN = 1024  # characters: for people, and small enough for any frame

NAME_RULE = "Use 1 to 64 letters, digits and . _ -, with a letter or digit first."


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[Value]) -> type[Value]:
    """Make a class of values: a frozen dataclass, slotted where Python can do that by itself."""
    options: dict[str, Any] = _SLOTS
    return dataclasses.dataclass(frozen=True, **options)(cls)


def is_name(text: str) -> bool:
    """Whether a job or a named shell may have this name: no path, no option, nothing to quote."""
    return _NAME.match(text) is not None


def shorten_command(text: str) -> str:
    """Return a command with no more of it than listings show."""
    return text if len(text) <= COMMAND_SHOWN else text[: COMMAND_SHOWN - 3] + "..."


@frozen
class Address:
    """Where a server listens: `host` and `port` over TLS, or `path` of a Unix socket."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str | None = None

    @classmethod
    def parse(cls, text: str, *, default_port: int = DEFAULT_PORT) -> Address:
        """Read `host`, `host:port`, `[v6]:port`, a bare IPv6 address, or `unix:/path`.

        Raises AddressError saying what is wrong and what would be right.
        """
        if text.startswith("unix:"):
            path = text[5:]
            if not path.startswith("/") or "\0" in path:
                raise AddressError(
                    f"not a socket path: {text!r}. Write unix:/absolute/path.", text=text
                )
            return cls(host="", port=0, path=path)
        host, port = text, default_port
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or not _IPV6.match(host) or (rest and not rest.startswith(":")):
                raise AddressError(
                    f"not an IPv6 address: {text!r}. Write [::1] or [::1]:7000.", text=text
                )
            if rest:
                port = _parse_port(rest[1:], text)
        elif text.count(":") == 1:
            host, _, digits = text.partition(":")
            port = _parse_port(digits, text)
        if not (_HOST.match(host) or (":" in host and _IPV6.match(host))):
            raise AddressError(
                f"not a host name: {host!r}. Write host, host:port, [v6]:port or unix:/path.",
                text=text,
            )
        return cls(host=host, port=port)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether this names this very machine, as far as the text alone can say."""
        host = self.host.lower().rstrip(".")
        return host in ("localhost", "::1") or host.startswith("127.")


def _parse_port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536):
        raise AddressError(f"not a port: {digits!r} in {text!r}. Write 1 to 65535.", text=text)
    return int(digits)


@frozen
class ExitStatus:
    """How a command ended: `code` (0 to 255), or the `signal` that ended it by name.

    Exactly one of the two is not None. `signal_number` is the remote machine's number.
    """

    code: int | None = None
    signal: str | None = None
    signal_number: int = 0

    def __post_init__(self) -> None:
        if (self.code is None) == (self.signal is None):
            raise ValueError("exactly one of code and signal must be given")

    @classmethod
    def from_returncode(cls, returncode: int) -> ExitStatus:
        """Make one from a `subprocess` returncode, negative for a signal."""
        if returncode >= 0:
            return cls(code=returncode)
        number = -returncode
        try:
            name = signals.Signals(number).name
        except ValueError:
            name = f"SIG{number}"
        return cls(signal=name, signal_number=number)

    @property
    def shell_status(self) -> int:
        """The number that a shell would show: the code, or 128 and the signal's number."""
        return self.code if self.code is not None else 128 + self.signal_number

    def __str__(self) -> str:
        if self.signal is not None:
            return f"was ended by {self.signal}"
        return f"exited with status {self.code}"


@frozen
class TerminalSize:
    """A terminal's size in character cells, each 1 to 65535."""

    columns: int
    rows: int

    def __post_init__(self) -> None:
        if not (0 < self.columns < 65536 and 0 < self.rows < 65536):
            raise ValueError(f"a terminal of {self.columns} by {self.rows} cells")


@frozen
class Limits:
    """What users of rshell set, each with its unit; docs/limits.md has the table.

    A client and a server each have their own; what the peer must know travels in HELLO.
    Replace single ones: `Limits(channels=16)`.
    """

    # Sessions and their links.
    channels: int = 1_024  # open at once in a session
    # What a session's windows promise, its channels queue and its replay queue grows by, together.
    session_memory: int = 64 * 1024 * 1024  # bytes
    ping_dead: float = 45.0  # seconds of silence after which a link is lost
    # For how many seconds after a cut a client tries to come back, which is what it asks of the
    # server too, and for how many a server keeps a session at most; 0 forbids resuming.
    resume_window: float = 300.0
    witness_after: float = 1.0  # client: a session's age in seconds when it gets one; inf: never
    open_timeout: float = 20.0  # client: seconds for name look-up, TCP, TLS and login together
    # A server as a whole.
    sessions: int = 20_000  # at once
    processes: int = 4_096  # commands at once, all sessions together
    kill_grace: float = 5.0  # seconds between SIGTERM and SIGKILL
    drain_seconds: float = 10.0  # for commands to end by themselves, see Server.drain
    # Detached jobs, for each identity.
    jobs_running: int = 64  # at once
    jobs_kept: int = 50  # that have ended; the oldest are removed
    job_age: float = 14 * 86400.0  # seconds after its end until a job is removed
    job_log: int = 16 * 1024 * 1024  # bytes on the disk for each of a job's streams; the newest
    # Named shells.
    named_shells: int = 64  # server: at once
    named_shells_each: int = 16  # of one identity
    named_output: int = 1024 * 1024  # bytes of each, kept for who attaches next; the newest
    named_seconds: float = 7 * 86400.0  # with nobody attached, until it is ended
    # Shares: what one identity may have of a server at once.
    sessions_each: int = 12_000
    parked_each: int = 2_000  # sessions without a link; the one that waits longest is ended
    parked_memory_each: int = 256 * 1024 * 1024  # bytes that these keep for their clients
    channels_each: int = 16_384  # of all its sessions
    processes_each: int = 2_048  # commands
    audit_each: int = 1024 * 1024  # bytes a second that it may write into the audit log
    # The audit log of a server.
    audit_size: int = 64 * 1024 * 1024  # bytes of the file before a new one is begun
    audit_kept: int = 4  # full files that are kept beside it


@frozen
class Bounds(Limits):
    """Every bound in one place: the limits, and what only tests and measurements change.

    Bytes and seconds unless a name says otherwise.
    """

    # The wire.
    frame_before_login: int = 16 * 1024  # body bytes; a receiver checks before it keeps any
    frame: int = 256 * 1024  # body bytes after login
    # Flow control. Windows are credited when the application reads.
    window: int = 1024 * 1024  # at the start of a channel, each direction
    window_smallest: int = 64 * 1024  # at the start, once the session's budget runs low
    window_largest: int = 16 * 1024 * 1024  # growth ends here
    messages: int = 4 * 1024 * 1024  # received in one channel and not yet read by its user
    channel_queue: int = 512 * 1024  # waiting in one channel for its turn to be sent
    replay: int = 2 * 1024 * 1024  # sent and not yet acknowledged, at the start of a session
    replay_largest: int = 32 * 1024 * 1024  # growth ends here
    hold: int = 64 * 1024  # bulk data on its way, at the start of a link; soon bounds nothing
    transport_buffer: int = 256 * 1024  # handed to the transport and not yet taken by the kernel
    ack_first: int = 16 * 1024  # acknowledge so early on a new link, doubling up to `ack_bytes`
    ack_bytes: int = 256 * 1024  # acknowledge at least this often
    ack_seconds: float = 1.0
    # Floods. Each is a bucket: a burst, and so many a second after it.
    control_burst: int = 20_000  # channel frames other than DATA
    control_rate: float = 10_000.0
    ping_burst: int = 60
    ping_rate: float = 10.0
    queued_replies: int = 2_000  # link-level answers that the peer does not take
    # Links. Silence counts after login only.
    ping_idle: float = 15.0  # silence after which a PING is sent
    # Client: until people are told that nothing answers; an acknowledgement may take 1 s of it.
    answer_seconds: float = 2.5
    # Client: keys that come so soon after a question, or after each other, are no answer to it.
    answer_pause: float = 0.5
    close_seconds: float = 5.0  # for a GOODBYE to leave before a link is aborted
    # Logging in, at a server.
    login_seconds: float = 10.0  # from accept to login
    unfinished_logins: int = 1_000  # one more takes the place of another
    penalty_failures: int = 3  # failed logins as an identity at a source before it has to wait
    penalty_longest: float = 600.0
    penalty_sources: int = 10_000  # remembered at once
    # Processes.
    orphan_look: float = 1.0  # rshell-server: between two looks for orphans that are its to reap
    audit_summary: float = 60.0  # seconds between two lines that count who was turned away
    # Transfers of files. The first two are the protocol's.
    files_offered: int = 2_048  # a sender's entries that wait for their last answer
    files_wanted: int = 4_096  # a receiver's files that wait for bytes; more end the channel
    files_searched: int = 8  # of them, those whose blocks are looked up at once
    files_sources: int = 16  # of a sender's many, those that stay open without need
    files_directories: int = 32  # of one tree, open at once
    files_depth: int = 2_048  # directories within each other at a receiver
    files_attributes: int = 16 * 1024 * 1024  # of its directories that are not done
    files_answers: int = 128 * 1024 * 1024  # of a receiver, while its sender takes none
    files_relayed: int = 100_000  # entries that a client between two servers keeps in mind
    files_open: int = 256  # by the calls of one channel
    # Pipes of commands.
    pipe: int = 1024 * 1024  # asked of the kernel for a command's output
    read_block: int = 240 * 1024  # one read of a command's output; below `frame`

    @classmethod
    def of(cls, limits: Limits | None) -> Bounds:
        """Return every bound, with what `limits` sets; a PING leaves at a third of `ping_dead`."""
        if limits is None:
            return cls()
        if isinstance(limits, cls):
            return limits
        chosen = {field.name: getattr(limits, field.name) for field in dataclasses.fields(Limits)}
        return cls(ping_idle=limits.ping_dead / 3, **chosen)
