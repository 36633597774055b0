"""Who stands between a client and a server on the loopback and cuts what they say.

Strategy: a relay of plain bytes in the event loop of the test. A `Plan` says what becomes of
one link: after how many bytes of which direction it is cut, and how each end hears of it. Plans
are used up one link after another; without one, a link is left alone.

Hazard: a direction is read only as fast as the other side takes it, or the relay would hold
what a test thinks is held back at an end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from tests.support.proxy import reset

_BLOCK = 64 * 1024


class Way(Enum):
    """A direction of bytes."""

    UP = "from the client"
    DOWN = "from the server"


class How(Enum):
    """How an end hears of a cut."""

    FIN = "its connection ends"
    RST = "its connection is reset"
    SILENCE = "not at all"


@dataclass(frozen=True)
class Plan:
    """Cut a link once `after` bytes of the direction `way` were passed on."""

    way: Way
    after: int
    client: How = How.RST
    server: How = How.RST


class Cutter:
    """Passes connections on to `port`, as it is told. `address` is where clients go.

    `links` counts connections that were let through, `cuts` those that were cut; `source` is the
    address from which the server sees the next one come.
    """

    def __init__(self, port: int, plans: Iterator[Plan] | None = None) -> None:
        self.links = 0
        self.cuts = 0
        self.plans: Iterator[Plan] = iter(()) if plans is None else plans
        self.changed = asyncio.Event()
        self.source = "127.0.0.1"
        self._port = port
        self._passing: dict[asyncio.Task[None], list[socket.socket]] = {}
        self._silent: list[socket.socket] = []
        self._listening: socket.socket | None = None
        self._held: socket.socket | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._own_port = 0
        self.let_through()
        self.address = f"127.0.0.1:{self._own_port}"

    async def __aenter__(self) -> Cutter:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.refuse()
        if self._held is not None:
            self._held.close()
        await self.cut()
        for sock in self._silent:
            reset(sock)

    # What a test tells it.

    def let_through(self) -> None:
        """Take connections (again)."""
        if self._listening is None:
            if self._held is None:
                self._held = bound(self._own_port)
            listening, self._held = self._held, None
            listening.listen()
            self._own_port = listening.getsockname()[1]
            self._listening = listening
            asyncio.get_running_loop().add_reader(listening, self._accept)

    def refuse(self) -> None:
        """Take no new connections: the machine refuses them."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
            self._held = bound(self._own_port)  # or somebody else may get the port

    async def cut(self, client: How = How.RST, server: How = How.RST) -> None:
        """Cut all links now."""
        for task, ends in list(self._passing.items()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for sock, how in zip(ends, (client, server)):
                self._end(sock, how)

    async def damage(self) -> None:
        """Say something to all clients that the server did not say."""
        record = b"\x17\x03\x03\x00\x20" + bytes(32)
        for client, _ in list(self._passing.values()):
            await asyncio.get_running_loop().sock_sendall(client, record)

    def freeze(self) -> None:
        """Pass nothing more on, and say nothing; new connections are taken all the same."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Pass on again what comes and what has waited."""
        self._thawed.set()

    async def count(self, links: int) -> None:
        """Wait until so many connections were taken."""
        while self.links < links:
            self.changed.clear()
            await self.changed.wait()

    # How it is done.

    def _accept(self) -> None:
        # No `sock_accept`: one that is cancelled with a connection in its hands drops it.
        assert self._listening is not None
        try:
            client, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # it has gone by itself
        server = socket.socket()
        ends = [client, server]
        for sock in ends:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.links += 1
        self.changed.set()
        task = asyncio.create_task(self._pass(client, server, next(self.plans, None)))
        self._passing[task] = ends
        task.add_done_callback(self._passing.pop)

    async def _pass(self, client: socket.socket, server: socket.socket, plan: Plan | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            server.bind((self.source, 0))
            await loop.sock_connect(server, ("127.0.0.1", self._port))
        except OSError:
            self._end(client, How.RST)
            server.close()
            return
        limits = {way: plan.after if plan and plan.way is way else None for way in Way}
        tasks = [
            asyncio.create_task(self._flow(client, server, limits[Way.UP])),
            asyncio.create_task(self._flow(server, client, limits[Way.DOWN])),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            is_cut = any(task.result() for task in done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if is_cut and plan is not None:
            self.cuts += 1
        else:
            plan = Plan(Way.UP, 0, How.FIN, How.FIN)  # one of them has ended it
        self._end(client, plan.client)
        self._end(server, plan.server)

    async def _flow(self, source: socket.socket, sink: socket.socket, limit: int | None) -> bool:
        """Pass bytes on to the end of the connection; return True at the limit before it."""
        loop = asyncio.get_running_loop()
        try:
            while limit is None or limit > 0:
                data = await loop.sock_recv(source, _BLOCK if limit is None else min(limit, _BLOCK))
                await self._thawed.wait()
                if not data:
                    return False
                await loop.sock_sendall(sink, data)
                if limit is not None:
                    limit -= len(data)
        except OSError:
            return False
        return True

    def _end(self, sock: socket.socket, how: How) -> None:
        if how is How.SILENCE:
            self._silent.append(sock)
        elif how is How.RST:
            reset(sock)
        else:
            sock.close()


def bound(port: int) -> socket.socket:
    """Take `port`, 0 for any that is free; while nobody listens there, it refuses."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    return sock
