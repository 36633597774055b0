"""What travels in a `sessions` channel (docs/protocol.md, "Kind: sessions")."""

from __future__ import annotations

from rshell.errors import LocalProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Message
from rshell.values import TerminalSize

VERBS = ("list", "end")


class NamedShellsRequest(Message, label="the request"):
    """What is asked of a server's named shells: one of `VERBS`; "end" needs a `name`.

    Raises LocalProtocolError for a name that no shell can have.
    """

    verb: str = fields.choice(*VERBS)
    name: str | None = fields.name(default=None)

    def check(self) -> None:
        """Raise LocalProtocolError for a name that can't be, and for an end of nothing."""
        fields.check_name(self.name, "a named shell's")
        if self.name is None and self.verb == "end":
            raise LocalProtocolError("'end' needs the 'name' of a shell")


class NamedShellInfo(Message, type="session", label="the named shell"):
    """A named shell as its server knows it.

    `created` is in seconds since 1970 on the server's clock. `attached` says whether a client
    uses it, `watchers` how many more look on. `shell` is its program and `cwd` its directory,
    `size` that of its terminal. `running` is the command that runs, None when none does.
    """

    name: str = fields.name()
    identity: str = fields.text(200)
    created: float = fields.moment()
    attached: bool = fields.boolean()
    watchers: int = fields.integer(0, 2**31)
    shell: str = fields.text()
    cwd: str = fields.text()
    size: TerminalSize = fields.size()
    running: str | None = fields.shown_command(default=None)


class NamedShellsEnd(Message, type="end", label="the end of the list of named shells"):
    """The end of a list of named shells: how many it held."""

    count: int = fields.integer(key="sessions")
