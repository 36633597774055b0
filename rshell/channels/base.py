"""What every channel kind shares: the handler a server runs, and what it may use.

Strategy: a kind is a name, a coroutine for the server and, if it likes, a class for the client.
The server calls the coroutine once for each channel of that kind; its return closes the
channel. Nothing below knows what travels in it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rshell.channels.work import Work
from rshell.protocol.messages import Json
from rshell.transport.channel import Channel
from rshell.values import Limits

if TYPE_CHECKING:  # a client starts no commands
    from rshell.channels.job.jobs import Jobs
    from rshell.channels.sessions.messages import NamedShellInfo
    from rshell.channels.shell.messages import ShellRequest
    from rshell.execution.spawn_queue import SpawnQueue
    from rshell.security.scram import Verifier

NO_NAMED = (
    "named shells end with their server, and this one serves a single connection. "
    "Start rshell-server on its own."
)


class NamedSessions(Protocol):
    """The named shells of a server. Methods raise ChannelRefused with the code for the peer."""

    async def serve(self, channel: Channel, context: Context, request: ShellRequest) -> None:
        """Attach a channel to the session that `request` names, or have it watch.

        Returns when the channel is over.
        """

    def list(self, identity: str) -> list[NamedShellInfo]:
        """Return an identity's sessions, the oldest first."""

    async def end(self, identity: str, name: str) -> NamedShellInfo:
        """End a session, and return it as it stood before. Cancelling does not save it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may use of the server that runs it.

    `identity` is who logged in; `cwd` is where commands start, `environment` what they
    inherit. `audit(event, facts)` writes a line of the audit log. `clean_up(coroutine)` runs
    what must end after the channel, owned by the server, which waits for it when it stops.
    `jobs` are the commands that outlive their client and `named` the shells that do, None where
    the server keeps none. `verifier` is what a token was checked against, None where the login
    needed none. `work` is what a stopping server waits for: enter there what should not be cut
    short.
    """

    identity: str
    session: str
    limits: Limits
    cwd: str
    environment: Mapping[str, str]
    spawner: SpawnQueue
    audit: Callable[[str, Json], None]
    clean_up: Callable[[Coroutine[Any, Any, None]], None]
    jobs: Jobs | None = None
    named: NamedSessions | None = None
    verifier: Verifier | None = None
    work: Work = field(default_factory=Work)


Handler = Callable[[Channel, Context], Awaitable[None]]


def own_name() -> str:
    """Return the name of the user that this process, and every command, runs as."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
