from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError, ResumeFailed
from rshell.protocol.budget import MemoryBudget
from rshell.protocol.replay import CONTROL_RESERVE, FRAME_OVERHEAD, ReplayQueue


def queue_of(count: int, limit: int = 10_000, largest: int = 80_000) -> ReplayQueue:
    queue = ReplayQueue(limit, largest, MemoryBudget(1_000_000))
    for number in range(count):
        queue.append((b"%d" % number,), 100)
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


@pytest.mark.parametrize("received", range(2, 6))
def test_rewind_sends_again_exactly_what_the_peer_lacks(received: int) -> None:
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
    queue = ReplayQueue(10_000, 80_000, MemoryBudget(1_000_000))
    queue.append((b"x",), 10_000 - FRAME_OVERHEAD - 1)
    assert not queue.is_full
    queue.append((b"x",), 1)
    assert queue.is_full
    assert not queue.is_exhausted
    queue.append((b"x",), CONTROL_RESERVE)
    assert queue.is_exhausted


def test_empty_frames_cost_memory_too() -> None:
    queue = ReplayQueue(10_000, 80_000, MemoryBudget(1_000_000))
    while not queue.is_full:
        queue.append((b"",), 0)
    assert queue.next == 10_000 / FRAME_OVERHEAD


def fill_and_drain(queue: ReplayQueue, rounds: int, apart: float, round_trip: float | None) -> int:
    now = 0.0
    for _ in range(rounds):
        while not queue.is_full:
            queue.append((b"x",), 800)
        queue.acknowledge(queue.next, now, round_trip)
        now += apart
    return queue.limit


@pytest.mark.parametrize(
    ("apart", "round_trip", "limit"),
    [(0.01, 0.01, 80_000), (0.02, 0.01, 10_000), (0.01, None, 10_000)],
)
def test_the_limit_grows_only_where_the_path_needs_it(
    apart: float, round_trip: float | None, limit: int
) -> None:
    assert fill_and_drain(queue_of(0), 20, apart, round_trip) == limit


def test_a_queue_that_never_filled_does_not_grow() -> None:
    queue = queue_of(0)
    for _ in range(200):
        queue.append((b"x",), 800)
        queue.acknowledge(queue.next, 0.0, 1.0)
    assert queue.limit == 10_000


@given(st.lists(st.tuples(st.sampled_from(["append", "ack", "rewind"]), st.integers(0, 30))))
def test_the_queue_agrees_with_a_plain_list(steps: list[tuple[str, int]]) -> None:
    queue = ReplayQueue(10_000, 80_000, MemoryBudget(1_000_000))
    sent, first = 0, 0
    for step, number in steps:
        if step == "append":
            queue.append((b"%d" % sent,), number)
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
        assert queue.size == sum(cost for _, cost in queue._frames)
