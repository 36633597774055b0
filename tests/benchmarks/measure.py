"""Clocks, medians, and the memory of processes.

Strategy: what is compared is measured in turns (a, b, a, b ...), so that a busy moment of the
machine meets both, and medians are compared, so that a single bad turn counts for nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

MIB = 1024 * 1024


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return each work's median time over `rounds` rounds.

    Of several, one call each comes before them, to warm up.
    """
    for work in works if rounds > 1 else ():
        work()
    samples = [[seconds(work) for work in works] for _ in range(rounds)]
    return [median(column) for column in zip(*samples)]


def run_quietly(argv: Sequence[str], *, env: dict[str, str] | None = None) -> None:
    """Run a program with its output thrown away. Raises when it fails."""
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def run_fed(argv: Sequence[str], size: int, *, env: dict[str, str] | None = None) -> None:
    """Run a program with `size` zero bytes on its stdin, from a pipe. Raises when it fails."""
    feeder = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE)
    with feeder:
        assert feeder.stdout is not None
        subprocess.run(argv, env=env, stdin=feeder.stdout, stdout=subprocess.DEVNULL, check=True)


# The kernel counts for a program what the process held that started it, so a small one does.
_STARTS = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=2, check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak(argv: Sequence[str], *, env: dict[str, str] | None = None) -> int:
    """Run a program; return the most memory that it held, in bytes. Raises when it fails."""
    starter = [sys.executable, "-I", "-S", "-c", _STARTS, *argv]
    done = subprocess.run(starter, env=env, stdout=subprocess.PIPE, check=True)
    return int(done.stdout) * 1024


def memory(pid: int, field: str = "VmRSS") -> int:
    """Return a memory figure of a process in bytes, 0 where the system tells none.

    "VmRSS" is what it holds now, "VmHWM" the most it ever held.
    """
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # gone, or no Linux
    return 0


def rate(size: int, duration: float) -> float:
    """Return megabytes a second."""
    return size / duration / 1e6


def size_text(size: int) -> str:
    """Return a size in GiB or MiB."""
    return f"{size / MIB / 1024:g} GiB" if size >= 1024 * MIB else f"{size / MIB:g} MiB"
