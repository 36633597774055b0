"""Frames that cross: whatever two honest ends do, and whenever it arrives, no rule is broken."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import ChannelRefused, ChannelReset
from rshell.protocol.channel import (
    TRANSITIONS,
    ChannelClosed,
    ChannelOpened,
    ChannelRequested,
    ChannelState,
    DataReceived,
    EofReceived,
    Half,
    MessageReceived,
)
from rshell.protocol.frames import FrameType
from rshell.protocol.link import Event
from rshell.protocol.login import LinkClosed
from rshell.protocol.session import Role
from rshell.values import Bounds
from tests.support.rows import row
from tests.support.wire import attached, take

LIMITS = Bounds(
    window=2000,
    window_smallest=500,
    window_largest=8000,
    session_memory=16_000,
    channel_queue=3000,
    channels=6,
)


class Side:
    """One honest end, whose application does what it is told, if its own past allows it."""

    def __init__(self, role: Role) -> None:
        self.link, self.session = attached(role, LIMITS)
        self.coming = bytearray()  # sent by the other end, not yet arrived
        self.known: list[ChannelState] = []
        self.unread: Counter[int] = Counter()
        self.opened = 0
        self.closed: dict[int, Exception | None] = {}
        self.silent: set[int] = set()  # channels that we ended: nothing more may be heard there

    def channel(self, pick: int) -> ChannelState | None:
        return self.known[pick % len(self.known)] if self.known else None

    def may(self, channel: ChannelState, frame_type: FrameType) -> bool:
        return frame_type in TRANSITIONS[channel.ours]

    def act(self, what: str, pick: int, size: int) -> None:
        session = self.session
        if what == "open":
            if self.opened < 12:
                self.opened += 1
                self.known.append(session.open("talk", {"n": pick}))
            return
        channel = self.channel(pick)
        if channel is None:
            return
        if what == "accept" and self.may(channel, FrameType.OPENED):
            session.accept(channel)
        elif what == "refuse" and self.may(channel, FrameType.REFUSED):
            session.refuse(channel, "failed", "no")
            self.silent.add(channel.number)
        elif what == "send" and self.may(channel, FrameType.DATA):
            session.send(channel, 1, bytes(size))
        elif what == "eof" and self.may(channel, FrameType.EOF):
            session.send_eof(channel)
        elif what in ("message", "urgent") and self.may(channel, FrameType.MESSAGE):
            session.send_message(channel, {"n": pick}, urgent=what == "urgent")
        elif what == "close" and self.may(channel, FrameType.CLOSE):
            session.close(channel)
            self.silent.add(channel.number)
        elif what == "reset":
            if channel.ours is not Half.CLOSED:
                self.silent.add(channel.number)
            session.reset(channel, "cancelled", "stop")
        elif what == "read":
            session.consumed(channel, self.unread.pop(channel.number, 0), 0.0)

    def arrive(self, size: int) -> None:
        piece = bytes(self.coming[:size])
        del self.coming[: len(piece)]
        for event in self.link.receive_data(piece, 0.0):
            self.hear(event)

    def hear(self, event: Event) -> None:
        assert not isinstance(event, LinkClosed), event.cause
        if isinstance(event, ChannelRequested):
            self.known.append(event.channel)
            return
        assert isinstance(
            event, (ChannelOpened, DataReceived, EofReceived, MessageReceived, ChannelClosed)
        )
        number = event.channel.number
        assert number not in self.silent, f"{event} after our own end"
        assert number not in self.closed, f"{event} after ChannelClosed"
        if isinstance(event, ChannelClosed):
            self.closed[number] = event.cause
        elif isinstance(event, DataReceived):
            self.unread[number] += len(event.data)


def make_sides() -> tuple[Side, Side]:
    return Side(Role.CLIENT), Side(Role.SERVER)


def quiet(sides: tuple[Side, Side], *, read: bool = True) -> None:
    """Deliver until nothing moves; both applications read all they get."""
    moving = True
    while moving:
        moving = False
        for side, other in (sides, sides[::-1]):
            for channel in side.known if read else []:
                side.act("read", side.known.index(channel), 0)
            other.coming += take(side.link)
            moving = moving or bool(other.coming)
            other.arrive(len(other.coming))


def assert_clean(sides: tuple[Side, Side]) -> None:
    for side in sides:
        assert side.link.error is None
        assert not side.session.channels
        assert side.session._budget.free == LIMITS.session_memory
        assert not side.session.has_output()


ACTIONS = ["open", "accept", "refuse", "send", "eof", "message", "urgent", "close", "reset", "read"]
steps = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([*ACTIONS, "accept", "send", "flush", "arrive", "arrive"]),
        st.integers(0, 7),
        st.integers(0, 3000),
    ),
    max_size=60,
)


def play(sides: tuple[Side, Side], script: list[tuple[int, str, int, int]]) -> None:
    for who, what, pick, size in script:
        side, other = sides[who], sides[1 - who]
        if what == "flush":
            other.coming += take(side.link, size)
        elif what == "arrive":
            side.arrive(size)
        else:
            side.act(what, pick, size)


def finish(sides: tuple[Side, Side], seed: int) -> None:
    """End every channel, one way or the other, and see that nothing is left of it."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        quiet(sides)
    for side in sides:
        for index, channel in enumerate(side.known):
            way = chance.choice(["close", "reset"])
            if channel.ours in (Half.OPENING, Half.ANSWERING):
                way = "reset"
            side.act(way, index, 0)
    quiet(sides)
    for side in sides:  # channels that were still on their way
        for index, channel in enumerate(side.known):
            if channel.ours is not Half.CLOSED:
                side.act("reset", index, 0)
    quiet(sides)
    assert_clean(sides)


