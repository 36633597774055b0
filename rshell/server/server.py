"""The server: who is logged in, and what runs for them.

Everything that lives is reachable from the `Server`, and closing it closes it all: the entrance
first, then links with a word, then handlers, detached jobs and named shells, then what those left
to clean up, the reaper last. Each link is independent; none waits for what another does.

Hazard: `asyncio.Server.wait_closed` hangs on Python 3.12 and later while connections live; it
is not used. Each link's end is waited for instead, which its own deadline sees to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rshell.aio import Tasks
from rshell.channels.base import Context, Handler, Work, own_name
from rshell.channels.job.jobs import Jobs
from rshell.channels.process.server import serve_process
from rshell.channels.shell.named.table import NamedShellTable
from rshell.errors import ConfigurationError, RshellError, SessionClosed
from rshell.execution.inheritance import for_commands
from rshell.execution.reaper_client import Reaper
from rshell.execution.running_process import use_default_sigchld
from rshell.execution.spawn import SpawnQueue
from rshell.protocol.codec import Json
from rshell.protocol.messages import Attach
from rshell.protocol.scram import ScramServer, Verifier
from rshell.protocol.session import Role, Session
from rshell.security.certificates import binding, fingerprint
from rshell.server.admission import Shares
from rshell.server.audit import AuditLog, Refusals
from rshell.server.entrance import Entrance, bind_tcp
from rshell.server.login import ServerLink
from rshell.server.session_table import Drain, KeptSession, SessionTable
from rshell.server.state import Listening, Lookup, TlsIdentity, TokenWatch
from rshell.terminal.output import printable
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession, as_session_error
from rshell.transport.stdio import PipeStream
from rshell.values import Address, Bounds

_log = logging.getLogger("rshell.server")

_LOOK = 1.0  # seconds between two looks for revoked tokens
_SHUTDOWN = "the server is shutting down"
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
        limits: Bounds,
        cwd: str,
        audit: AuditLog,
        jobs: Path | None = None,
    ) -> None:
        use_default_sigchld()
        self.limits = limits
        self.fingerprint = ""
        self.token_line: str | None = None
        self._cwd = cwd
        self._environment = for_commands(os.environ)
        self._audit = audit
        self._reaper = Reaper(limits.kill_grace)
        self._spawner = SpawnQueue(limits.processes, reaper=self._reaper)
        self._work = Work()
        self._jobs = Jobs(jobs, self._spawner, limits, self._work)
        # A server that keeps jobs is there for more than one session.
        self._named = NamedShellTable(
            limits, audit.write, self._verifier_of, keeps=jobs is not None
        )
        self._handlers = (self._command_kinds() if commands else {}) | dict(handlers)
        self._sessions = SessionTable(limits, self._end_session, self._audit.write)
        self._tasks = Tasks(_log_failure)
        self._refusals = Refusals(audit, limits.audit_summary)
        self._entrance = Entrance(self, self._refusals, self._tasks.own)
        self._shares = Shares(
            limits, self._spawner, self._refusals, lambda: len(self._entrance.links)
        )
        self._tls: TlsIdentity | None = None
        self._token_watch: TokenWatch | None = None
        self._closed = asyncio.Event()
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
        return len(self._sessions)

    @property
    def commands(self) -> int:
        """How many commands run, jobs included."""
        return self._work.commands

    def status(self) -> str:
        """Return what there is now, and who was turned away since the start, on one line."""
        parked, unfinished = self._sessions.parked, self._entrance.unfinished
        turned_away = [f"{reason} {n}" for reason, n in self._refusals.total.most_common()]
        return (
            f"sessions {self.sessions} ({parked} without a link), "
            f"links {len(self._entrance.links)} ({unfinished} not logged in), "
            f"commands {self.commands}, jobs {len(self._jobs)}, named shells {len(self._named)}; "
            f"turned away: {', '.join(turned_away) or 'nobody'}"
        )

    def reopen(self) -> None:
        """Begin the audit log anew where it was moved away, without waiting for the next look."""
        self._audit.reopen()

    # Beginning.

    def listen_tls(self, host: str, port: int, identity: TlsIdentity) -> None:
        """Serve TLS on every address of `host`. Raises ConfigurationError."""
        try:
            sockets = bind_tcp(host, port)
        except OSError as error:
            raise ConfigurationError(
                f"can't listen at {host} port {port}: {error.strerror or error}. "
                "Choose another --port, or end what listens there."
            ) from error
        self._tls = identity
        self.fingerprint = fingerprint(identity.certificate)
        self._entrance.listen_tls(sockets, identity.context)
        Listening.of(host, self.addresses, self.fingerprint).save(identity.directory)
        self._token_watch = TokenWatch(identity.tokens, self._end_revoked, self._kill_jobs, _LOOK)
        if identity.own is not None:
            self.token_line = str(replace(identity.own, address=self.addresses[0]))

    def listen_unix(self, path: Path) -> None:
        """Serve this user's own processes on a Unix socket."""
        self._entrance.listen_unix(path)

    def listen_handed(self, path: Path) -> None:
        """Serve what this user's own processes hand over at a Unix socket."""
        self._entrance.listen_handed(path)

    @property
    def is_idle(self) -> bool:
        """Whether there is no link, no session, no job that runs and no named shell."""
        busy = self._entrance.links or self.sessions or self.commands
        return not busy and not len(self._named)

    async def serve_stdio(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        """Serve one session on a pair of pipes; returns when it is over."""
        link = self._entrance.open_link("stdio", own_name())
        stream = PipeStream(link.driver, self.limits)
        stream.connect(incoming, outgoing)
        await link.driver.done.wait()

    def _command_kinds(self) -> dict[str, Handler]:
        """Return the handlers of the kinds that every server has."""
        return {
            "files": _serve_files,
            "job": self._jobs.serve,
            "process": serve_process,
            "sessions": self._named.serve_sessions,
            "shell": self._named.serve_shell,
        }

    # What links ask for.

    def new_scram(self, source: str) -> ScramServer:
        """Return the server's side of one login by token."""
        assert self._tls is not None
        tokens = self._tls.tokens

        def look_up(identity: str) -> Verifier | None:
            self._entrance.check_penalty(source, identity)
            return tokens.lookup(identity)

        return ScramServer(look_up, tokens.fake_key, binding(self._tls.certificate))

    def logged_in(self, link: ServerLink) -> None:
        """A login succeeded."""
        self._entrance.logged_in(link)
        self._audit.write("login", {"identity": link.identity, "source": link.source})

    def login_failed(self, link: ServerLink, reason: str) -> None:
        """A login failed."""
        self._entrance.login_failed(link, reason)

    def find_session(self, link: ServerLink, attach: Attach) -> LiveSession:
        """Return the session that a link which has logged in asks for, new or kept."""
        if attach.resume is None:
            if self._drain is not None:
                raise SessionClosed("shutdown", _SHUTDOWN, by="local")
            if refusal := self._sessions.crowded(link.identity):
                self._refusals.count(refusal.limit, link.identity)
                raise SessionClosed("busy", refusal.reason, by="local")
            return self._sessions.add(self._new_session(link), link, attach).live
        return self._sessions.resume(link, attach).live

    def _new_session(self, link: ServerLink) -> LiveSession:
        session = Session(
            Role.SERVER, self.limits, id=secrets.token_hex(8), secret=secrets.token_urlsafe(32)
        )
        context = Context(
            identity=link.identity,
            session=session.id,
            limits=self.limits,
            cwd=self._cwd,
            environment=self._environment
            if link.environment is None
            else for_commands(link.environment),
            spawner=self._shares.spawner_of(link.identity),
            audit=partial(self._write_audit, link.identity, session.id),
            clean_up=self._tasks.own,
            working=partial(self._work.begin, session.id),
        )
        return LiveSession(session, partial(self._serve, context))

    def _verifier_of(self, session: str) -> Verifier | None:
        """Return what the login of a session was checked against; None without a token."""
        return self._sessions[session].link.login.verifier

    def link_closed(self, link: ServerLink, cause: RshellError) -> None:
        """A link is over; its session goes on, waits for another link, or ends."""
        self._tasks.own(_gone(link))
        if not self._entrance.link_closed(link, cause):
            _log.info("no login from %s: %s", link.source, printable(str(cause)))
        kept = self._sessions.find(link)
        if kept is None:
            return
        if not self._is_closing and self._sessions.detach(kept, cause):
            self._audit.write("detach", self._name(kept) | {"reason": str(cause)})
        else:
            self._end_session(kept, cause)

    def _end_session(self, kept: KeptSession, cause: RshellError) -> None:
        self._sessions.remove(kept)
        if isinstance(cause, SessionClosed) and cause.code == "busy":
            self._refusals.count("parked_each", kept.identity)
        self._audit.write("end", self._name(kept) | {"reason": str(cause)})
        kept.live.end(as_session_error(cause))
        self._tasks.own(kept.live.join())

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
        with self._shares.channel(context.identity) as refusal:
            if refusal:
                channel.refuse("busy", refusal)
            else:
                await handler(channel, context)

    def _write_audit(self, identity: str, session: str, event: str, facts: Json) -> None:
        self._audit.write(event, {"identity": identity, "session": session} | facts)

    def _end_revoked(self, lookup: Lookup) -> None:
        """End what belongs to tokens that are no longer there."""
        # Every login is compared, not the lists before and after: a token that is added,
        # used and revoked between two looks is in neither.
        for link in [link for link in self._entrance.links if link.login.is_revoked(lookup)]:
            link.close("revoked", _REVOKED)
        for kept in self._sessions:
            if kept.timer is not None and kept.link.login.is_revoked(lookup):
                self._end_session(kept, SessionClosed("revoked", _REVOKED, by="local"))
        self._named.end_revoked(lookup)

    def _kill_jobs(self, identity: str) -> None:
        self._tasks.own(self._jobs.end_all(identity, "revoked"))

    # The end.

    @property
    def _is_closing(self) -> bool:
        return self._closer is not None

    async def drain(self) -> None:
        """Take nothing new, and wait until what runs has ended, `Limits.drain_seconds` at most.

        Running commands are told, clients without one get goodbye at once. `close` comes after;
        it also ends the wait. Cancelling ends the wait alone: the server takes nothing new.
        """
        if self._is_closing:
            return
        if self._drain is None:
            self._entrance.close()
            self._audit.write("draining", {"commands": self.commands})
            seconds = self.limits.drain_seconds
            self._drain = Drain(self._work, self._sessions, self._let_go, seconds)
        await self._drain.run()

    def _let_go(self, kept: KeptSession) -> None:
        """Say goodbye to a session in which nothing runs."""
        kept.link.close("shutdown", _SHUTDOWN)
        if kept in self._sessions:  # its link was lost before
            self._end_session(kept, SessionClosed("shutdown", _SHUTDOWN, by="local"))

    async def close(self) -> None:
        """Stop listening, say goodbye, end what runs, and wait for it; done once.

        Cancelling ends the wait alone: the server closes all the same.
        """
        if self._closer is None:
            self._closer = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closer)

    async def _close(self) -> None:
        try:
            if self._token_watch is not None:
                self._token_watch.close()
            if self._drain is not None:
                self._drain.stop()
            self._entrance.close()
            for link in list(self._entrance.links):
                link.close("shutdown", _SHUTDOWN)
            for kept in self._sessions:
                self._end_session(kept, SessionClosed("shutdown", _SHUTDOWN, by="local"))
            self._tasks.own(self._jobs.close())
            self._tasks.own(self._named.close())
            await self._tasks.join()
            await self._reaper.close()
            self._refusals.close()
            self._audit.write("stopped", {})
            self._audit.close()
        finally:
            self._closed.set()


async def _serve_files(channel: Channel, context: Context) -> None:
    """Serve a channel of files; a server that is started for one command does not load that."""
    from rshell.channels.files.server import serve_files

    await serve_files(channel, context)


def _log_failure(error: BaseException) -> None:
    _log.error("a task of the server failed", exc_info=error)


async def _gone(link: ServerLink) -> None:
    """Wait for the end of a link's byte stream, which its own deadline sees to."""
    if link.driver.stream is not None:
        await link.driver.done.wait()
