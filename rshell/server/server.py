"""A server: who is logged in, and what runs for them.

Strategy: everything that lives is reachable from here, so that closing the server closes it
all: the entrance first, then links with a word, then handlers, detached jobs and named shells,
then what those left to clean up, the reaper last. Each link is independent; none waits for what
another does.

Hazard: `asyncio.Server.wait_closed` hangs on Python 3.12 and later while connections live; it
is not used. Each link's end is waited for instead, which its own deadline sees to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import ssl
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from rshell.channels.base import Context, Handler, Work, own_name
from rshell.channels.job.jobs import Jobs
from rshell.channels.job.server import serve_job
from rshell.channels.process.server import serve_process
from rshell.channels.shell.named.table import NamedShellTable
from rshell.errors import RshellError, SessionClosed
from rshell.execution.exits import use_default_sigchld
from rshell.execution.reaper_client import Reaper
from rshell.execution.spawn_queue import SpawnQueue
from rshell.protocol.codec import Json
from rshell.protocol.messages import Attach
from rshell.protocol.session import Role, Session
from rshell.security.certificates import binding, fingerprint
from rshell.security.scram import ServerLogin, Verifier
from rshell.security.tokens import TokenStore
from rshell.server.audit import AuditLog
from rshell.server.drain import Drain
from rshell.server.entrance import Entrance
from rshell.server.login import ServerLink
from rshell.server.revocation import Lookup, TokenWatch
from rshell.server.session_table import KeptSession, Registry
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession, as_session_error
from rshell.transport.stdio import PipeStream
from rshell.values import Address, Limits

_log = logging.getLogger("rshell.server")

_KEPT_BACK = ("RSHELL_TOKEN",)  # secrets of ours that no command needs
_SHUTDOWN = "the server is shutting down"
_BUSY = "the server has as many sessions as it takes; try again later"
_REVOKED = "the token of this login was revoked"


class Server:
    """Serves sessions until closed. Made by `rshell.serve` and by the command line.

    `fingerprint` is that of its certificate. `token_line` logs this user in:
    `connect(server.addresses[0], token=server.token_line)`. It is None where no token is needed
    (a Unix socket, stdio) or this user's own was revoked and removed. `commands` asks for the kinds
    that run commands, beside those of `handlers`, which come first where names are the same.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        commands: bool = True,
        limits: Limits,
        cwd: str,
        audit: AuditLog,
        jobs: Path | None = None,
    ) -> None:
        use_default_sigchld()
        self.limits = limits
        self.fingerprint = ""
        self.token_line: str | None = None
        self._cwd = cwd
        self._environment = {k: v for k, v in os.environ.items() if k not in _KEPT_BACK}
        self._audit = audit
        self._loop = asyncio.get_running_loop()
        self._reaper = Reaper(limits.kill_grace)
        self._spawner = SpawnQueue(limits.processes, reaper=self._reaper)
        self._work = Work()
        self._jobs = None if jobs is None else Jobs(jobs, self._spawner, limits, self._work)
        # A server that keeps jobs is there for more than one session.
        self._named = NamedShellTable(
            limits, audit.write, self._verifier_of, keeps=jobs is not None
        )
        self._handlers = (self._command_kinds() if commands else {}) | dict(handlers)
        self._registry = Registry(limits, self._end_session)
        self._tasks: set[asyncio.Task[None]] = set()
        self._entrance = Entrance(self, audit, self._own)
        self._tokens: TokenStore | None = None
        self._binding = b""
        self._token_watch: TokenWatch | None = None
        self._closed = asyncio.Event()
        self._closing = False
        self._closer: asyncio.Task[None] | None = None
        self._drain: Drain | None = None

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def serve_forever(self) -> None:
        """Wait until the server is closed. Cancelling does not close it."""
        await self._closed.wait()

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, in the order in which that began."""
        return self._entrance.addresses

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._registry)

    @property
    def commands(self) -> int:
        """How many commands run, jobs included."""
        return self._work.commands

    # Beginning.

    def listen_tls(
        self,
        sockets: list[socket.socket],
        context: ssl.SSLContext,
        der: bytes,
        tokens: TokenStore,
    ) -> None:
        """Serve TLS on listening sockets; `der` is the certificate in `context`."""
        self._tokens = tokens
        self._binding = binding(der)
        self.fingerprint = fingerprint(der)
        self._entrance.listen_tls(sockets, context)
        self._token_watch = TokenWatch(tokens, self._end_revoked)

    def listen_unix(self, path: Path) -> None:
        """Serve this user's own processes on a Unix socket."""
        self._entrance.listen_unix(path)

    async def serve_stdio(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        """Serve one session on a pair of pipes; returns when it is over."""
        link = self._entrance.open_link("stdio", own_name())
        stream = PipeStream(link.driver, self.limits)
        await stream.connect(incoming, outgoing)
        await link.driver.done.wait()

    def _command_kinds(self) -> dict[str, Handler]:
        """Return the handlers of the kinds that every server has."""
        return {
            "job": partial(serve_job, self._jobs, self._work),
            "process": serve_process,
            "sessions": self._named.serve_sessions,
            "shell": self._named.serve_shell,
        }

    # What links ask for.

    def new_login(self) -> ServerLogin:
        """Return the server's side of one login."""
        assert self._tokens is not None
        return ServerLogin(self._tokens.lookup, self._tokens.fake_key, self._binding)

    def logged_in(self, link: ServerLink) -> None:
        """A login succeeded."""
        self._entrance.logged_in(link)
        self._audit.write("login", {"identity": link.identity, "source": link.source})

    def login_failed(self, link: ServerLink, reason: str) -> None:
        """A login failed."""
        self._entrance.login_failed(link)
        self._audit.write("login-failed", {"source": link.source, "reason": reason})

    def find_session(self, link: ServerLink, attach: Attach) -> LiveSession:
        """Return the session that a link which has logged in asks for, new or kept."""
        if attach.resume is None:
            if self._drain is not None:
                raise SessionClosed("shutdown", _SHUTDOWN, by="local")
            if len(self._registry) >= self.limits.sessions:
                raise SessionClosed("busy", _BUSY, by="local")
            return self._registry.add(self._new_session(link), link, attach).live
        kept = self._registry.resume(link, attach)
        self._audit.write("resume", self._name(kept) | {"source": link.source})
        return kept.live

    def _new_session(self, link: ServerLink) -> LiveSession:
        session = Session(
            Role.SERVER, self.limits, id=secrets.token_hex(8), secret=secrets.token_urlsafe(32)
        )
        context = Context(
            identity=link.identity,
            session=session.id,
            limits=self.limits,
            cwd=self._cwd,
            environment=self._environment,
            spawner=self._spawner,
            audit=partial(self._write_audit, link.identity, session.id),
            clean_up=self._own,
            working=partial(self._work.begin, session.id),
        )
        return LiveSession(session, partial(self._serve, context))

    def _verifier_of(self, session: str) -> Verifier | None:
        """Return what the login of a session was checked against; None without a token."""
        return self._registry[session].link.verifier

    def link_closed(self, link: ServerLink, cause: RshellError) -> None:
        """A link is over; its session goes on, waits for another link, or ends."""
        self._own(_gone(link))
        if not self._entrance.link_closed(link):
            _log.info("no login from %s: %s", link.source, cause)
        kept = self._registry.find(link)
        if kept is None:
            return
        if not self._closing and self._registry.outlives(kept, cause):
            kept.live.driver = None
            self._audit.write("detach", self._name(kept) | {"reason": str(cause)})
        else:
            self._end_session(kept, cause)

    def _end_session(self, kept: KeptSession, cause: RshellError) -> None:
        self._registry.remove(kept)
        self._audit.write("end", self._name(kept) | {"reason": str(cause)})
        kept.live.end(as_session_error(cause))
        self._own(kept.live.join())

    def _name(self, kept: KeptSession) -> Json:
        return {"identity": kept.identity, "session": kept.id}

    async def _serve(self, context: Context, channel: Channel) -> None:
        if self._drain is not None:
            channel.refuse("shutdown", _SHUTDOWN)
            return
        handler = self._handlers.get(channel.kind)
        if handler is None:
            kinds = ", ".join(sorted(self._handlers)) or "none"
            channel.refuse(
                "unknown-kind", f"no channels of the kind {channel.kind!r} here; there are {kinds}"
            )
            return
        await handler(channel, context)

    def _write_audit(self, identity: str, session: str, event: str, facts: Json) -> None:
        self._audit.write(event, {"identity": identity, "session": session} | facts)

    def _end_revoked(self, lookup: Lookup) -> None:
        """End what belongs to tokens that are no longer there."""
        # Every login is compared, not the lists before and after: a token that is added,
        # used and revoked between two looks is in neither.
        for link in [link for link in self._entrance.links if link.is_revoked(lookup)]:
            link.close("revoked", _REVOKED)
        for kept in self._registry:
            if kept.timer is not None and kept.link.is_revoked(lookup):
                self._end_session(kept, SessionClosed("revoked", _REVOKED, by="local"))
        self._named.end_revoked(lookup)

    # Tasks and the end.

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of the server failed", exc_info=task.exception())

    async def drain(self) -> None:
        """Take nothing new, and wait until what runs has ended, `Limits.drain_seconds` at most.

        Running commands are told, clients without one get goodbye at once. `close` comes after;
        it also ends the wait. Cancelling ends the wait alone: the server takes nothing new.
        """
        if self._closing:
            return
        if self._drain is None:
            self._entrance.close()
            self._audit.write("draining", {"commands": self.commands})
            seconds = self.limits.drain_seconds
            self._drain = Drain(self._work, self._registry, self._let_go, seconds)
        await self._drain.run()

    def _let_go(self, kept: KeptSession) -> None:
        """Say goodbye to a session in which nothing runs."""
        kept.link.close("shutdown", _SHUTDOWN)
        if kept in self._registry:  # its link was lost before
            self._end_session(kept, SessionClosed("shutdown", _SHUTDOWN, by="local"))

    async def close(self) -> None:
        """Stop listening, say goodbye, end what runs, and wait for it. Harmless when closed.

        Cancelling ends the wait alone: the server closes all the same.
        """
        self._closing = True
        if self._closer is None:
            self._closer = self._loop.create_task(self._close())
        await asyncio.shield(self._closer)

    async def _close(self) -> None:
        try:
            await self._end_all()
        finally:
            self._closed.set()

    async def _end_all(self) -> None:
        if self._token_watch is not None:
            self._token_watch.close()
        if self._drain is not None:
            self._drain.stop()
        self._entrance.close()
        for link in list(self._entrance.links):
            link.close("shutdown", _SHUTDOWN)
        for kept in self._registry:
            self._end_session(kept, SessionClosed("shutdown", _SHUTDOWN, by="local"))
        if self._jobs is not None:
            self._own(self._jobs.close())
        self._own(self._named.close())
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self._reaper.close()
        self._audit.write("stopped", {})
        self._audit.close()


async def _gone(link: ServerLink) -> None:
    """Wait for the end of a link's byte stream, which its own deadline sees to."""
    if link.driver.stream is not None:
        await link.driver.done.wait()


def home_directory() -> str:
    """Return the user's home directory, / where there is none."""
    home = Path.home() if "HOME" in os.environ else Path("/")
    return str(home) if home.is_dir() else "/"
