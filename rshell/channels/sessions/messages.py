"""What travels in a `sessions` channel (docs/protocol.md, "Kind: sessions")."""

from __future__ import annotations

from dataclasses import dataclass

from rshell.channels.process.messages import decode_size, decode_time
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.messages import Body, Json
from rshell.values import COMMAND_SHOWN, NAME_RULE, TerminalSize, is_name, shorten_command

VERBS = ("list", "end")

_WATCHERS_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class NamedShellsRequest:
    """What is asked of a server's named shells: one of `VERBS`; "end" needs a `name`.

    Raises LocalProtocolError for a name that no session can have.
    """

    verb: str
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not is_name(self.name):
            raise LocalProtocolError(f"not a named shell's name: {self.name!r}. {NAME_RULE}")

    def encode(self) -> Json:
        """Return the JSON object of OPEN."""
        return {"verb": self.verb} | ({} if self.name is None else {"name": self.name})

    @classmethod
    def decode(cls, values: Json) -> NamedShellsRequest:
        """Read the JSON object of OPEN. Raises RemoteProtocolError, which refuses the channel."""
        body = Body("the request", values)
        verb, name = body.text("verb", limit=32), body.optional_text("name")
        if verb not in VERBS:
            raise RemoteProtocolError(f"no verb {verb!r}; there are {', '.join(VERBS)}")
        if name is None and verb == "end":
            raise RemoteProtocolError("'end' needs the 'name' of a session")
        try:
            return cls(verb, name)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from error


@dataclass(frozen=True, slots=True)
class NamedShellInfo:
    """A named shell as its server knows it.

    `created` is in seconds since 1970 on the server's clock. `attached` says whether a client
    uses it, `watchers` how many more look on. `shell` is its program and `cwd` its directory,
    `size` that of its terminal. `running` is the command that runs, None when none does.
    """

    name: str
    identity: str
    created: float
    attached: bool
    watchers: int
    shell: str
    cwd: str
    size: TerminalSize
    running: str | None = None

    def encode(self) -> Json:
        """Return the message; of a long command it has the beginning."""
        values: Json = {"type": "session", "name": self.name, "identity": self.identity}
        values |= {"created": self.created, "attached": self.attached, "watchers": self.watchers}
        values |= {"shell": self.shell, "cwd": self.cwd}
        values |= {"columns": self.size.columns, "rows": self.size.rows}
        if self.running is not None:
            values["running"] = shorten_command(self.running)
        return values

    @classmethod
    def decode(cls, values: Json) -> NamedShellInfo:
        """Read the message. Raises RemoteProtocolError."""
        body = Body("the session", values)
        name = body.text("name", limit=64)
        if not is_name(name):
            raise RemoteProtocolError("the session needs a 'name' that there can be")
        running = body.text("running", "", limit=COMMAND_SHOWN)
        return cls(
            name=name,
            identity=body.text("identity", limit=200),
            created=decode_time(body, "created") or 0.0,
            attached=body.boolean("attached"),
            watchers=body.integer("watchers", 0, _WATCHERS_LIMIT),
            shell=body.text("shell"),
            cwd=body.text("cwd"),
            size=decode_size(body),
            running=running if "running" in values else None,
        )
