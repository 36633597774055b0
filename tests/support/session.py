"""Sessions for tests: both ends in memory, or a real server and client over TLS on loopback."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import rshell
from rshell.aio import timeout
from rshell.channels.base import Handler
from rshell.client.client import Client
from rshell.client.links import ClientLink
from rshell.errors import RshellError
from rshell.protocol.codec import Json
from rshell.protocol.messages import Attach
from rshell.protocol.scram import ScramServer
from rshell.protocol.session import Role, Session
from rshell.server.login import ServerLink
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.transport.live_session import LiveSession, Serve, as_session_error
from rshell.transport.sockets import SocketStream
from rshell.values import Bounds
from tests.support.memory import MemoryStream, join_in_memory

DEADLINE = 30.0
IDENTITY = "tester"
_PASSES = 10_000


async def refuse_all(channel: Channel) -> None:
    """A server that offers nothing."""
    channel.refuse("unknown-kind", "nothing here")


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop pass until `condition()`; fail when it does not come true."""
    for _ in range(_PASSES):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for did not come true")


class ServerEnd:
    """A server of one link that trusts whoever is at the other end.

    Its session ends with the link, unless another link is to have it (`keeps`).
    """

    def __init__(
        self, serve: Serve = refuse_all, limits: Bounds | None = None, *, keeps: bool = False
    ) -> None:
        self.limits = limits or Bounds()
        self.live: LiveSession | None = None
        self.cause: RshellError | None = None
        self._serve = serve
        self._keeps = keeps
        self.link = ServerLink(self, "memory", IDENTITY, asyncio.get_running_loop().time())

    @property
    def driver(self) -> Driver:
        """The driver of its link."""
        return self.link.driver

    def new_scram(self, source: str) -> ScramServer:
        """Nobody logs in by token here."""
        raise AssertionError("a trusted link asked for a login")

    def logged_in(self, link: ServerLink) -> None:
        """A login succeeded."""

    def login_failed(self, link: ServerLink, reason: str) -> None:
        """A login failed."""

    def find_session(self, link: ServerLink, attach: Attach) -> LiveSession:
        """Return the one session."""
        if self.live is None:
            session = Session(Role.SERVER, self.limits, id="session-1", secret="secret-1")
            self.live = LiveSession(session, self._serve)
        return self.live

    def link_closed(self, link: ServerLink, cause: RshellError) -> None:
        """The link is over."""
        assert self.cause is None
        self.cause = cause
        if self.live is not None and not self._keeps:
            self.live.end(as_session_error(cause))

    async def join(self) -> None:
        """Drop the link if it lives, and wait for the end of it and of every handler."""
        self.driver.abort()
        await self.driver.done.wait()
        if self.live is not None:
            await self.live.join()


class JoinedSession:
    """A client and a server of one session, in this process."""

    def __init__(self, serve: Serve, limits: Bounds, server_limits: Bounds) -> None:
        self.client = ClientLink(None, None, limits)
        self.server = ServerEnd(serve, server_limits)
        self.live = self.client.live

    @property
    def server_live(self) -> LiveSession:
        """The server's end of the session."""
        assert self.server.live is not None
        return self.server.live

    async def open(self, kind: str = "test", request: Json | None = None) -> Channel:
        """Open a channel and wait for the answer."""
        channel = self.live.open_channel(kind, request or {})
        await channel.wait_opened()
        return channel

    async def close(self) -> None:
        """Let go of everything."""
        self.client.driver.abort()
        await self.server.join()
        await self.client.driver.done.wait()
        await self.live.join()


class MemorySession(JoinedSession):
    """One that is joined in memory; `stream` and `server_stream` are the two ends."""

    def __init__(self, serve: Serve, limits: Bounds, server_limits: Bounds, piece: int) -> None:
        super().__init__(serve, limits, server_limits)
        ends: tuple[MemoryStream, MemoryStream] = join_in_memory(
            self.client.driver, self.server.driver, limit=limits.transport_buffer, piece=piece
        )
        self.stream, self.server_stream = ends


@asynccontextmanager
async def socket_session(
    serve: Serve,
    make_stream: Callable[[Driver, bool], SocketStream],
    *,
    family: int = socket.AF_INET,
    limits: Bounds | None = None,
) -> AsyncIterator[JoinedSession]:
    """Join both ends by real sockets; `make_stream(driver, is_server)` makes each stream."""
    loop = asyncio.get_running_loop()
    limits = limits or Bounds()
    async with timeout(DEADLINE):
        session = JoinedSession(serve, limits, limits)
        try:
            for sock, driver in zip(
                connected(family), (session.client.driver, session.server.driver)
            ):
                make = partial(make_stream, driver, driver is session.server.driver)
                await loop.connect_accepted_socket(make, sock)
            await session.client.attached
            yield session
        finally:
            await session.close()


def connected(family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    """Return two sockets that are connected to each other, over TCP on the loopback or not."""
    if family == socket.AF_UNIX:
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@asynccontextmanager
async def memory_session(
    serve: Serve = refuse_all,
    *,
    limits: Bounds | None = None,
    server_limits: Bounds | None = None,
    piece: int = 64 * 1024,
) -> AsyncIterator[MemorySession]:
    """Join a client and a server that runs `serve` for each channel, within a deadline."""
    limits = limits or Bounds()
    async with timeout(DEADLINE):
        session = MemorySession(serve, limits, server_limits or limits, piece)
        try:
            await session.client.attached
            yield session
        finally:
            await session.close()


@asynccontextmanager
async def tls_session(
    *,
    limits: Bounds | None = None,
    handlers: Mapping[str, Handler] | None = None,
    commands: bool | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[Client]:
    """Run a real server and yield a client that reached it over TLS, within a deadline.

    The server gets `limits`; it keeps its key and token where the test's environment says. The
    client has no witness, which would begin where a test happens to take long.
    """
    alone = replace(limits or Bounds(), witness_after=math.inf)
    path = None if cwd is None else str(cwd)
    async with (
        timeout(DEADLINE),
        rshell.serve(
            "127.0.0.1", 0, limits=limits, handlers=handlers, commands=commands, cwd=path
        ) as server,
        rshell.connect(server.addresses[0], limits=alone) as client,
    ):
        yield client
