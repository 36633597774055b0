"""The harness works: every row runs, with next to nothing to do. No figure is judged here."""

from __future__ import annotations

from tests.benchmarks.bench import TINY, open_bench
from tests.benchmarks.result import HEADINGS, Result, at_least, at_most, markdown_table, plain_table
from tests.benchmarks.rows import ROWS


def test_each_row_has_results() -> None:
    with open_bench(TINY) as bench:
        found = {name: row(bench) for name, row in ROWS.items()}
    for name, results in found.items():
        assert results, name
        assert all(result.what and result.figure for result in results), name


def test_a_bound_says_what_it_asks_for() -> None:
    assert str(at_most(0.6, "of ssh")) == "<= 0.6 of ssh"
    assert at_most(0.6, "of ssh").holds(0.6)
    assert not at_least(1.2, "of ssh").holds(1.19)


def test_a_result_without_its_peer_has_no_verdict() -> None:
    assert Result("what", "1 ms", "", at_most(1, "of ssh")).verdict == "-"
    assert Result("what", "1 ms", "", at_most(1, "ms"), 2.0).verdict == "no"


def test_tables_have_a_cell_for_each_heading() -> None:
    result = Result("what", "1 ms", "head | cat 2 ms", at_least(1, "of head | cat"), 2.0)
    assert "what  1 ms" in plain_table([result])
    lines = markdown_table([result]).splitlines()
    assert [line.replace("\\|", "").count("|") for line in lines] == [len(HEADINGS) + 1] * 3
