"""Hostile bytes against links: every input has a documented outcome and bounded cost.

Each `fuzz_...` builds one input, and an honest application beside it, out of what `chance` says: a
random generator with a seed, or the bytes of a fuzzer, which then learns what leads deeper.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from rshell.errors import (
    AuthenticationFailed,
    LinkLost,
    RemoteProtocolError,
    ResumeFailed,
    SessionClosed,
    VersionMismatch,
)
from rshell.protocol.channel import TRANSITIONS, ChannelRequested, ChannelState, DataReceived
from rshell.protocol.frames import HEADER, KNOWN_TYPES, FrameType
from rshell.protocol.link import Event, Link
from rshell.protocol.login import (
    AttachRequested,
    ClientLogin,
    LinkClosed,
    LoggedIn,
    ServerLogin,
)
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.scram import ScramClient, ScramServer, Verifier
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.pair import Pair
from tests.support.wire import (
    IDENTITY,
    PLENTY,
    at_stage,
    attached,
    decode_frames,
    frame,
    new_link,
    stages,
    take,
)

LIMITS = Bounds(
    frame=64 * 1024,
    window=4000,
    window_smallest=1000,
    window_largest=16_000,
    session_memory=20_000,
    channel_queue=3000,
    replay=20_000,
    replay_largest=40_000,
    control_burst=40,
    control_rate=10.0,
    ping_burst=15,
    ping_rate=5.0,
    queued_replies=25,
    channels=6,
)
BINDING = bytes(32)
VERIFIER = Verifier.from_secret("secret", salt=bytes(16))
DOCUMENTED = (
    AuthenticationFailed,
    LinkLost,
    RemoteProtocolError,
    ResumeFailed,
    SessionClosed,
    VersionMismatch,
)
SLACK = 2_000  # bytes: a GOODBYE, and whatever is as small


class Victim:
    """One end with an application that is honest, hasty and random."""

    def __init__(
        self, chance: random.Random, link: Link, session: Session, outcomes: Counter[str]
    ) -> None:
        self.chance = chance
        self.link = link
        self.session = session
        self.outcomes = outcomes
        self.now = 0.0
        self.attach = Attach()
        self.channels: list[ChannelState] = []
        self.unread: Counter[int] = Counter()
        self.is_over = False
        self.said = b""  # last
        self.output = bytearray()  # all that it said

    def feed(self, data: bytes) -> None:
        """Give the bytes in pieces, cut at random, and look at the end after each of them."""
        chance = self.chance
        at = 0
        while at < len(data):
            size = chance.choice((len(data), 1, 8, 10, 60, 1000))
            self.hear(self.link.receive_data(data[at : at + size], self.now))
            at += size
            if chance.random() < 0.3:
                self.act()
            if chance.random() < 0.3:
                self.take(chance.choice((0, 100, 10_000)))
            if chance.random() < 0.03:
                self.now += chance.choice((0.001, 0.5, 2.0, 20.0))
                self.hear(self.link.tick(self.now))
            self.check()
            if self.is_over:
                return

    def finish(self) -> None:
        """Cut the link where it still lives; once over, it must stay silent."""
        self.hear(self.link.receive_eof())
        assert self.is_over
        assert self.link.receive_data(b"\0", self.now) == self.link.receive_eof() == []
        if isinstance(self.link.error, RemoteProtocolError):
            self.take()
            assert decode_frames(self.said)[-1][0] == FrameType.GOODBYE
            assert not self.link.has_output()

    def take(self, room: int = PLENTY) -> None:
        """Take what the link wants to send, as a driver would."""
        helping = take(self.link, room)
        self.output += helping
        self.said = helping or self.said

    def hear(self, events: list[Event]) -> None:
        for position, event in enumerate(events):
            self.outcomes[type(event).__name__] += 1
            assert not self.is_over
            if isinstance(event, LinkClosed):
                assert position == len(events) - 1
                self.hear_end(event)
            elif isinstance(event, LoggedIn):
                if self.link.role is Role.CLIENT:
                    self.link.attach(self.session, self.attach, self.now)
            elif isinstance(event, AttachRequested):
                following = self.link.accept_attach(self.session, event.attach, self.now)
                assert self.link.error is not None or following
                self.hear(following)
                if self.is_over:
                    return
            elif isinstance(event, ChannelRequested):
                self.channels.append(event.channel)
            elif isinstance(event, DataReceived):
                assert event.data
                self.unread[event.channel.number] += len(event.data)

    def hear_end(self, event: LinkClosed) -> None:
        self.is_over = True
        cause = event.cause
        assert isinstance(cause, DOCUMENTED)
        assert len(str(cause)) < SLACK
        assert self.link.error is cause
        name = type(cause).__name__
        code = f"-{cause.code}" if isinstance(cause, RemoteProtocolError) else ""
        self.outcomes[name + code] += 1

    def act(self) -> None:
        """Do one thing that our own past allows."""
        session, chance = self.session, self.chance
        if chance.random() < 0.1 and len(session.channels) < LIMITS.channels:
            self.channels.append(session.open("talk", {}))
        if not self.channels:
            return
        channel = chance.choice(self.channels)
        frame_type = chance.choice(list(FrameType))
        if frame_type is FrameType.WINDOW:
            session.consumed(channel, self.unread.pop(channel.number, 0), self.now)
        elif frame_type is FrameType.RESET:
            session.reset(channel, "cancelled", "")
        elif frame_type not in TRANSITIONS[channel.ours]:
            return
        elif frame_type is FrameType.OPENED:
            session.accept(channel)
        elif frame_type is FrameType.REFUSED:
            session.refuse(channel, "failed", "")
        elif frame_type is FrameType.DATA:
            session.send(channel, 1, bytes(min(session.room(channel), chance.randrange(5000))))
        elif frame_type is FrameType.EOF:
            session.send_eof(channel)
        elif frame_type is FrameType.MESSAGE:
            session.send_message(channel, {}, urgent=chance.random() < 0.5)
        elif frame_type is FrameType.CLOSE:
            session.close(channel)

    def check(self) -> None:
        """Assert that nothing the peer did is kept without bound."""
        link, session = self.link, self.session
        assert len(link._decoder._partial) <= HEADER.size + link._decoder.limit
        assert len(link._replies) <= LIMITS.queued_replies + 5
        # Past the limit only what our own application said: one answer for each channel.
        assert session.queued_control <= LIMITS.queued_replies + len(self.channels) + 50
        assert len(session.channels) <= LIMITS.channels
        # What each channel may have though the budget is spent, and a write of 64 KiB at most.
        overdrawn = LIMITS.channels * (LIMITS.window_smallest + 65536)
        assert -overdrawn <= session._budget.free <= LIMITS.session_memory
        for number, channel in session.channels.items():
            window = channel.receive_window
            assert 0 <= window.remaining <= window.size <= LIMITS.window_largest
            assert self.unread[number] <= window.size
            assert channel.queued_bytes <= LIMITS.channel_queue
        if link.error is not None:
            assert self.is_over
            assert link.next_deadline() is None


# Where the bytes come from.


def record(role: Role) -> list[bytes]:
    """Return the frames that an end receives in an honest dialogue."""
    pair = Pair(LIMITS)
    pair.connect()
    pair.client.converse({"up": [1, 900], "down": [2, 900], "messages": 3, "block": 200})
    data = bytearray()
    for _ in range(40):
        for end in pair.ends:
            pair.flush(end)
            if end.role is role.peer:
                data += pair.flight[role]
        for end in pair.ends:
            pair.deliver(end)
    return [frame(*parts) for parts in decode_frames(bytes(data))]


DIALOGUES = {role: record(role) for role in Role}
ODD_VALUES = (
    *(b"null", b"true", b"0", b"-1", b"1", b"1.5", b"1e999", b"-0.0", b'""', b"[]", b"{}"),
    *(b'"\\ud800"', b'"\\udcff\\u0000"', b'"' + b"x" * 9000 + b'"', b"[[[[1]]]]", b"[1,1]"),
    *(b"9" * 19, b"9" * 30, b"9" * 5000, b"1" + b"0" * 400, b"NaN", b"Infinity", b"-Infinity"),
    *(b'"EXTERNAL"', b"16384", b"2147483648", b"2147483649", b"9223372036854775808", b"4000"),
)
KEYS = (
    *(b"versions", b"frame", b"implementation", b"mechanisms", b"features", b"data", b"done"),
    *(b"mechanism", b"identity", b"session", b"secret", b"received", b"id", b"bytes", b"code"),
    *(b"reason", b"kind", b"window", b"request", b"reply", b"later"),
)
CHOSEN_TYPES = [each for each in FrameType if each > FrameType.ATTACH]
DEEP = (b"[" * 30_000, b'{"a":' * 10_000, b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}")


def junk_body(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.01:
        return chance.choice(DEEP)
    if kind < 0.1:
        return chance.randbytes(chance.randrange(40))
    pairs = (
        b'"%b":%b' % (chance.choice(KEYS), chance.choice(ODD_VALUES))
        for _ in range(chance.randrange(5))
    )
    return b"{" + b",".join(pairs) + b"}"


def likely_body(chance: random.Random, frame_type: int) -> bytes:
    """Return a body that passes more often than not, so that fuzzing goes deeper."""
    size = chance.choice((0, 1, 1, 50, 3999, 4000, 4001, 70_000))
    if frame_type == FrameType.DATA:
        return bytes((chance.randrange(3),)) + bytes(size)
    bodies: dict[int, bytes] = {
        FrameType.OPEN: b'{"kind":"talk","window":%d}' % size,
        FrameType.OPENED: b'{"window":%d}' % size,
        FrameType.WINDOW: b'{"bytes":%d}' % size,
        FrameType.REFUSED: b'{"code":"failed"}',
        FrameType.RESET: b'{"code":"failed"}',
        FrameType.ACK: b'{"received":%d}' % chance.randrange(5),
        FrameType.PING: b'{"id":1}',
        FrameType.PONG: b'{"id":1}',
        FrameType.GOODBYE: b'{"code":"done"}',
    }
    return bodies.get(frame_type, b"{}")


def random_frame(chance: random.Random, *, junk: float) -> bytes:
    """Return a frame with a valid header; its body is junk with that probability."""
    number = chance.randrange(256) if chance.random() < 0.05 else int(chance.choice(CHOSEN_TYPES))
    channel = 0 if number < 16 else chance.choice((1, 2, 3, 4, 5, 7, 9, 11, 0xFFFFFFFF))
    if chance.random() < junk or number not in KNOWN_TYPES:
        return frame(number, channel, junk_body(chance))
    return frame(number, channel, likely_body(chance, number))


def plausible_frame(chance: random.Random, session: Session) -> bytes:
    """Return a frame that the peer could well send now, or one that it nearly could."""
    kind = chance.random()
    if kind < 0.02:
        return random_frame(chance, junk=0.5)
    if kind < 0.1:
        received = chance.randint(session.replay.first, session.replay.next)
        return frame(FrameType.ACK, 0, b'{"received":%d}' % (received + (kind < 0.021)))
    if kind < 0.2:
        return frame(chance.choice((5, 6, 150, 200)), 0, b'{"id":1}')
    if kind < 0.35 or not session.channels:
        number = (session._last_peer_number + 2) % 2**32
        return frame(FrameType.OPEN, number, b'{"kind":"talk","window":4000}')
    channel = chance.choice(list(session.channels.values()))
    moves = list(TRANSITIONS[channel.theirs])
    if not moves:
        return b""
    frame_type = chance.choice(moves)
    if frame_type is FrameType.DATA:
        size = chance.randint(1, max(1, channel.receive_window.remaining + (kind < 0.36)))
        return frame(frame_type, channel.number, bytes(1 + size))
    if frame_type in (FrameType.OPENED, FrameType.WINDOW):
        size = chance.choice((1, 50, 4000))
        body = b'{"window":%d,"bytes":%d}' % (size, size)
        return frame(frame_type, channel.number, body)
    return frame(frame_type, channel.number, likely_body(chance, frame_type))


def mutate(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(changed) + 1)
        size = chance.choice((1, 1, 2, 9, 40))
        way = chance.randrange(5)
        if way == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            del changed[at : at + size]
        elif way == 2:
            changed[at:at] = chance.randbytes(size)
        elif way == 3:
            changed[at:at] = changed[at : at + size]
        else:
            changed[at : at + size] = chance.choice(ODD_VALUES)
    return bytes(changed)


# One input each.


def fuzz_random_bytes(chance: random.Random, outcomes: Counter[str]) -> None:
    role = chance.choice(list(Role))
    link, session = at_stage(role, chance.choice(stages(role)[:-1]), LIMITS)
    victim = Victim(chance, link, session, outcomes)
    victim.feed(chance.randbytes(chance.randrange(1, 200)))
    victim.finish()


def fuzz_dialogue(chance: random.Random, outcomes: Counter[str]) -> None:
    """Mutate single frames of an honest dialogue, or their order, or its bytes."""
    role = chance.choice(list(Role))
    frames = list(DIALOGUES[role])
    if chance.random() < 0.5:
        at = chance.randrange(len(frames))
        frames[at] = mutate(chance, frames[at])
    for _ in range(chance.randrange(3)):
        a, b = chance.randrange(len(frames)), chance.randrange(len(frames))
        frames[a], frames[b] = frames[b], frames[a]
    if chance.random() < 0.2:
        frames = [mutate(chance, b"".join(frames))]
    link = new_link(role, LIMITS)
    session = Session(role, LIMITS, id="session-1" if role is Role.SERVER else "")
    victim = Victim(chance, link, session, outcomes)
    if role is Role.CLIENT:
        link.log_in(ClientLogin())
        victim.channels.append(session.open("talk", {}))
    for data in frames:  # ATTACH and its answer are stop and wait: a frame at a time
        victim.feed(data)
    victim.finish()


def fuzz_stage(chance: random.Random, outcomes: Counter[str]) -> None:
    """Send frames with valid headers and junk bodies at every stage."""
    role = chance.choice(list(Role))
    link, session = at_stage(role, chance.choice(stages(role)[:-1]), LIMITS)
    wanted = chance.choice((FrameType.HELLO, FrameType.AUTH, FrameType.ATTACH, FrameType.ATTACHED))
    body = junk_body(chance)
    if wanted is FrameType.HELLO:
        low, high = chance.randrange(4), chance.randrange(4)
        body = b'{"versions":[%d,%d],"frame":20000}' % (low, high)
    data = frame(wanted, 0, body) + random_frame(chance, junk=0.5)
    victim = Victim(chance, link, session, outcomes)
    victim.feed(data)
    victim.finish()


def fuzz_session(chance: random.Random, outcomes: Counter[str]) -> None:
    """Send frames that nearly make sense to a link that carries a session with channels."""
    role = chance.choice(list(Role))
    link, session = attached(role, LIMITS)
    victim = Victim(chance, link, session, outcomes)
    first = role.peer.value
    victim.hear(link.receive_data(frame(16, first, b'{"kind":"talk","window":4000}'), 0.0))
    session.accept(victim.channels[0])
    victim.channels.append(session.open("talk", {}))
    take(link)
    if chance.random() < 0.7:
        number = victim.channels[1].number
        victim.hear(link.receive_data(frame(17, number, b'{"window":4000}'), 0.0))
    pause = chance.choice((0.0, 0.2))  # the first makes floods
    for _ in range(chance.randrange(1, 60)):
        victim.now += pause
        data = plausible_frame(chance, session)
        victim.feed(data * (50 if chance.random() < 0.01 else 1))
        if victim.is_over:
            break
    victim.finish()


def fuzz_login(chance: random.Random, outcomes: Counter[str]) -> None:
    """Log in by token, with one AUTH of the peer mutated, doubled or left out, or none."""
    role = chance.choice(list(Role))
    client = Link(Role.CLIENT, LIMITS, 0.0)
    client.log_in(ClientLogin(ScramClient(IDENTITY, "secret", BINDING)))
    known = chance.random() < 0.9
    scram = ScramServer(lambda _: VERIFIER if known else None, bytes(32), BINDING)
    server = Link(Role.SERVER, LIMITS, 0.0, login=ServerLogin(None, lambda: scram))
    link, peer = (client, server) if role is Role.CLIENT else (server, client)
    session = Session(role, LIMITS, id="session-1" if role is Role.SERVER else "")
    victim = Victim(chance, link, session, outcomes)
    spoiled, way = chance.randrange(4), chance.randrange(4)
    for turn in range(4):
        for number, channel, body in decode_frames(take(peer)):
            copies = 1
            if number == FrameType.AUTH and turn == spoiled:
                body = mutate(chance, body) if way < 2 else body
                copies = 2 if way == 2 else 0 if way == 3 else 1
            victim.feed(frame(number, channel, body) * copies)
        victim.take()
        peer.receive_data(bytes(victim.output), 0.0)
        victim.output.clear()
        if victim.is_over:
            break
    victim.finish()


def fuzz_two(chance: random.Random, outcomes: Counter[str]) -> None:
    """Join two ends, cut them and join them again; damage what is on its way, or nothing."""
    honest = chance.random() < 0.3
    ends = []
    for role in Role:
        session = Session(role, LIMITS, id="session-1" if role is Role.SERVER else "")
        ends.append(Victim(chance, new_link(role, LIMITS), session, outcomes))
    client, server = ends
    client.link.log_in(ClientLogin())
    for step in range(chance.randrange(2, 40)):
        if chance.random() < 0.05 and client.session.id and server.session.secret:
            _join_again(client, server, step)
        for end, other in ((client, server), (server, client)):
            end.now = step * 1.0
            end.take(chance.choice((PLENTY, 100, 10_000)))
            said = bytes(end.output)
            end.output.clear()
            if said and not honest and chance.random() < 0.1:
                said = mutate(chance, said)
            other.feed(said)
            if other.is_over:
                assert not honest or _is_limited(other), other.link.error
                end.finish()
                return
            if other.link.handshake.is_attached and chance.random() < 0.7:
                other.act()
    for end in ends:
        end.finish()


def _join_again(client: Victim, server: Victim, step: int) -> None:
    """Lose a link and all that was on its way, and resume the session on another one."""
    for end in (client, server):
        end.output.clear()
        end.link = new_link(end.link.role, LIMITS, step * 1.0)
    session = client.session
    client.attach = Attach(Resume(session.id, session.secret, session.received))
    client.link.log_in(ClientLogin())


def _is_limited(end: Victim) -> bool:
    """Whether the link ended because our limits are too small for our victims."""
    return getattr(end.link.error, "code", "") in ("flood", "login-timeout")


KINDS: tuple[Callable[[random.Random, Counter[str]], None], ...] = (
    fuzz_random_bytes,
    fuzz_dialogue,
    fuzz_stage,
    fuzz_session,
    fuzz_login,
    fuzz_two,
)
