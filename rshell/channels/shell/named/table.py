"""All named shells of a server, by identity and name, and the kinds `shell` and `sessions`.

The first to ask for a name makes its shell, and those who come meanwhile wait until it has
started. A shell takes its place among those that are allowed before that, and gives it back if it
can't be started. An identity reaches its own only: another's and none are refused in the same
words.

Hazard: a named shell belongs to a login, not only to a name. Where that was by token, the shell
ends with the token, so it remembers what the token was checked against.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rshell.channels.base import Context, answer_request, send_list, type_notice
from rshell.channels.process.messages import Notice
from rshell.channels.shell.messages import (
    NamedShellsEnd,
    NamedShellsRequest,
    ShellRequest,
)
from rshell.channels.shell.named.named_shell import NamedShell
from rshell.channels.shell.server import PlainShell
from rshell.errors import ChannelRefused
from rshell.protocol.codec import Json
from rshell.protocol.scram import Verifier
from rshell.transport.channel import Channel
from rshell.values import Bounds

_SHUTDOWN = "the server is shutting down"
_KEEPS_NONE = (
    "named shells end with their server, and this one serves a single connection. "
    "Start rshell-server on its own."
)


class NamedShellTable:
    """The named shells of a server, of which one that `keeps` none makes none.

    `verifier_of(session)` returns what the login of a session was checked against, None where it
    needed no token; `audit` is the server's log.
    """

    def __init__(
        self,
        limits: Bounds,
        audit: Callable[[str, Json], None],
        verifier_of: Callable[[str], Verifier | None],
        *,
        keeps: bool,
    ) -> None:
        self._limits = limits
        self._audit = audit
        self._verifier_of = verifier_of
        self._keeps = keeps
        self._shells: dict[tuple[str, str], NamedShell] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._shells)

    async def serve_sessions(self, channel: Channel, context: Context) -> None:
        """Answer one request about the named shells of `context.identity`.

        An end that was asked for goes on without its asker.
        """
        await answer_request(channel, NamedShellsRequest, partial(self._answer, channel, context))

    async def _answer(
        self, channel: Channel, context: Context, request: NamedShellsRequest
    ) -> None:
        self._check_kept()
        if request.verb == "list":
            shells = (self._shells[key] for key in self._shells if key[0] == context.identity)
            infos = [shell.info() for shell in shells if shell.started.is_set()]
            send_list(channel, infos, NamedShellsEnd)  # the oldest first
        else:
            assert request.name is not None
            shell = self._find(context.identity, request.name)
            info = shell.info()  # as it stood before
            shell.end("killed", "somebody ended this shell")
            await shell.gone.wait()
            channel.accept()
            channel.send_message(info.encode())

    async def serve_shell(self, channel: Channel, context: Context) -> None:
        """Keep a shell for the channel until the client closes it or the shell leaves.

        With a name in its request: attach the channel to the shell of that name, or have it watch.
        """
        await answer_request(channel, ShellRequest, partial(self._serve, channel, context))

    async def _serve(self, channel: Channel, context: Context, request: ShellRequest) -> None:
        if request.name is None:
            await PlainShell(channel, context, request).serve()
            return
        assert request.terminal is not None
        self._check_kept()
        if request.share:
            await self._find(context.identity, request.name).watch(channel, context)
            return
        shell, is_new = await self._obtain(context, request)
        attachment = shell.attach(channel, context, request.terminal.size, is_new=is_new)
        if request.errands:
            attachment.conversation.take_errands()
        if is_new and (text := type_notice(request, shell.shell.environment)):
            attachment.send(Notice(text))
        try:
            await channel.wait_closed()
        finally:
            shell.detach(attachment)

    def end_revoked(self, lookup: Callable[[str], Verifier | None]) -> None:
        """End the shells made by a token that is no longer the one that `lookup` finds."""
        for shell in list(self._shells.values()):
            if shell.verifier is not None and lookup(shell.identity) != shell.verifier:
                shell.end("killed", "the token that made it was revoked")

    async def close(self) -> None:
        """End every shell and wait for that; no more are made. For the server's end."""
        self._is_closed = True
        shells = list(self._shells.values())
        for shell in shells:
            shell.end("killed", _SHUTDOWN)
        for shell in shells:
            await shell.gone.wait()

    async def _obtain(self, context: Context, request: ShellRequest) -> tuple[NamedShell, bool]:
        """Return the shell of `context.identity` that `request` names, and whether it is new.

        It is there at the moment of returning. Cancelling the one who makes it leaves nothing.
        """
        assert request.name is not None
        key = (context.identity, request.name)
        while (shell := self._shells.get(key)) is not None:
            if shell.started.is_set():
                return shell, False
            await shell.started.wait()
        self._check_limits(context.identity)
        verifier = self._verifier_of(context.session)
        shell = NamedShell(
            context, request, verifier, self._audit, lambda: self._shells.pop(key, None)
        )
        self._shells[key] = shell
        await shell.start()
        return shell, True

    def _find(self, identity: str, name: str) -> NamedShell:
        shell = self._shells.get((identity, name))
        if shell is None or not shell.started.is_set():
            raise ChannelRefused(
                "unknown-session", f"there is no named shell {name!r} of yours here"
            )
        return shell

    def _check_kept(self) -> None:
        if not self._keeps:
            raise ChannelRefused("failed", _KEEPS_NONE)

    def _check_limits(self, identity: str) -> None:
        if self._is_closed:
            raise ChannelRefused("failed", _SHUTDOWN)
        own = sum(owner == identity for owner, _ in self._shells)
        if own >= self._limits.named_shells_each:
            raise ChannelRefused(
                "busy", f"{own} named shells of yours are open, as many as this server allows"
            )
        if len(self._shells) >= self._limits.named_shells:
            raise ChannelRefused("busy", "the server has as many named shells as it takes")
