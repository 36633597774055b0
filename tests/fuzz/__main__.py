"""`python -m tests.fuzz`: fuzz for a time, led by coverage, and keep what breaks.

The time is divided among the targets. Each begins with its seeds in `tests/fuzz/corpus/TARGET`, and
with what earlier runs have found in `.fuzz/TARGET`, where inputs that reach new code are kept.
Inputs that break something are kept in `.fuzz/found`, and what to type to see it again is printed.
Needs atheris, which is among the development requirements; replaying does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).parent / "corpus"
KEPT = Path(".fuzz")
_LONGEST_INPUT = 4096  # bytes
_LEAST_SECONDS = 2  # that are worth another start
_INPUT_SECONDS = 10
_ENOUGH = 5  # inputs that break one target, which are likely to be one fault
_MEMORY = 1024  # MiB


def main() -> int:
    """Do what the command line says; the status is 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this; repeatable")
    parser.add_argument("--replay", type=Path, nargs="+", help="give the target these files only")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.replay:
        if len(names) != 1:
            parser.error("--replay needs one --target")
        for path in options.replay:
            print(f"{names[0]}: {path}", flush=True)
            TARGETS[names[0]](path.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install -e '.[dev]'")
    found = [path for name in names for path in fuzz(name, options.seconds / len(names))]
    for path in found:
        print(f"see it again: python -m tests.fuzz --target {path.parent.name} --replay {path}")
    print(f"{len(names)} targets, {len(found)} inputs that break something")
    return 1 if found else 0


def fuzz(name: str, seconds: float) -> list[Path]:
    """Fuzz one target; return the files with inputs that broke it."""
    seeds, kept, found = SEEDS / name, KEPT / name, KEPT / "found" / name
    for directory in (kept, found):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    end = time.monotonic() + seconds
    for _ in range(_ENOUGH):
        left = int(end - time.monotonic())
        if left < _LEAST_SECONDS:
            break
        argv = [sys.executable, "-m", "tests.fuzz.covered", name, str(kept)]
        argv += [str(seeds)] if seeds.is_dir() else []
        argv += [f"-max_total_time={left}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        argv += [f"-timeout={_INPUT_SECONDS}", f"-rss_limit_mb={_MEMORY}"]
        argv += [f"-max_len={_LONGEST_INPUT}", "-verbosity=0"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace")
        counts = re.findall(
            r"stat::(number_of_executed_units|new_units_added): +(\d+)", done.stderr
        )
        print(name, *(f"{count} {what.replace('_', ' ')}" for what, count in counts), flush=True)
        if not done.returncode:
            break
        print(_cause(done.stdout + done.stderr), flush=True)
    return sorted(set(found.iterdir()) - before)


def _cause(told: str) -> str:
    """Return what matters of what a broken run has printed: the traceback, and what it was."""
    kept = [line for line in told.splitlines() if not line.startswith(("INFO", "WARNING", "stat:"))]
    return "\n".join(kept[-40:])


if __name__ == "__main__":
    sys.exit(main())
