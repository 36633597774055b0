"""What travels in a `shell` channel beside DATA (docs/protocol.md, "Kind: shell")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rshell.channels.process.messages import (
    decode_duration,
    decode_size,
    decode_status,
    decode_terminal,
    encode_status,
    encode_terminal,
)
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.messages import SEQUENCE_LIMIT, Body, Json
from rshell.values import (
    COMMAND_SHOWN,
    NAME_RULE,
    ExitStatus,
    TerminalSize,
    is_name,
    shorten_command,
)

_MODES_LIMIT = 1024  # characters; there are few modes
_UNREAD = 2**14  # characters in one message; each may take six bytes
COMMAND_LIMIT = 2**18  # characters in a command or a question


@dataclass(frozen=True, slots=True)
class ShellRequest:
    """Which shell to start. `stdin` False gives its commands an empty stdin.

    With a `terminal`, of the type `term`, its commands have that instead of pipes. With a `name`
    as well it is the named shell to attach to, made where there is none; `share` only watches
    one that is there. Raises LocalProtocolError for a name that no session can have, or one
    without a terminal.
    """

    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    clear_env: bool = False
    stdin: bool = False
    terminal: TerminalSize | None = None
    term: str = ""
    name: str | None = None
    share: bool = False

    def __post_init__(self) -> None:
        if self.name is not None and not is_name(self.name):
            raise LocalProtocolError(f"not a named shell's name: {self.name!r}. {NAME_RULE}")
        if self.name is not None and self.terminal is None:
            raise LocalProtocolError("a session with a name needs a terminal")
        if self.share and self.name is None:
            raise LocalProtocolError("only a session with a name can be watched")

    def encode(self) -> Json:
        """Return the JSON object of OPEN; what has its default is left out."""
        values: Json = {}
        if self.cwd is not None:
            values["cwd"] = self.cwd
        if self.env:
            values["env"] = dict(self.env)
        for name in ("clear_env", "stdin", "share"):
            if getattr(self, name):
                values[name] = True
        if self.name is not None:
            values["name"] = self.name
        if self.terminal is not None:
            values["terminal"] = encode_terminal(self.terminal, self.term)
        return values

    @classmethod
    def decode(cls, values: Json) -> ShellRequest:
        """Read the JSON object of OPEN. Raises RemoteProtocolError, which refuses the channel."""
        body = Body("the request", values)
        terminal, term = decode_terminal(body)
        try:
            return cls(
                cwd=body.optional_text("cwd"),
                env=body.text_map("env"),
                clear_env=body.boolean("clear_env"),
                stdin=body.boolean("stdin"),
                terminal=terminal,
                term=term,
                name=body.optional_text("name"),
                share=body.boolean("share"),
            )
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from error


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run `command` in the shell. `number` grows from 1; `timeout` in seconds."""

    number: int
    command: str
    timeout: float | None = None

    def encode(self) -> Json:
        """Return the message."""
        values: Json = {"type": "run", "number": self.number, "command": self.command}
        if self.timeout is not None:
            values["timeout"] = self.timeout
        return values

    @classmethod
    def decode(cls, values: Json) -> RunCommand:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("run", values)
        command = body.text("command", limit=COMMAND_LIMIT)
        if "\0" in command:
            raise RemoteProtocolError("a command can't hold a NUL character")
        return cls(body.integer("number", 1, SEQUENCE_LIMIT), command, body.seconds("timeout"))


def split_unread(text: str) -> list[str]:
    """Cut what is given back into pieces that fit into a frame, whatever they hold."""
    return [text[at : at + _UNREAD] for at in range(0, len(text), _UNREAD)]


@dataclass(frozen=True, slots=True)
class ShellEnding:
    """How the command `number` ended, and where the shell is now.

    `stdout` and `stderr` count the bytes sent since the last ShellEnding. `restarted` says that the
    shell itself ended, with `status`, and a new one has taken its place in `cwd`; `left` that
    it was asked to (`exit`), and the channel closes. `unread` is what was typed on a terminal
    and not read by the command, undecodable bytes as surrogates; `taken` how many bytes of
    input the server had taken by then. What it takes later comes back as `unread` messages.
    """

    number: int
    status: ExitStatus
    cwd: str
    stdout: int
    stderr: int
    duration: float
    timed_out: bool = False
    restarted: bool = False
    left: bool = False
    unread: str = ""
    taken: int = 0

    def split(self) -> list[Json]:
        """Return the message, and what of `unread` does not fit into it as messages of its own."""
        first, *rest = split_unread(self.unread) or [""]
        late = sum(len(text.encode(errors="surrogateescape")) for text in rest)
        done = replace(self, unread=first, taken=max(0, self.taken - late))
        return [done.encode(), *({"type": "unread", "text": text} for text in rest)]

    def encode(self) -> Json:
        """Return the message."""
        values: Json = {"type": "done", "number": self.number} | encode_status(self.status)
        values |= {"cwd": self.cwd, "stdout": self.stdout, "stderr": self.stderr}
        values["duration"] = self.duration
        if self.timed_out:
            values["timed_out"] = True
        if self.restarted:
            values["restarted"] = True
        if self.left:
            values["left"] = True
        if self.unread:
            values["unread"] = self.unread
        if self.taken:
            values["taken"] = self.taken
        return values

    def facts(self) -> Json:
        """Return what the audit log says: all but what was typed, which may be a password."""
        facts = self.encode()
        facts.pop("unread", None)
        return facts

    @classmethod
    def decode(cls, values: Json) -> ShellEnding:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("done", values)
        return cls(
            number=body.integer("number", 0, SEQUENCE_LIMIT),
            status=decode_status(body),
            cwd=body.text("cwd"),
            stdout=body.integer("stdout", 0, SEQUENCE_LIMIT),
            stderr=body.integer("stderr", 0, SEQUENCE_LIMIT),
            duration=decode_duration(body),
            timed_out=body.boolean("timed_out"),
            restarted=body.boolean("restarted"),
            left=body.boolean("left"),
            unread=body.text("unread", ""),
            taken=body.integer("taken", 0, SEQUENCE_LIMIT, 0),
        )


