"""The one account of a session's memory, alone and as a session keeps it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.protocol.budget import MemoryBudget
from rshell.protocol.frames import FrameType
from rshell.protocol.replay import ReplayQueue
from rshell.protocol.session import Session
from tests.support.helpings import client_with, everything, helping, receive

MIB = 1024 * 1024
LEAST = 16 * 1024


def spent(session: Session) -> None:
    """Leave nothing of the budget."""
    session._budget.take(session._budget.free)


def test_what_is_not_there_is_not_reserved_and_can_be_taken() -> None:
    budget = MemoryBudget(10)
    assert budget.reserve(10)
    assert not budget.reserve(1)
    assert budget.free == 0
    budget.take(5)
    assert budget.free == -5
    budget.release(15)
    assert budget.reserve(10)


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=30))
def test_all_that_is_queued_is_counted_until_it_leaves(sizes: list[int]) -> None:
    session, *channels = client_with(3, window=10 * MIB)
    session._budget.free = before = 64 * MIB
    for number, size in enumerate(sizes):
        session.send(channels[number % 3], 0, bytes(size))
    assert session._budget.free == before - sum(sizes)
    everything(session)
    assert session._budget.free == before


def test_what_is_dropped_is_given_back() -> None:
    session, first, second = client_with(2)
    before = session._budget.free
    session.send(first, 0, bytes(1000))
    session.send(second, 0, bytes(1000))
    session.reset(first, "cancelled", "enough")
    receive(session, FrameType.CLOSE, second.number, {})
    everything(session)
    # The windows of both are free again, too, once both halves are closed.
    assert session._budget.free >= before


def test_channels_share_what_is_left() -> None:
    session, first, second = client_with(2, window=10 * MIB)
    session._budget.free = 100_000
    assert session.room(first) == session.room(second) == 100_000
    session.send(first, 0, bytes(90_000))
    assert (session.room(first), session.room(second)) == (10_000, LEAST)
    everything(session)
    assert session.room(first) == session.room(second) == 100_000


def test_a_spent_budget_slows_a_channel_down_and_never_stops_it() -> None:
    session, channel = client_with(1, window=10 * MIB)
    spent(session)
    for _ in range(5):
        assert session.room(channel) == LEAST
        session.send(channel, 0, bytes(LEAST))
        assert session.room(channel) == 0
        session.want_room(channel)
        assert session.take_roomy() == []
        helping(session)
        assert session.take_roomy() == [channel]


def test_a_spent_budget_ends_the_growth_of_the_replay_queue() -> None:
    limits = []
    for free in (10_000, 9_999):
        queue = ReplayQueue(10_000, 80_000, MemoryBudget(free))
        for now in (0.0, 0.1):
            while not queue.is_full:
                queue.append((b"x" * 1000,), 1000)
            queue.acknowledge(queue.next, now, 1.0)
        limits.append(queue.limit)
    assert limits == [20_000, 10_000]
