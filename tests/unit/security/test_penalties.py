from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.security.penalties import Penalties, early_drop, fold_source
from rshell.values import Bounds
from tests.support.rows import row

LIMITS = Bounds(penalty_failures=3, penalty_longest=600.0, penalty_sources=100)
SOURCE = "192.0.2.1"


def failed(penalties: Penalties, source: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        penalties.failed(source, now)


def test_stranger_is_welcome() -> None:
    assert Penalties(LIMITS).wait(SOURCE, 0.0) == 0.0


def test_a_few_failures_cost_nothing() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 2)
    assert penalties.wait(SOURCE, 0.0) == 0.0


def test_each_further_failure_doubles_the_wait_up_to_the_longest() -> None:
    penalties, waits = Penalties(LIMITS), []
    failed(penalties, SOURCE, 2)
    for _ in range(12):
        penalties.failed(SOURCE, 100.0)
        waits.append(penalties.wait(SOURCE, 100.0))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


def test_thousands_of_failures_do_not_overflow() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 5_000)
    assert penalties.wait(SOURCE, 0.0) == 600.0


def test_wait_runs_out_but_is_remembered() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 5)
    assert penalties.wait(SOURCE, 1.5) == 2.5
    assert penalties.wait(SOURCE, 4.0) == penalties.wait(SOURCE, 50.0) == 0.0
    penalties.failed(SOURCE, 50.0)
    assert penalties.wait(SOURCE, 50.0) == 8.0


def test_other_sources_do_not_wait() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 9)
    assert penalties.wait("192.0.2.2", 0.0) == 0.0


def test_success_forgives() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 5)
    penalties.succeeded(SOURCE, 1.0)
    assert penalties.wait(SOURCE, 1.0) == 0.0 and len(penalties) == 0
    failed(penalties, SOURCE, 2, 2.0)
    assert penalties.wait(SOURCE, 2.0) == 0.0


def test_quiet_source_starts_anew() -> None:
    for failures in [2, 5, 50]:
        with row(failures):
            penalties = Penalties(LIMITS)
            failed(penalties, SOURCE, failures)
            quiet = penalties.wait(SOURCE, 0.0) + LIMITS.penalty_longest
            failed(penalties, SOURCE, 2, quiet)
            assert penalties.wait(SOURCE, quiet) == 0.0


def test_sources_that_are_over_leave_the_table() -> None:
    penalties = Penalties(LIMITS)
    for number in range(50):
        failed(penalties, f"192.0.2.{number}", 1 + number % 4)
    penalties.failed("198.51.100.1", 10_000.0)
    assert len(penalties) == 1


def test_flood_of_sources_is_bounded_and_frees_no_attacker() -> None:
    """An attacker can't have its penalty forgotten with failures from elsewhere."""
    penalties = Penalties(LIMITS)
    failed(penalties, SOURCE, 20)
    for number in range(1_000):
        penalties.failed(f"198.51.{number // 250}.{number % 250}", 1.0)
        assert len(penalties) <= LIMITS.penalty_sources
    assert penalties.wait(SOURCE, 1.0) > 500


def test_table_full_of_waiting_sources_still_takes_a_new_one() -> None:
    penalties = Penalties(LIMITS)
    for number in range(LIMITS.penalty_sources):
        failed(penalties, f"192.0.2.{number}", 9, float(number))
    failed(penalties, "198.51.100.1", 3, 100.0)
    assert len(penalties) == LIMITS.penalty_sources
    assert penalties.wait("198.51.100.1", 100.0) == 1.0
    assert penalties.wait("192.0.2.0", 100.0) == 0.0  # the oldest went


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
        penalties.failed(f"2001:db8::{number}", 0.0)
    assert penalties.wait("2001:db8::ffff", 0.0) == 4.0
    assert penalties.wait("2001:db8:0:1::1", 0.0) == 0.0


def test_mapped_ipv4_attacker_is_the_same_source() -> None:
    penalties = Penalties(LIMITS)
    failed(penalties, "::ffff:192.0.2.1", 3)
    assert penalties.wait(SOURCE, 0.0) == 1.0
    assert penalties.wait("::ffff:192.0.2.2", 0.0) == 0.0


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
            penalties.failed(source, now)
        else:
            penalties.succeeded(source, now)
            assert penalties.wait(source, now) == 0.0
        assert 0.0 <= penalties.wait(source, now) <= 60.0
        assert len(penalties) <= 3


def test_early_drop_spares_the_first_half_and_refuses_beyond_the_bound() -> None:
    limits = Bounds(unfinished_logins=100)
    assert not any(early_drop(unfinished, limits, 0.0) for unfinished in range(51))
    assert all(early_drop(unfinished, limits, 0.999999) for unfinished in (100, 101, 5_000))


def test_early_drop_grows_steadily_in_between() -> None:
    limits = Bounds(unfinished_logins=100)
    assert early_drop(75, limits, 0.49) and not early_drop(75, limits, 0.5)
    assert early_drop(60, limits, 0.19) and not early_drop(60, limits, 0.2)
    assert not early_drop(99, limits, 0.98)


def test_early_drop_with_a_tiny_bound() -> None:
    for bound in [0, 1, 2, 3]:
        with row(bound):
            limits = Bounds(unfinished_logins=bound)
            assert early_drop(bound, limits, 0.999999)
            assert not early_drop(0, limits, 0.0) or bound == 0