@dataclass(frozen=True, slots=True)
class Joined:
    """What the reply of OPENED says of a named shell, beside what it says of every shell.

    `attached` says that it was there already. `number` is the largest of a command so far and
    `running` the command that runs now, None when none does. `kept` counts the bytes at the
    beginning of the output that nobody may have seen yet, `dropped` those before them that are
    lost. `modes` are the sequences that give another terminal the modes it should have before
    them. `last` is an ending that nobody may have been told of; it counts no bytes.
    """

    attached: bool
    number: int
    size: TerminalSize
    running: str | None = None
    kept: int = 0
    dropped: int = 0
    modes: str = ""
    last: ShellEnding | None = None

    def encode(self) -> Json:
        """Return the keys of the reply."""
        values: Json = {"attached": self.attached, "number": self.number}
        if self.running is not None:
            values["running"] = shorten_command(self.running)
        values |= {"kept": self.kept, "dropped": self.dropped}
        values |= {"columns": self.size.columns, "rows": self.size.rows}
        if self.modes:
            values["modes"] = self.modes
        if self.last is not None:
            values["last"] = self.last.encode()
        return values

    @classmethod
    def decode(cls, values: Json) -> Joined:
        """Read the reply. Raises RemoteProtocolError."""
        body = Body("the reply", values)
        running = body.text("running", "", limit=COMMAND_SHOWN)
        modes = body.text("modes", "", limit=_MODES_LIMIT)
        if not modes.isascii():
            raise RemoteProtocolError("modes are ASCII")
        return cls(
            attached=body.boolean("attached"),
            number=body.integer("number", 0, SEQUENCE_LIMIT),
            size=decode_size(body),
            running=running if "running" in values else None,
            kept=body.integer("kept", 0, SEQUENCE_LIMIT),
            dropped=body.integer("dropped", 0, SEQUENCE_LIMIT),
            modes=modes,
            last=ShellEnding.decode(body.object("last")) if "last" in values else None,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """Asks about `text`: `kind` is "complete" for candidates at its end, or "check" for whether
    it wants more lines. A later `number` makes earlier questions stale.
    """

    kind: str
    number: int
    text: str

    def encode(self) -> Json:
        """Return the message."""
        return {"type": self.kind, "number": self.number, "text": self.text}

    @classmethod
    def decode(cls, values: Json) -> Question:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("the question", values)
        text = body.text("text", limit=COMMAND_LIMIT)
        if "\0" in text:
            raise RemoteProtocolError("a question can't hold a NUL character")
        return cls(body.text("type"), body.integer("number", 1, SEQUENCE_LIMIT), text)


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether the text of the question `number` wants more lines."""

    number: int
    incomplete: bool

    def encode(self) -> Json:
        """Return the message."""
        return {"type": "checked", "number": self.number, "incomplete": self.incomplete}

    @classmethod
    def decode(cls, values: Json) -> Checked:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("checked", values)
        return cls(body.integer("number", 1, SEQUENCE_LIMIT), body.boolean("incomplete"))


@dataclass(frozen=True, slots=True)
class Completions:
    """Candidates: each replaces the line from `start` on. `texts` are written as the shell
    reads them, `labels` as people do.
    """

    number: int
    start: int
    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def encode(self) -> Json:
        """Return the message."""
        return {
            "type": "completions",
            "number": self.number,
            "start": self.start,
            "texts": list(self.texts),
            "labels": list(self.labels),
        }

    @classmethod
    def decode(cls, values: Json) -> Completions:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("completions", values)
        texts, labels = body.texts("texts"), body.texts("labels")
        if len(texts) != len(labels):
            raise RemoteProtocolError("completions need as many labels as texts")
        return cls(
            number=body.integer("number", 1, SEQUENCE_LIMIT),
            start=body.integer("start", 0, 2**20),
            texts=texts,
            labels=labels,
        )
