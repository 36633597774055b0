from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError
from rshell.protocol.liveness import Bucket, Liveness
from rshell.values import Bounds


def test_a_bucket_allows_its_burst_and_then_its_rate() -> None:
    bucket = Bucket("things", 5, 2.0, now=0.0)
    for _ in range(5):
        bucket.take(0.0)
    with pytest.raises(RemoteProtocolError, match="too many things") as caught:
        bucket.take(0.0)
    assert caught.value.code == "flood"


def test_a_bucket_refills_with_time_and_never_past_its_burst() -> None:
    bucket = Bucket("things", 5, 2.0, now=0.0)
    for _ in range(5):
        bucket.take(0.0)
    bucket.take(0.5)  # one refilled
    taken = 0
    with pytest.raises(RemoteProtocolError):
        for _ in range(100):
            bucket.take(1000.0)
            taken += 1
    assert taken in (5, 6)  # refilled only once it is empty: the one in hand comes on top


@given(st.lists(st.floats(0.0, 0.2), max_size=300))
def test_a_bucket_never_allows_more_than_burst_and_rate(waits: list[float]) -> None:
    bucket = Bucket("things", 10, 20.0, now=0.0)
    now, taken = 0.0, 0
    for wait in waits:
        now += wait
        try:
            bucket.take(now)
            taken += 1
        except RemoteProtocolError:
            return
        assert taken <= 10 + 20.0 * now + 1e-6


def test_a_steady_sender_below_the_rate_is_never_stopped() -> None:
    bucket = Bucket("things", 3, 10.0, now=0.0)
    for number in range(1000):
        bucket.take(number * 0.11)


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
