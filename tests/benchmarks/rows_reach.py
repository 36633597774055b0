"""Rows about a way in: through ssh, to where nothing is installed, beside ssh itself.

The server is brought along and stays, as for a user's second command. Five processes share the
machine's cores, of which ssh's two do the enciphering, so the bounds are about what rshell adds.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import in_turns, rate, run_fed, run_quietly, size_text
from tests.benchmarks.result import Bound, Result, at_least, at_most
from tests.benchmarks.servers import program


def way_in(bench: Bench) -> list[Result]:
    """Start a command, and move much data each way, as whole processes."""
    env, out, size = bench.server.env, bench.effort.output, bench.effort.input
    way = ["env"] if bench.sshd is None else bench.sshd.command("")[:-1]
    by_way = [*program("rshell"), "--via", shlex.join(way), "--bootstrap"]
    commands = "true", f"head -c {out} /dev/zero", "cat > /dev/null"

    def works(argv: list[str]) -> list[Callable[[], object]]:
        start, output, input = ([*argv, command] for command in commands)
        return [
            lambda: run_quietly(start, env=env),
            lambda: run_quietly(output, env=env),
            lambda: run_fed(input, size, env=env),
        ]

    both = [works([*by_way, "-c"])]
    if bench.sshd is not None:
        both.append(works(way))
    counts = bench.effort.starts, bench.effort.rounds, bench.effort.rounds
    try:
        took = [in_turns(works, count) for *works, count in zip(*both, counts)]
    finally:
        run_quietly([*by_way, "--stop"], env=env)
    results = [
        _beside(
            "rshell -c true, by a way in through ssh",
            [f"{seconds * 1000:.3g} ms" for seconds in took[0]],
            at_most(2.0, "of ssh"),
            took[0][0] / took[0][-1],
        )
    ]
    for name, moved, times in zip(("output", "input"), (out, size), took[1:]):
        what = f"{size_text(moved)} of {name}, by a way in through ssh"
        figures = [f"{rate(moved, seconds):.0f} MB/s" for seconds in times]
        results.append(_beside(what, figures, at_least(0.8, "of ssh"), times[-1] / times[0]))
    return results


def _beside(what: str, figures: list[str], bound: Bound, ratio: float) -> Result:
    """Return a row of our figure and that of ssh, if it is there."""
    ours, *theirs = figures
    if not theirs:
        return Result(what, ours)
    return Result(what, ours, f"ssh {theirs[0]}", bound, ratio)
