"""Run as a script: put inherited descriptors at fixed numbers, then become another program.

    python -I -S exec_with_fds.py 6=23 9=24 -- PROGRAM ARG...

Strategy: a persistent shell must find its pipes under numbers that are written in its recipe.
`subprocess` can pass a descriptor on only under its own number, and plain shells can't name
one of two digits, so this tiny program stands between. It costs a Python start, once a shell.

Hazard: Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so across an exec; they
are given back their defaults, or `yes | head` would never end in that shell.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def argv_with_fds(argv: Sequence[str], places: Mapping[int, int]) -> tuple[str, ...]:
    """Return the argv that runs `argv` with our descriptors at new numbers, `{new: ours}`.

    Ours must be passed on to it (`pass_fds`); `argv[0]` is a path.
    """
    script = str(Path(__file__).resolve())
    pairs = (f"{number}={fd}" for number, fd in places.items())
    return (sys.executable, "-I", "-S", script, *pairs, "--", *argv)


def _main(arguments: list[str]) -> None:
    split = arguments.index("--")
    pairs = [tuple(map(int, pair.split("="))) for pair in arguments[:split]]
    # By way of numbers above all of them: one's target may be another's place.
    parked = max(max(pair) for pair in pairs) + 1
    for index, (_, fd) in enumerate(pairs):
        os.dup2(fd, parked + index)
        os.close(fd)
    for index, (number, _) in enumerate(pairs):
        os.dup2(parked + index, number)
        os.close(parked + index)
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    program = arguments[split + 1 :]
    os.execv(program[0], program)


if __name__ == "__main__":
    _main(sys.argv[1:])
