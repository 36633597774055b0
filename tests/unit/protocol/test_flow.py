"""Windows, memory, silence and floods: what keeps a session within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.flow import (
    CREDIT_LIMIT,
    Bucket,
    Liveness,
    MemoryBudget,
    ReceiveWindow,
    SendWindow,
)
from rshell.protocol.frames import FrameType
from rshell.protocol.session import Session
from rshell.values import Bounds
from tests.support.helpings import client_with, everything, helping, receive
from tests.support.rows import row

# Memory.


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


# Not more than may leave before the peer acknowledges any of it.
@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=7))
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


# Windows.


def window(size: int = 1000, largest: int = 8000, budget: int = 100_000) -> ReceiveWindow:
    return ReceiveWindow(size, largest, MemoryBudget(budget))


def test_sending_past_the_window_is_our_own_bug() -> None:
    sending = SendWindow(10)
    sending.take(10)
    with pytest.raises(LocalProtocolError):
        sending.take(1)
    sending.credit(5)
    sending.take(5)
    assert sending.available == 0


def test_credits_that_became_one_frame_are_not_taken_for_reading() -> None:
    sending = SendWindow(1000)
    sending.take(1000)
    # A quarter was read and the window doubled, a half of that was read and it doubled again.
    sending.credit((250 + 1000) + (500 + 2000))
    assert sending.consumed == 750


def test_a_window_that_began_with_nothing_takes_credit() -> None:
    sending = SendWindow(0)
    sending.credit(10)
    assert (sending.available, sending.consumed) == (10, 0)


def test_credit_without_bound_is_the_peers_error() -> None:
    sending = SendWindow(0)
    sending.credit(CREDIT_LIMIT)
    with pytest.raises(RemoteProtocolError):
        sending.credit(1)


def test_an_overrun_by_one_byte_is_refused_and_named() -> None:
    receiving = window(1000)
    receiving.receive(1000)
    with pytest.raises(RemoteProtocolError) as caught:
        receiving.receive(1)
    assert caught.value.code == "window-overrun"


def test_credit_comes_at_a_quarter_and_not_before() -> None:
    receiving = window(1000)
    receiving.receive(1000)
    assert receiving.consume(249, 0.0, None) == 0
    assert receiving.consume(1, 0.0, None) == 250
    assert receiving.remaining == 250
    assert receiving.consume(250, 0.0, None) == 250


def test_receipt_alone_grants_nothing() -> None:
    receiving = window(1000)
    receiving.receive(600)
    assert receiving.remaining == 400


@given(st.lists(st.integers(1, 700), max_size=40))
def test_the_peer_never_holds_more_than_the_window(sizes: list[int]) -> None:
    receiving = window(1000)
    unread = 0
    for size in sizes:
        taken = min(size, receiving.remaining)
        receiving.receive(taken)
        unread += taken
        assert receiving.remaining + unread <= receiving.size
        read = min(size, unread)
        receiving.consume(read, 0.0, None)
        unread -= read


def drain(receiving: ReceiveWindow, times: int, apart: float, round_trip: float | None) -> int:
    now = 0.0
    for _ in range(times):
        quarter = receiving.size // 4
        receiving.receive(quarter)
        receiving.consume(quarter, now, round_trip)
        now += apart
    return receiving.size


def test_a_window_grows_where_more_than_a_third_of_it_is_read_in_a_round_trip() -> None:
    for apart, round_trip, size in [
        (0.007, 0.010, 8000),  # a quarter each 7 ms: too small for the path
        (0.008, 0.010, 1000),  # slower: large enough
        (0.004, None, 1000),  # nothing measured yet
        (0.0, 0.0, 1000),
    ]:
        with row(apart, round_trip, size):
            assert drain(window(1000, largest=8000), 40, apart, round_trip) == size


def test_no_size_of_blocks_keeps_a_window_from_growing() -> None:
    # Blocks just under a quarter once made credit come for two at a time, and growth never.
    for block in range(1, 1001, 7):
        with row(block):
            receiving = window(1000, largest=16_000)
            for trip in range(20):  # the sender is always held up by the window alone
                left = receiving.remaining
                while left:
                    size = min(block, left)
                    receiving.receive(size)
                    receiving.consume(size, trip * 1.05, 1.0)
                    left -= size
            assert receiving.size == 16_000


def test_a_reader_that_stalls_and_then_takes_all_grows_nothing() -> None:
    for pause in (3.5, 10.0, 1000.0):
        with row(pause):
            receiving = window(1000)
            for turn in range(50):
                left = receiving.remaining
                while left:
                    receiving.receive(min(100, left))
                    receiving.consume(min(100, left), turn * pause, 1.0)
                    left -= min(100, left)
            assert receiving.size == 1000


def test_credit_of_a_large_window_comes_in_small_parts() -> None:
    receiving = window(16 * MIB, largest=16 * MIB)
    receiving.receive(8 * MIB)
    assert receiving.consume(MIB // 4 - 1, 0.0, None) == 0
    assert receiving.consume(1, 0.0, None) == MIB // 4


def test_growth_stops_at_the_largest_even_when_it_is_no_power_of_two() -> None:
    assert drain(window(1000, largest=3500), 20, 0.4, 1.0) == 3500


def test_growth_stops_at_the_budget_and_closing_gives_all_back() -> None:
    budget = MemoryBudget(2500)
    assert budget.reserve(1000)
    receiving = ReceiveWindow(1000, 8000, budget)
    assert drain(receiving, 20, 0.4, 1.0) == 2000
    assert budget.free == 500
    receiving.close()
    assert budget.free == 2500
    receiving.close()
    assert budget.free == 2500


def test_grown_bytes_are_granted_with_the_credit() -> None:
    receiving = window(1000)
    receiving.receive(1000)
    assert receiving.consume(200, 0.0, 1.0) == 0
    assert receiving.consume(799, 1.0, 1.0) == 1999
    assert receiving.remaining == 1999


def test_a_refill_grants_all_that_was_used_once() -> None:
    receiving = window(1000)
    receiving.receive(900)
    assert receiving.consume(200, 0.0, None) == 0
    assert receiving.refill() == 900
    assert receiving.remaining == 1000
    assert receiving.refill() == 0
    receiving.receive(200)
    assert receiving.consume(200, 0.0, None) == 0  # the 200 of before are not counted again


def test_a_budget_that_is_overdrawn_grants_nothing() -> None:
    budget = MemoryBudget(-5)
    assert not budget.reserve(1)
    budget.release(6)
    assert budget.reserve(1)


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000), st.booleans()), max_size=60))
def test_the_sender_believes_no_more_read_than_was(
    steps: list[tuple[int, int, bool]],
) -> None:
    receiving, sending = window(1000), SendWindow(1000)
    sent = unread = 0
    for now, (size, reads, is_fast) in enumerate(steps):
        size = min(size, sending.available)
        sending.take(size)
        if size:
            receiving.receive(size)
        sent, unread = sent + size, unread + size
        reads = min(reads, unread)
        unread -= reads
        credit = receiving.consume(reads, float(now), 10.0 if is_fast else 0.1)
        if credit:
            sending.credit(credit)
            assert sending.consumed == sent - unread
        assert sending.sent == sent
        assert sending.consumed <= sent - unread < sending.consumed + receiving.size


# Silence and floods.


def test_a_bucket_allows_its_burst_and_then_its_rate() -> None:
    bucket = Bucket("things", 5, 2.0, now=0.0)
    for _ in range(5):
        bucket.count(0.0)
    with pytest.raises(RemoteProtocolError, match="too many things") as caught:
        bucket.count(0.0)
    assert caught.value.code == "flood"


def test_a_bucket_refills_with_time_and_never_past_its_burst() -> None:
    bucket = Bucket("things", 5, 2.0, now=0.0)
    for _ in range(5):
        bucket.count(0.0)
    bucket.count(0.5)  # one refilled
    taken = 0
    with pytest.raises(RemoteProtocolError):
        for _ in range(100):
            bucket.count(1000.0)
            taken += 1
    assert taken in (5, 6)  # refilled only once it is empty: the one in hand comes on top


@given(st.lists(st.floats(0.0, 0.2), max_size=300))
def test_a_bucket_never_allows_more_than_burst_and_rate(waits: list[float]) -> None:
    bucket = Bucket("things", 10, 20.0, now=0.0)
    now, taken = 0.0, 0
    for wait in waits:
        now += wait
        try:
            bucket.count(now)
            taken += 1
        except RemoteProtocolError:
            return
        assert taken <= 10 + 20.0 * now + 1e-6


def test_a_steady_sender_below_the_rate_is_never_stopped() -> None:
    bucket = Bucket("things", 3, 10.0, now=0.0)
    for number in range(1000):
        bucket.count(number * 0.11)


def live() -> Liveness:
    return Liveness(Bounds(ping_idle=15.0, ping_dead=45.0), now=100.0)


def test_a_ping_is_due_after_idle_and_death_comes_after_silence() -> None:
    liveness = live()
    assert liveness.deadline() == 115.0
    assert not liveness.is_ping_due(114.9)
    assert liveness.is_ping_due(115.0)
    liveness.ping(115.0)
    assert not liveness.is_ping_due(116.0)
    assert liveness.deadline() == 130.0
    liveness.ping(130.0)
    assert liveness.deadline() == 145.0
    assert not liveness.is_dead(144.9)
    assert liveness.is_dead(145.0)
    assert liveness.silence(145.0) == 45.0


def test_any_byte_heard_puts_all_off() -> None:
    liveness = live()
    liveness.heard(120.0)
    assert liveness.deadline() == 135.0
    assert not liveness.is_dead(164.9)


def test_the_round_trip_is_the_smallest_seen() -> None:
    liveness = live()
    first, second = liveness.ping(100.0), liveness.ping(101.0)
    assert liveness.round_trip is None
    assert liveness.pong(first, 103.0) == 3.0
    assert liveness.pong(second, 101.5) == 0.5
    assert liveness.sample(9.0) == 9.0
    assert liveness.round_trip == 0.5


def test_pongs_that_nobody_asked_for_change_nothing() -> None:
    liveness = live()
    number = liveness.ping(100.0)
    assert liveness.pong(number + 1, 100.0) is None
    assert liveness.pong(number, 101.0) == 1.0
    assert liveness.pong(number, 101.0) is None
    assert liveness.round_trip == 1.0


def test_unanswered_pings_are_not_kept_without_bound() -> None:
    liveness = live()
    numbers = [liveness.ping(100.0 + number) for number in range(1000)]
    assert len(set(numbers)) == 1000
    assert len(liveness._sent) == 8
    assert liveness.pong(numbers[0], 2000.0) is None
