"""Two cores joined by a path with a length and a rate, in simulated time.

Strategy: each direction is a wire that takes a second for `rate` bytes and delivers them `delay`
seconds later, in pieces. What waits for the wire is what a transport and a kernel would hold, and
a core is asked for no more while `buffer` bytes do. Events are taken in the order of their times;
nothing else passes time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial

from rshell.protocol.channel import (
    ChannelOpened,
    ChannelRequested,
    ChannelState,
    DataReceived,
)
from rshell.protocol.codec import Json
from rshell.protocol.link import Event, Link
from rshell.protocol.login import AttachRequested, ClientLogin, LinkClosed, LoggedIn
from rshell.protocol.messages import Attach
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.wire import join, new_link

BUFFER = 256 * 1024


class SimulatedEnd:
    """One side. `sources` say what each of its channels wants to send, `heard` what came."""

    def __init__(self, path: SimulatedPath, role: Role, limits: Bounds) -> None:
        self.session = Session(role, limits, id="session-1" if role is Role.SERVER else "")
        self.link: Link = new_link(role, limits, 0.0)
        self.sources: dict[int, tuple[int, int]] = {}  # bytes left, bytes of a block
        self.heard: dict[int, list[tuple[float, int]]] = {}
        self.closed_by: Exception | None = None
        self.free_at = 0.0  # when the wire from here has sent all that was handed to it
        self._path = path
        self._timer = float("inf")
        if role is Role.CLIENT:
            self.link.log_in(ClientLogin())

    def flush(self) -> None:
        """Write what there is room for, as a driver does, and let sources go on."""
        now = self._path.now
        while True:
            self._fill()
            waiting = (self.free_at - now) * self._path.rate
            buffers = self.link.data_to_send(int(self._path.buffer - max(0.0, waiting)), now)
            if not buffers:
                break
            self._path.send(self, join(buffers))
        deadline = self.link.next_deadline()
        if deadline is not None and deadline < self._timer:
            self._timer = deadline
            self._path.at(deadline, self._tick)

    def _fill(self) -> None:
        session = self.session
        for number, (left, block) in list(self.sources.items()):
            channel = session.channels.get(number)
            while left and channel is not None and (room := session.room(channel)):
                size = min(left, block, room)
                session.send(channel, 0, bytes(size))
                left -= size
            self.sources[number] = left, block

    def _tick(self) -> None:
        self._timer = float("inf")
        self.act(self.link.tick(self._path.now))

    def receive(self, data: bytes) -> None:
        """Take bytes off the wire."""
        self.act(self.link.receive_data(data, self._path.now))

    def act(self, events: list[Event]) -> None:
        """Do what events ask for, then write."""
        now = self._path.now
        for event in events:
            if isinstance(event, LoggedIn) and self.link.role is Role.CLIENT:
                self.link.attach(self.session, Attach(), now)
            elif isinstance(event, AttachRequested):
                self.link.accept_attach(self.session, event.attach, now)
            elif isinstance(event, LinkClosed):
                self.closed_by = event.cause
            elif isinstance(event, ChannelRequested):
                self.session.accept(event.channel)
                self.sources[event.channel.number] = event.request["size"], event.request["block"]
            elif isinstance(event, ChannelOpened):
                self.sources.setdefault(event.channel.number, (0, 1))
            elif isinstance(event, DataReceived):
                heard = self.heard.setdefault(event.channel.number, [])
                heard.append((now, len(event.data)))
                self.session.consumed(event.channel, len(event.data), now)
        self.flush()

    def received(self, start: float = 0.0, end: float = float("inf")) -> int:
        """Return the bytes heard between two moments."""
        return sum(size for heard in self.heard.values() for at, size in heard if start <= at < end)


class SimulatedPath:
    """A client and a server with `delay` seconds each way and `rate` bytes a second."""

    def __init__(
        self, delay: float, rate: float, *, buffer: int = BUFFER, limits: Bounds | None = None
    ) -> None:
        limits = limits or Bounds()
        self.delay = delay
        self.rate = rate
        self.buffer = buffer
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.client = SimulatedEnd(self, Role.CLIENT, limits)
        self.server = SimulatedEnd(self, Role.SERVER, limits)
        for end in (self.client, self.server):
            end.flush()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Call `what` at that moment."""
        heapq.heappush(self._events, (when, next(self._order), what))

    def send(self, sender: SimulatedEnd, data: bytes) -> None:
        """Put bytes on the wire, to arrive in pieces of a hundredth of a second, or of 64 KiB."""
        other = self.server if sender is self.client else self.client
        piece = max(256, min(64 * 1024, int(self.rate / 100)))
        for start in range(0, len(data), piece):
            part = data[start : start + piece]
            sender.free_at = max(self.now, sender.free_at) + len(part) / self.rate
            self.at(sender.free_at + self.delay, partial(other.receive, part))
            self.at(sender.free_at, sender.flush)

    def run(self, until: float, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until that moment, or until `stop()`."""
        while self._events and self._events[0][0] <= until and not stop():
            self.now, _, what = heapq.heappop(self._events)
            what()
        if not stop():
            self.now = until

    def open(self, request: Json) -> ChannelState:
        """Open a channel from the client; the server sends `size` bytes in blocks of `block`."""
        self.run(self.now + 60.0, stop=lambda: self.client.link.session is not None)
        channel = self.client.session.open("talk", request)
        self.client.flush()
        self.run(self.now + 60.0, stop=lambda: channel.number in self.client.sources)
        return channel
