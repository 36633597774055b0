from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.server.admission import Penalties, Places, fold_source, is_loopback
from rshell.values import Bounds
from tests.support.rows import row

LIMITS = Bounds(penalty_failures=3, penalty_longest=600.0, penalty_sources=100)
SOURCE = "192.0.2.1"
IDENTITY = "laptop"


class Caller:
    """A link, as far as places go."""

    def __init__(self, source: str, progress: int = 0) -> None:
        self.source = source
        self.progress = progress


def test_a_crowd_from_one_address_takes_its_own_places_away() -> None:
    places: Places[Caller] = Places(10)
    honest = Caller("198.51.100.1")
    assert places.enter(honest) is None
    crowd = [Caller(SOURCE) for _ in range(100)]
    gone = [places.enter(caller) for caller in crowd]
    assert gone == [None] * 9 + crowd[:91]
    places.leave(honest)
    places.leave(honest)
    assert len(places) == 9


def test_at_the_address_of_a_crowd_who_speaks_goes_before_who_is_silent() -> None:
    places: Places[Caller] = Places(10)
    honest, slow = Caller(SOURCE, 2), Caller(SOURCE, 1)
    crowd = [Caller(SOURCE) for _ in range(8)]
    for caller in (slow, honest, *crowd):
        assert places.enter(caller) is None
    for first in crowd:
        assert places.enter(Caller(SOURCE, 1)) is first
    # Among those who speak, the one that came least far, and was there first.
    assert places.enter(Caller(SOURCE)) is slow


def test_a_crowd_from_everywhere_yields_to_who_speaks() -> None:
    places: Places[Caller] = Places(100)
    honest = Caller("198.51.100.1", 1)
    places.enter(honest)
    for number in range(1_000):
        assert places.enter(Caller(f"192.0.{number // 250}.{number % 250}")) is not honest
    assert len(places) == 100


def test_an_ipv6_network_is_one_crowd() -> None:
    places: Places[Caller] = Places(2)
    first = Caller("2001:db8::1")
    assert [places.enter(c) for c in (Caller(SOURCE), first)] == [None, None]
    second = Caller("2001:db8::2")
    assert places.enter(second) is not None and len(places) == 2
    assert places.enter(Caller("2001:db8:0:1::1")) in (first, second)


def test_only_this_very_machine_is_a_loopback() -> None:
    for source in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        with row(source):
            assert is_loopback(source)
    for source in ("192.0.2.1", "::2", "::", "2001:db8::1", "unix", "", "::ffff:192.0.2.1"):
        with row(source):
            assert not is_loopback(source)


def test_failures_of_somebody_else_at_the_same_address_cost_nothing() -> None:
    penalties = Penalties(LIMITS)
    for _ in range(10):
        penalties.failed(SOURCE, "somebody", 0.0)
    assert penalties.wait(SOURCE, "somebody", 0.0) > 100
    assert penalties.wait(SOURCE, IDENTITY, 0.0) == 0.0
    # A name of any length takes no more room than one that may be a token's.
    for end in ("a", "b", "c"):
        penalties.failed(SOURCE, "x" * 5_000 + end, 0.0)
    assert len(penalties) == 2


def failed(penalties: Penalties, source: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        penalties.failed(source, IDENTITY, now)


def test_stranger_is_welcome() -> None:
    assert Penalties(LIMITS).wait(SOURCE, IDENTITY, 0.0) == 0.0


def test_a_few_failures_cost_nothing() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 2)
    assert penalties.wait(SOURCE, IDENTITY, 0.0) == 0.0


def test_each_further_failure_doubles_the_wait_up_to_the_longest() -> None:
    penalties, waits = Penalties(LIMITS), []
    failed(penalties, SOURCE, 2)
    for _ in range(12):
        penalties.failed(SOURCE, IDENTITY, 100.0)
        waits.append(penalties.wait(SOURCE, IDENTITY, 100.0))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


def test_thousands_of_failures_do_not_overflow() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 5_000)
    assert penalties.wait(SOURCE, IDENTITY, 0.0) == 600.0


