"""`python -m tests.benchmarks`: measure, print the table, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks.bench import FULL, Bench, Effort, open_bench
from tests.benchmarks.document import describe_machine, write_document
from tests.benchmarks.result import Result, plain_table
from tests.benchmarks.rows import ROWS


def main(arguments: list[str]) -> int:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=ROWS, metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--full", action="store_true", help="10,000 sessions, a reply of 10 GiB")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(arguments)
    chosen = [name for name in ROWS if not options.only or name in options.only]
    with open_bench(FULL if options.full else Effort()) as bench:
        if bench.sshd is None:
            print(f"without ssh: {bench.why_no_sshd}", file=sys.stderr)
        results = _measure(bench, chosen)
    print("\n".join(describe_machine()))
    print(plain_table(results))
    if options.write:
        told = "`--full`" if options.full else ""
        print(f"written: {write_document(results, list(ROWS), options=told)}", file=sys.stderr)
    return 0


def _measure(bench: Bench, names: list[str]) -> list[Result]:
    results: list[Result] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = ROWS[name](bench)
        results += found
        for result in found:
            print("  " + " | ".join(result.cells()), file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
