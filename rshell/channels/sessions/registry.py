"""All named shells of a server, by identity and name.

Strategy: who asks for a name first makes its session, and whoever comes meanwhile waits until
its shell has started. A session takes its place among those that are allowed before that, and
gives it back if the shell can't be started. An identity reaches its own only: another's and none
are refused in the same words.

Hazard: a session belongs to a login, not only to a name. Where that was by token, the session
ends with the token, so it remembers what the token was checked against.
"""

from __future__ import annotations

from collections.abc import Callable

from rshell.channels.base import Context
from rshell.channels.process.messages import STDIN
from rshell.channels.sessions.hub import Hub
from rshell.channels.sessions.messages import NamedShellInfo
from rshell.channels.shell.messages import ShellRequest
from rshell.errors import ChannelRefused
from rshell.protocol.messages import Json
from rshell.security.scram import Verifier
from rshell.transport.channel import Channel
from rshell.values import Limits

_SHUTDOWN = "the server is shutting down"


class NamedShells:
    """The named shells of a server. Methods raise ChannelRefused with the code for the peer."""

    def __init__(self, limits: Limits, audit: Callable[[str, Json], None]) -> None:
        self._limits = limits
        self._audit = audit
        self._hubs: dict[tuple[str, str], Hub] = {}
        self._closed = False

    async def serve(self, channel: Channel, context: Context, request: ShellRequest) -> None:
        """Attach a channel to the session that `request` names, or have it watch.

        Returns when the channel is over.
        """
        assert request.name is not None and request.terminal is not None
        if request.share:
            await _watch(self._find(context.identity, request.name), channel, context)
            return
        hub, is_new = await self._obtain(context, request)
        seat = hub.attach(channel, context, request.terminal, is_new=is_new)
        try:
            await channel.wait_closed()
        finally:
            hub.detach(seat)

    def list(self, identity: str) -> list[NamedShellInfo]:
        """Return an identity's sessions, the oldest first."""
        hubs = (hub for (owner, _), hub in self._hubs.items() if owner == identity)
        return [hub.info() for hub in hubs if hub.started.is_set()]

    async def end(self, identity: str, name: str) -> NamedShellInfo:
        """End a session, and return it as it stood before. Cancelling does not save it."""
        hub = self._find(identity, name)
        info = hub.info()
        hub.end("killed", "somebody ended this shell")
        await hub.wait_gone()
        return info

    async def _obtain(self, context: Context, request: ShellRequest) -> tuple[Hub, bool]:
        """Return the session of `context.identity` that `request` names, and whether it is new.

        It is there at the moment of returning. Cancelling the one who makes it leaves nothing.
        """
        assert request.name is not None
        key = (context.identity, request.name)
        while (hub := self._hubs.get(key)) is not None:
            if hub.started.is_set():
                return hub, False
            await hub.started.wait()
        self._check_limits(context.identity)
        hub = self._hubs[key] = Hub(context, request, self._audit, self._forget)
        await hub.start()
        return hub, True

    def end_revoked(self, lookup: Callable[[str], Verifier | None]) -> None:
        """End the sessions made by a token that is no longer the one that `lookup` finds."""
        for hub in list(self._hubs.values()):
            if hub.verifier is not None and lookup(hub.identity) != hub.verifier:
                hub.end("killed", "the token that made it was revoked")

    async def close(self) -> None:
        """End every session and wait for that; no more are made. For the server's end."""
        self._closed = True
        hubs = list(self._hubs.values())
        for hub in hubs:
            hub.end("killed", _SHUTDOWN)
        for hub in hubs:
            await hub.wait_gone()

    def _find(self, identity: str, name: str) -> Hub:
        hub = self._hubs.get((identity, name))
        if hub is None or not hub.started.is_set():
            raise ChannelRefused(
                "unknown-session", f"there is no named shell {name!r} of yours here"
            )
        return hub

    def _check_limits(self, identity: str) -> None:
        if self._closed:
            raise ChannelRefused("failed", _SHUTDOWN)
        own = sum(owner == identity for owner, _ in self._hubs)
        if own >= self._limits.named_shells_each:
            raise ChannelRefused(
                "busy", f"{own} named shells of yours are open, as many as this server allows"
            )
        if len(self._hubs) >= self._limits.named_shells:
            raise ChannelRefused("busy", "the server has as many named shells as it takes")

    def _forget(self, hub: Hub) -> None:
        self._hubs.pop((hub.identity, hub.name), None)


async def _watch(hub: Hub, channel: Channel, context: Context) -> None:
    watcher = hub.watch(channel, context)
    try:
        async for _ in channel.stream(STDIN):
            pass  # thrown away
        await channel.wait_closed()
    finally:
        hub.unwatch(watcher)
