from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.budget import MemoryBudget
from rshell.protocol.window import CREDIT_LIMIT, ReceiveWindow, SendWindow


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


@pytest.mark.parametrize(
    ("apart", "round_trip", "size"),
    [
        (0.005, 0.010, 8000),  # a quarter in half a round trip: too small for the path
        (0.006, 0.010, 1000),  # slower: large enough
        (0.010, None, 1000),  # nothing measured yet
        (0.0, 0.0, 8000),
    ],
)
def test_growth_only_within_two_round_trips(
    apart: float, round_trip: float | None, size: int
) -> None:
    assert drain(window(1000, largest=8000), 10, apart, round_trip) == size


def test_growth_stops_at_the_largest_even_when_it_is_no_power_of_two() -> None:
    assert drain(window(1000, largest=3500), 10, 0.0, 1.0) == 3500


def test_growth_stops_at_the_budget_and_closing_gives_all_back() -> None:
    budget = MemoryBudget(2500)
    assert budget.reserve(1000)
    receiving = ReceiveWindow(1000, 8000, budget)
    assert drain(receiving, 10, 0.0, 1.0) == 2000
    assert budget.free == 500
    receiving.close()
    assert budget.free == 2500
    receiving.close()
    assert budget.free == 2500


def test_grown_bytes_are_granted_with_the_credit() -> None:
    receiving = window(1000)
    receiving.receive(1000)
    receiving.consume(500, 0.0, 1.0)
    assert receiving.consume(500, 0.0, 1.0) == 1500
    assert receiving.remaining == 2000


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
