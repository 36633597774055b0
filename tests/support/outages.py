"""Many sessions whose links are all reset for a while, and what became of them.

`python -m tests.support.outages [SESSIONS [SECONDS...]]` is the long run, beside four processes
that do nothing but keep the machine busy: each outage is told to both ends, to the server alone and
to the client alone. Each session has a command that notes its run and echoes what it is sent. A
session that ends early, a byte that is not the one that was due, and a command that ran twice are
counted; each should be 0.

Strategy: a session sends lines of its own, waits for each to come back, and compares digests. Who
is not told of the cut finds out by itself, after 45 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rshell
from rshell.aio import first_of, timeout
from rshell.errors import RshellError
from rshell.values import Limits
from tests.support.commands import serving
from tests.support.cutting import Cutter, How, Plan, Way

SIDES = {
    "both": (How.RST, How.RST),
    "the server alone": (How.SILENCE, How.RST),
    "the client alone": (How.RST, How.SILENCE),
}
SESSIONS = 30
SECONDS = (1.0, 2.5, 2.9, 3.5, 10.0, 60.0)
_BUSY = 4
_PAUSE = 0.05  # seconds between two lines of a session
_DEADLINE = 400.0


@dataclass
class Outcome:
    """What became of all sessions; `causes` says how those that were lost ended."""

    lost: int = 0
    wrong: int = 0
    twice: int = 0
    received: int = 0
    causes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, wrong or done twice."""
        return not (self.lost or self.wrong or self.twice)


class _Session:
    """One session, its command, and what goes there and comes back."""

    def __init__(self, number: int, directory: Path) -> None:
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.received = 0
        self.wrong = 0
        self._number = number
        self._runs = directory / f"runs {number}"

    @property
    def has_run_once(self) -> bool:
        """Whether the command has noted one run."""
        return self._runs.read_text() == "run\n"

    async def run(self, address: str, limits: Limits | None) -> None:
        """Send and receive until `may_end`, then end in good order. Raises RshellError."""
        command = f"echo run >> '{self._runs}'; cat; exit 3"
        sent, back = hashlib.sha256(), hashlib.sha256()
        async with (
            rshell.connect(address, limits=limits) as client,
            client.open_process(command, stdin=rshell.PIPE) as process,
        ):
            assert process.stdin is not None
            size = 0
            for at in itertools.count():
                line = b"%d %d %b\n" % (self._number, at, b"x" * (37 * at % 2000))
                size += len(line)
                sent.update(line)
                await process.stdin.write(line)
                block = await process.stdout.readexactly(len(line))
                back.update(block)
                self.received += len(block)
                self.has_begun.set()
                if self.may_end.is_set():
                    break
                await asyncio.sleep(_PAUSE)
            await process.stdin.close()
            rest = await process.stdout.read()
            self.wrong = len(rest) + (sent.digest() != back.digest())
            self.wrong += (await process.wait()).code != 3


async def outage(
    port: int,
    seconds: float,
    side: str,
    *,
    sessions: int,
    limits: Limits | None = None,
    resets: bool = False,
) -> Outcome:
    """Have `sessions` sessions with the server at `port`, and cut them all for `seconds`.

    New links are refused meanwhile, or reset at once with `resets`.
    """
    with tempfile.TemporaryDirectory() as name:
        all_of_them = [_Session(number, Path(name)) for number in range(sessions)]
        async with timeout(_DEADLINE), Cutter(port) as cutter:
            tasks = [asyncio.create_task(each.run(cutter.address, limits)) for each in all_of_them]
            for each, task in zip(all_of_them, tasks):
                await first_of(each.has_begun.wait(), asyncio.shield(task))
            if resets:
                cutter.plans = itertools.repeat(Plan(Way.UP, 0))
            else:
                cutter.refuse()
            await cutter.cut(*SIDES[side])
            await asyncio.sleep(seconds)
            cutter.plans = iter(())
            cutter.let_through()
            for each in all_of_them:
                each.may_end.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [result for result in results if isinstance(result, RshellError)]
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, RshellError):
                raise result
        return Outcome(
            lost=len(errors),
            wrong=sum(each.wrong for each in all_of_them),
            twice=sum(not each.has_run_once for each in all_of_them),
            received=sum(each.received for each in all_of_them),
            causes=tuple(sorted({str(error) for error in errors})),
        )


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """Keep the machine busy."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(_BUSY)]
    try:
        yield
    finally:
        for popen in spinning:
            popen.kill()
            popen.wait()


async def main(sessions: int, durations: tuple[float, ...]) -> int:
    """Print a line for each outage; return how many of them did harm."""
    harm = 0
    with serving("--port", "0", really=True) as server:
        for seconds, side, resets in itertools.product(durations, SIDES, (False, True)):
            if resets and SIDES[side][0] is How.SILENCE:
                continue  # the outage is over before the client has noticed
            with _busy():
                began = time.monotonic()
                got = await outage(server.port, seconds, side, sessions=sessions, resets=resets)
            how = "reset" if resets else "refused"
            took = time.monotonic() - began
            print(f"{seconds:5g} s, {side:16}, then {how:7}: {got} in {took:.0f} s", flush=True)
            harm += not got.is_good
    return harm


if __name__ == "__main__":
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    chosen = tuple(map(float, sys.argv[2:])) or SECONDS
    sys.exit(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else SESSIONS, chosen)))