@given(steps, st.integers(0, 2**32))
def test_no_order_of_calls_and_arrivals_breaks_a_rule(
    script: list[tuple[int, str, int, int]], seed: int
) -> None:
    sides = make_sides()
    play(sides, script)
    finish(sides, seed)


def test_no_order_of_calls_and_arrivals_breaks_a_rule_in_long_runs() -> None:
    for seed in range(20):
        with row(seed):
            chance = random.Random(seed)
            sides = make_sides()
            words = [*ACTIONS, *["accept", "send", "read", "flush", "arrive"] * 3]
            script = [
                (
                    chance.randrange(2),
                    chance.choice(words),
                    chance.randrange(24),
                    chance.randrange(3000),
                )
                for _ in range(2000)
            ]
            play(sides, script)
            assert sum(len(side.closed) for side in sides) > 3
            finish(sides, seed)


# The named races, each in both directions.


def opened_pair(opener: int) -> tuple[tuple[Side, Side], Side, Side]:
    """Return sides with one open channel, known to both; the opener comes first."""
    sides = make_sides()
    a, b = sides[opener], sides[1 - opener]
    a.act("open", 0, 0)
    quiet(sides)
    b.act("accept", 0, 0)
    quiet(sides)
    assert a.known[0].ours is a.known[0].theirs is Half.OPEN
    return sides, a, b


ENDINGS = {
    "close": [("close", 0)],
    "close-behind-data": [("send", 2900), ("send", 2900), ("close", 0)],
    "close-then-reset": [("send", 2900), ("close", 0), ("reset", 0)],
    "reset": [("reset", 0)],
    "eof-close": [("eof", 0), ("close", 0)],
    "eof": [("eof", 0)],
}


def end(side: Side, name: str) -> None:
    for what, size in ENDINGS[name]:
        side.act(what, 0, size)


def test_endings_that_cross() -> None:
    for opener, first, second, flushed in itertools.product((0, 1), ENDINGS, ENDINGS, (0, 1, 2)):
        with row(opener, first, second, flushed):
            check_crossing(opener, first, second, flushed)


def check_crossing(opener: int, first: str, second: str, flushed: int) -> None:
    sides, a, b = opened_pair(opener)
    end(a, first)
    if flushed > 0:
        b.coming += take(a.link, 1)
    end(b, second)
    if flushed > 1:
        a.coming += take(b.link, 1)
    quiet(sides)
    if (first, second) != ("eof", "eof"):  # that ends both directions, not the channel
        assert_clean(sides)
    for side in sides:
        side.act("reset", 0, 0)
    quiet(sides)
    assert_clean(sides)


def test_a_reset_of_the_opener_crosses_the_answer() -> None:
    for opener in [0, 1]:
        for answer in ["accept", "refuse", "reset"]:
            with row(opener, answer):
                sides = make_sides()
                a, b = sides[opener], sides[1 - opener]
                a.act("open", 0, 0)
                b.coming += take(a.link)
                b.arrive(10_000)
                b.act(answer, 0, 0)
                a.act("reset", 0, 0)  # nothing of the answer has arrived yet
                quiet(sides)
                assert_clean(sides)
                assert a.closed == {}
                assert (b.closed.keys() == {a.known[0].number}) is (answer == "accept")


def test_a_channel_taken_back_before_its_answer_is_over_at_both_ends() -> None:
    for opener in [0, 1]:
        with row(opener):
            sides = make_sides()
            a, b = sides[opener], sides[1 - opener]
            a.act("open", 0, 0)
            a.act("reset", 0, 0)
            quiet(sides)
            assert_clean(sides)
            (cause,) = b.closed.values()
            assert isinstance(cause, ChannelReset)
            # The application of b sees the request only now, and answers it: harmless.
            late = b.known[0]
            b.session.accept(late)
            b.session.send(late, 1, b"x")
            b.session.send_message(late, {})
            b.session.send_eof(late)
            b.session.close(late)
            b.session.refuse(late, "failed", "no")
            b.session.reset(late, "failed", "no")
            b.session.consumed(late, 1, 0.0)
            assert not b.session.has_output()
            assert_clean(sides)


def test_a_reset_before_the_answer_is_a_refusal() -> None:
    for opener in [0, 1]:
        with row(opener):
            sides = make_sides()
            a, b = sides[opener], sides[1 - opener]
            a.act("open", 0, 0)
            quiet(sides)
            b.act("reset", 0, 0)
            quiet(sides)
            assert_clean(sides)
            (cause,) = a.closed.values()
            assert isinstance(cause, ChannelRefused)
            assert cause.code == "cancelled"


def test_data_and_credit_on_their_way_to_a_channel_that_ended_are_thrown_away() -> None:
    for ending in ["close", "reset"]:
        with row(ending):
            sides, a, b = opened_pair(0)
            b.act("send", 0, 2000)
            quiet(sides, read=False)
            b.act("send", 0, 900)
            b.act("message", 0, 0)
            a.act("read", 0, 0)  # a WINDOW is due
            b.coming += take(a.link)
            a.act(ending, 0, 0)
            quiet(sides)
            assert_clean(sides)
            assert (b.closed[1] is None) is (ending == "close")
