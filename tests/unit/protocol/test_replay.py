"""Frames kept until they are acknowledged: what is sent again, and what may be on its way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError, ResumeFailed
from rshell.protocol.flow import MemoryBudget
from rshell.protocol.replay import CONTROL_RESERVE, FRAME_OVERHEAD, HOLD_LEAST, ReplayQueue
from tests.support.rows import row

MANY = 2**40  # of bytes on their way


def queue_of(count: int, limit: int = 10_000, largest: int = 80_000) -> ReplayQueue:
    queue = ReplayQueue(limit, largest, MemoryBudget(1_000_000), MANY)
    for number in range(count):
        queue.append((b"%d" % number,), 100, 0.0)
    return queue


def again(queue: ReplayQueue) -> list[int]:
    numbers = []
    while queue.has_again:
        numbers.append(int(b"".join(map(bytes, queue.take_again()))))
    return numbers


def test_acknowledged_frames_are_forgotten_and_their_memory_freed() -> None:
    queue = queue_of(5)
    assert queue.size == 5 * (100 + FRAME_OVERHEAD)
    queue.acknowledge(3, 0.0, None)
    assert (queue.first, queue.next) == (3, 5)
    assert queue.size == 2 * (100 + FRAME_OVERHEAD)


def test_an_old_acknowledgement_is_ignored() -> None:
    queue = queue_of(5)
    queue.acknowledge(3, 0.0, None)
    queue.acknowledge(1, 0.0, None)
    assert queue.first == 3


def test_an_acknowledgement_of_what_was_never_sent_is_the_peers_error() -> None:
    queue = queue_of(5)
    with pytest.raises(RemoteProtocolError) as caught:
        queue.acknowledge(6, 0.0, None)
    assert caught.value.code == "sequence"
    assert queue.first == 0


def test_rewind_sends_again_exactly_what_the_peer_lacks() -> None:
    for received in range(2, 6):
        with row(received):
            queue = queue_of(5)
            queue.acknowledge(2, 0.0, None)
            queue.rewind(received, 0.0)
            assert again(queue) == list(range(received, 5))
            assert queue.first == received


def test_a_peer_behind_what_is_kept_cannot_resume() -> None:
    queue = queue_of(5)
    queue.acknowledge(2, 0.0, None)
    with pytest.raises(ResumeFailed):
        queue.rewind(1, 0.0)


def test_a_peer_ahead_of_what_was_sent_is_in_error() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        queue_of(5).rewind(6, 0.0)
    assert caught.value.code == "sequence"


def test_a_second_cut_before_all_was_sent_again_starts_over() -> None:
    queue = queue_of(5)
    queue.rewind(1, 0.0)
    queue.take_again()
    queue.rewind(1, 0.0)
    assert again(queue) == [1, 2, 3, 4]


def test_frames_sent_again_are_kept_until_acknowledged() -> None:
    queue = queue_of(3)
    queue.rewind(0, 0.0)
    assert again(queue) == [0, 1, 2]
    assert (queue.first, queue.next) == (0, 3)
    queue.acknowledge(3, 0.0, None)
    assert queue.size == 0


def test_full_stops_bulk_and_a_reserve_is_left_for_control() -> None:
    queue = ReplayQueue(10_000, 80_000, MemoryBudget(1_000_000), MANY)
    queue.append((b"x",), 10_000 - FRAME_OVERHEAD - 1, 0.0)
    assert not queue.is_full
    queue.append((b"x",), 1, 0.0)
    assert queue.is_full
    assert not queue.is_exhausted
    queue.append((b"x",), CONTROL_RESERVE, 0.0)
    assert queue.is_exhausted


def test_empty_frames_cost_memory_too() -> None:
    queue = ReplayQueue(10_000, 80_000, MemoryBudget(1_000_000), MANY)
    while not queue.is_full:
        queue.append((b"",), 0, 0.0)
    assert queue.next == 10_000 / FRAME_OVERHEAD


def fill_and_drain(queue: ReplayQueue, rounds: int, apart: float, round_trip: float | None) -> int:
    now = 0.0
    for _ in range(rounds):
        while not queue.is_full:
            queue.append((b"x",), 800, 0.0)
        queue.acknowledge(queue.next, now, round_trip)
        now += apart
    return queue.limit


def test_the_limit_grows_only_where_the_path_needs_it() -> None:
    for apart, round_trip, limit in [
        (0.01, 0.01, 80_000),
        (0.031, 0.01, 10_000),
        (0.01, None, 10_000),
    ]:
        with row(apart, round_trip, limit):
            assert fill_and_drain(queue_of(0), 20, apart, round_trip) == limit


def test_a_queue_that_never_filled_does_not_grow() -> None:
    queue = queue_of(0)
    for _ in range(200):
        queue.append((b"x",), 800, 0.0)
        queue.acknowledge(queue.next, 0.0, 1.0)
    assert queue.limit == 10_000


@given(st.lists(st.tuples(st.sampled_from(["append", "ack", "rewind"]), st.integers(0, 30))))
def test_the_queue_agrees_with_a_plain_list(steps: list[tuple[str, int]]) -> None:
    queue = ReplayQueue(10_000, 80_000, MemoryBudget(1_000_000), MANY)
    sent, first = 0, 0
    for step, number in steps:
        if step == "append":
            queue.append((b"%d" % sent,), number, 0.0)
            sent += 1
        elif step == "ack":
            queue.acknowledge(min(number, sent), 0.0, None)
            first = max(first, min(number, sent))
        else:
            queue.rewind(max(first, min(number, sent)), 0.0)
            first = max(first, min(number, sent))
            assert again(queue) == list(range(first, sent))
        assert (queue.first, queue.next) == (first, sent)
        assert len(queue._frames) == sent - first
        assert queue.size == sum(kept.cost for kept in queue._frames)


def test_a_spent_budget_ends_the_growth_of_the_replay_queue() -> None:
    limits = []
    for free in (10_000, 9_999):
        queue = ReplayQueue(10_000, 80_000, MemoryBudget(free), MANY)
        for now in (0.0, 1.0):
            while not queue.is_full:
                queue.append((b"x" * 1000,), 1000, 0.0)
            queue.acknowledge(queue.next, now, 1.0)
        limits.append(queue.limit)
    assert limits == [20_000, 10_000]


# The pace of a path.


def held(first: int = 64_000) -> ReplayQueue:
    return ReplayQueue(2**20, 2**21, MemoryBudget(2**24), first)


def send(queue: ReplayQueue, size: int, now: float) -> None:
    queue.append((b"",), size - FRAME_OVERHEAD, now)


def test_what_a_path_may_hold_follows_what_it_moves() -> None:
    for on_way, seconds, expected in [
        (64_000, 0.1, 256_000),  # soon: there may be more
        (64_000, 2.0, 64_000),  # neither soon nor late
        (64_000, 6.4, 21_000),  # 10,000 bytes a second, for a round trip and two seconds
        (64_000, 64.0, HOLD_LEAST),
        (31_000, 0.1, 64_000),  # soon, but it was given little
        (HOLD_LEAST - 1, 64.0, 64_000),  # late, but little was sent: the peer may be busy
    ]:
        with row(on_way, seconds):
            queue = held()
            send(queue, on_way, 10.0)
            queue.acknowledge(1, 10.0 + seconds, 0.1)
            assert queue.hold == expected


def test_bulk_data_waits_where_a_path_is_slow_and_little_passes_it() -> None:
    queue = held(30_000)
    assert queue.largest_frame == 7500
    send(queue, 30_000, 0.0)
    assert queue.is_held
    assert not queue.is_full


def test_frames_that_were_sent_before_a_change_are_not_judged_again() -> None:
    queue = held()
    for number in range(4):
        send(queue, 32_000, float(number))
    queue.acknowledge(2, 8.0, 0.1)
    after = queue.hold
    assert after < 64_000
    queue.acknowledge(3, 20.0, 0.1)
    assert queue.hold == after
    send(queue, 64_000, 20.0)
    queue.acknowledge(5, 20.2, 0.1)
    assert queue.hold == 2 * after


def test_each_link_begins_with_little_on_its_way() -> None:
    queue = held()
    send(queue, 64_000, 0.0)
    queue.acknowledge(1, 0.1, 0.1)
    assert queue.hold == 256_000
    queue.rewind(1, 5.0)
    assert queue.hold == 64_000
    send(queue, 64_000, 4.9)  # of the link before: how long it takes says nothing of this one
    queue.acknowledge(2, 50.0, 0.1)
    assert queue.hold == 64_000
