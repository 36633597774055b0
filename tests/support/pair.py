"""Two cores joined by pipes of bytes that a test may cut anywhere, and a small application.

Strategy: each end has one `Session` for the whole test and a `Link` for each pipe. The
application holds conversations: the opener names in its request how much flows which way, made
from seeds, so that both ends can check every byte without a word between them. Nothing here
knows a clock; `Pair.now` moves when a test moves it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from rshell.errors import RshellError
from rshell.protocol.channel import (
    ChannelClosed,
    ChannelOpened,
    ChannelRequested,
    ChannelState,
    DataReceived,
    EofReceived,
    Half,
    MessageReceived,
)
from rshell.protocol.codec import Json
from rshell.protocol.link import Event, Link
from rshell.protocol.login import (
    AttachRequested,
    ClientLogin,
    LinkClosed,
    LoggedIn,
    SessionAttached,
)
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.wire import IDENTITY, PLENTY, new_link, take

SESSION_ID = "session-1"


def pattern(seed: int, size: int) -> bytes:
    """Return `size` bytes that nobody would guess without `seed`."""
    return random.Random(seed).randbytes(size)


@dataclass
class Conversation:
    """What one end says and has heard in one channel."""

    channel: ChannelState
    outgoing: bytes
    messages: int  # to send, numbered from 0
    block: int
    sent: int = 0
    said: int = 0
    is_open: bool = False
    has_sent_eof: bool = False
    has_got_eof: bool = False
    heard: bytearray = field(default_factory=bytearray)
    heard_messages: list[Json] = field(default_factory=list)
    unread: int = 0
    closed: int = 0  # how often ChannelClosed came
    cause: RshellError | None = None


class End:
    """One side: its session, its present link, and its conversations by channel number."""

    def __init__(self, role: Role, limits: Bounds) -> None:
        self.role = role
        self.limits = limits
        self.session = Session(role, limits, id=SESSION_ID if role is Role.SERVER else "")
        self.link: Link | None = None
        self.conversations: dict[int, Conversation] = {}
        self.attach_count = 0
        self.closed_by: list[RshellError] = []
        self.reads = True  # whether the application reads what arrives
        self.opened: set[int] = set()

    def connect(self, now: float) -> Link:
        """Begin a new link; the old one is simply forgotten, as after a cut."""
        self.link = new_link(self.role, self.limits, now)
        if self.role is Role.CLIENT:
            self.link.log_in(ClientLogin())
        return self.link

    # The application.

    def converse(self, request: Json) -> Conversation:
        """Open a channel; `request` holds "up" and "down" as [seed, size], "messages", "block"."""
        channel = self.session.open("talk", request)
        self.opened.add(channel.number)
        return self._add(channel, request, request["up"])

    def _add(self, channel: ChannelState, request: Json, mine: list[int]) -> Conversation:
        talk = Conversation(channel, pattern(*mine), request["messages"], request["block"])
        self.conversations[channel.number] = talk
        return talk

    def pump(self, now: float) -> None:
        """Say what may be said now, in every conversation."""
        for talk in self.conversations.values():
            if talk.is_open and not talk.closed:
                if self.reads and talk.unread:
                    self.session.consumed(talk.channel, talk.unread, now)
                    talk.unread = 0
                self._say(talk)

    def _say(self, talk: Conversation) -> None:
        session, channel = self.session, talk.channel
        while talk.sent < len(talk.outgoing):
            room = session.room(channel)
            if not room:
                session.want_room(channel)
                return
            block = talk.outgoing[talk.sent : talk.sent + min(room, talk.block)]
            session.send(channel, channel.number % 3, block)
            talk.sent += len(block)
            if talk.said < talk.messages:
                session.send_message(channel, {"n": talk.said}, urgent=bool(talk.said % 2))
                talk.said += 1
        if not talk.has_sent_eof:
            while talk.said < talk.messages:
                session.send_message(channel, {"n": talk.said}, urgent=bool(talk.said % 2))
                talk.said += 1
            session.send_eof(channel)
            talk.has_sent_eof = True
        if talk.has_got_eof and channel.number in self.opened and channel.ours is Half.ENDED:
            session.close(channel)

    def handle(self, event: Event, now: float) -> None:
        """Do what an end does about an event."""
        assert self.link is not None
        if isinstance(event, LoggedIn):
            assert event.identity == IDENTITY
            if self.role is Role.CLIENT:
                session = self.session
                known = Attach(Resume(session.id, session.secret, session.received))
                self.link.attach(session, known if session.id else Attach(), now)
        elif isinstance(event, AttachRequested):
            if event.attach.resume is None:  # the client never learned of an earlier session
                self.session = Session(self.role, self.limits, id=SESSION_ID)
                self.conversations = {}
            self.session.secret = f"secret-{self.attach_count}"
            for following in self.link.accept_attach(self.session, event.attach, now):
                self.handle(following, now)
        elif isinstance(event, SessionAttached):
            self.attach_count += 1
        elif isinstance(event, LinkClosed):
            self.closed_by.append(event.cause)
        elif isinstance(event, ChannelRequested):
            self._add(event.channel, event.request, event.request["down"]).is_open = True
            self.session.accept(event.channel)
        elif isinstance(event, ChannelOpened):
            self.conversations[event.channel.number].is_open = True
        elif isinstance(event, DataReceived):
            assert event.stream == event.channel.number % 3
            talk = self.conversations[event.channel.number]
            talk.heard += event.data
            talk.unread += len(event.data)
        elif isinstance(event, EofReceived):
            self.conversations[event.channel.number].has_got_eof = True
        elif isinstance(event, MessageReceived):
            self.conversations[event.channel.number].heard_messages.append(event.message)
        elif isinstance(event, ChannelClosed):
            talk = self.conversations[event.channel.number]
            talk.closed += 1
            talk.cause = event.cause


class Pair:
    """A client and a server, and the bytes on their way between them."""

    def __init__(self, limits: Bounds | None = None, server_limits: Bounds | None = None) -> None:
        limits = limits or Bounds()
        self.client = End(Role.CLIENT, limits)
        self.server = End(Role.SERVER, server_limits or limits)
        self.now = 0.0
        self.flight: dict[Role, bytearray] = {}  # by the role of the receiver
        self.delivered: dict[Role, int] = {}  # on the present pair of pipes
        self.room = PLENTY

    @property
    def ends(self) -> tuple[End, End]:
        return self.client, self.server

    def connect(self) -> None:
        """Join both ends by new pipes; what the old ones held is lost."""
        for end in self.ends:
            self.flight[end.role] = bytearray()
            self.delivered[end.role] = 0
            end.connect(self.now)

    def cut(self, *, told: tuple[Role, ...] = (Role.CLIENT, Role.SERVER)) -> None:
        """Lose what is on its way; the ends in `told` learn it, another goes on believing."""
        for end in self.ends:
            self.flight[end.role].clear()
            if end.role in told and end.link is not None:
                self._handle(end, end.link.receive_eof())

    def flush(self, end: End) -> int:
        """Let an end put its output into its pipe; return the bytes."""
        assert end.link is not None
        end.pump(self.now)
        output = take(end.link, self.room, self.now)
        self.flight[end.role.peer] += output
        return len(output)

    def deliver(self, end: End, size: int = PLENTY) -> int:
        """Give an end up to `size` bytes of what is on its way to it; return how many."""
        assert end.link is not None
        flight = self.flight[end.role]
        piece = bytes(flight[:size])
        del flight[: len(piece)]
        self.delivered[end.role] += len(piece)
        if piece:
            self._handle(end, end.link.receive_data(piece, self.now))
        return len(piece)

    def _handle(self, end: End, events: list[Event]) -> None:
        for event in events:
            end.handle(event, self.now)

    def settle(self, stop: dict[Role, int] | None = None) -> bool:
        """Move bytes until nothing moves any more, time included: acknowledgements come due.

        Return False as soon as an end has got as many bytes as `stop` says.
        """
        idle = 0
        while idle < 2:
            moved = 0
            for end in self.ends:
                self.flush(end)
            for end in self.ends:
                left = PLENTY
                if stop and end.role in stop:
                    left = stop[end.role] - self.delivered[end.role]
                moved += self.deliver(end, left)
                if stop and end.role in stop and self.delivered[end.role] >= stop[end.role]:
                    return False
            if moved:
                idle = 0
            else:
                idle += 1
                self.now += max(end.limits.ack_seconds for end in self.ends)
                for end in self.ends:
                    if end.link is not None:
                        self._handle(end, end.link.tick(self.now))
        return True

    def check(self, *, complete: bool) -> None:
        """Assert that all that was heard was said, in order and once; or even all of it."""
        for end, other in ((self.client, self.server), (self.server, self.client)):
            for number, talk in end.conversations.items():
                heard = bytes(talk.heard)
                said = other.conversations.get(number)
                if said is None:
                    assert not heard
                    continue
                assert said.outgoing[: len(heard)] == heard
                urgent = [m["n"] for m in talk.heard_messages if m["n"] % 2]
                plain = [m["n"] for m in talk.heard_messages if not m["n"] % 2]
                assert urgent == list(range(1, 2 * len(urgent), 2))
                assert plain == list(range(0, 2 * len(plain), 2))
                if complete:
                    assert len(heard) == len(said.outgoing)
                    assert len(talk.heard_messages) == said.messages
                    assert talk.has_got_eof
                    # The end that closes first hears nothing more of the channel.
                    assert talk.closed == (0 if number in end.opened else 1)
                    assert talk.cause is None
        if complete:
            self.check_idle()

    def check_idle(self) -> None:
        """Assert that both sessions keep nothing: no channel, no frame, no promised window."""
        for end in self.ends:
            session = end.session
            assert not session.channels
            grown = session.replay.limit - end.limits.replay
            assert session._budget.free == end.limits.session_memory - grown
            assert session.replay.first == session.replay.next
            assert session.replay.size == 0
            assert not session.has_output()
        assert self.client.session.received == self.server.session.replay.next
        assert self.server.session.received == self.client.session.replay.next