def test_wait_runs_out_but_is_remembered() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 5)
    assert penalties.wait(SOURCE, IDENTITY, 1.5) == 2.5
    assert penalties.wait(SOURCE, IDENTITY, 4.0) == penalties.wait(SOURCE, IDENTITY, 50.0) == 0.0
    penalties.failed(SOURCE, IDENTITY, 50.0)
    assert penalties.wait(SOURCE, IDENTITY, 50.0) == 8.0


def test_other_sources_do_not_wait() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 9)
    assert penalties.wait("192.0.2.2", IDENTITY, 0.0) == 0.0


def test_success_forgives() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 5)
    penalties.succeeded(SOURCE, IDENTITY)
    assert penalties.wait(SOURCE, IDENTITY, 1.0) == 0.0 and len(penalties) == 0
    failed(penalties, SOURCE, 2, 2.0)
    assert penalties.wait(SOURCE, IDENTITY, 2.0) == 0.0


def test_quiet_source_starts_anew() -> None:
    for failures in [2, 5, 50]:
        with row(failures):
            penalties = Penalties(LIMITS)
            failed(penalties, SOURCE, failures)
            quiet = penalties.wait(SOURCE, IDENTITY, 0.0) + LIMITS.penalty_longest
            failed(penalties, SOURCE, 2, quiet)
            assert penalties.wait(SOURCE, IDENTITY, quiet) == 0.0


def test_sources_that_are_over_leave_the_table() -> None:
    penalties = Penalties(LIMITS)
    for number in range(50):
        failed(penalties, f"192.0.2.{number}", 1 + number % 4)
    penalties.failed("198.51.100.1", IDENTITY, 10_000.0)
    assert len(penalties) == 1


def test_flood_of_sources_is_bounded_and_frees_no_attacker() -> None:
    """An attacker can't have its penalty forgotten with failures from elsewhere."""
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 20)
    for number in range(1_000):
        penalties.failed(f"198.51.{number // 250}.{number % 250}", IDENTITY, 1.0)
        assert len(penalties) <= LIMITS.penalty_sources
    assert penalties.wait(SOURCE, IDENTITY, 1.0) > 500


def test_table_full_of_waiting_sources_still_takes_a_new_one() -> None:
    penalties = Penalties(LIMITS)
    for number in range(LIMITS.penalty_sources):
        failed(penalties, f"192.0.2.{number}", 9, float(number))
    failed(penalties, "198.51.100.1", 3, 100.0)
    assert len(penalties) == LIMITS.penalty_sources
    assert penalties.wait("198.51.100.1", IDENTITY, 100.0) == 1.0
    assert penalties.wait("192.0.2.0", IDENTITY, 100.0) == 0.0  # the oldest went


def test_addresses_are_folded() -> None:
    for source, name in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:0201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
    ]:
        with row(source, name):
            assert fold_source(source) == name


def test_ipv6_attacker_gains_nothing_from_its_other_addresses() -> None:
    penalties = Penalties(LIMITS)
    for number in range(1, 6):
        penalties.failed(f"2001:db8::{number}", IDENTITY, 0.0)
    assert penalties.wait("2001:db8::ffff", IDENTITY, 0.0) == 4.0
    assert penalties.wait("2001:db8:0:1::1", IDENTITY, 0.0) == 0.0


def test_mapped_ipv4_attacker_is_the_same_source() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, "::ffff:192.0.2.1", 3)
    assert penalties.wait(SOURCE, IDENTITY, 0.0) == 1.0
    assert penalties.wait("::ffff:192.0.2.2", IDENTITY, 0.0) == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fail", "succeed"]),
            st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "::1"]),
            st.floats(0, 1000),
        ),
        max_size=60,
    )
)
def test_table_and_waits_stay_in_bounds(steps: list[tuple[str, str, float]]) -> None:
    limits = Bounds(penalty_failures=2, penalty_longest=60.0, penalty_sources=3)
    penalties, now = Penalties(limits), 0.0
    for action, source, pause in steps:
        now += pause
        if action == "fail":
            penalties.failed(source, IDENTITY, now)
        else:
            penalties.succeeded(source, IDENTITY)
            assert penalties.wait(source, IDENTITY, now) == 0.0
        assert 0.0 <= penalties.wait(source, IDENTITY, now) <= 60.0
        assert len(penalties) <= 3
