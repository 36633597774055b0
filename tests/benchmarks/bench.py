"""What every row is given: the servers, and how much of everything to measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import rshell
from rshell.aio import Opening
from rshell.client.client import Client
from tests.benchmarks.hostile import WAYS
from tests.benchmarks.measure import MIB
from tests.benchmarks.result import Result
from tests.benchmarks.servers import (
    RshellServer,
    Sshd,
    Unavailable,
    private_sshd,
    rshell_server,
)


@dataclass(frozen=True)
class Effort:
    """How often, and how much."""

    rounds: int = 3  # of long transfers
    starts: int = 15  # of whole processes
    repeats: int = 200  # of what takes a millisecond
    output: int = 2048 * MIB
    input: int = 1024 * MIB
    file: int = 1024 * MIB
    files: int = 10_000
    delayed: int = 1024 * MIB
    delayed_ssh: int = 96 * MIB  # of a peer that moves 20 MB a second
    sessions: int = 500
    idle_seconds: tuple[float, float] = (1.5, 2.0)  # the last acknowledgement's; those that count
    reply: int = 2048 * MIB
    at_once: int = 100
    hostile: int = 4  # clients at once
    ways: tuple[str, ...] = tuple(WAYS)  # in which they are hostile
    far_rounds: int = 1
    # Milliseconds of a round trip, share lost, bytes of a packet: where both move most, they are
    # large, or the path itself would be the limit.
    far_paths: tuple[tuple[float, float, int], ...] = (
        (20, 0, 60_000),
        (20, 0.01, 9_000),
        (100, 0, 9_000),
        (100, 0.01, 9_000),
        (300, 0, 9_000),
        (300, 0.01, 9_000),
    )
    far_seconds: tuple[float, float] = (2.0, 8.0)  # those that count, from the first byte on


FULL = Effort(
    rounds=5, starts=31, repeats=1000, sessions=10_000, reply=10 * 1024 * MIB, far_rounds=5
)
TINY = Effort(
    rounds=1,
    starts=1,
    repeats=2,
    output=2 * MIB,
    input=2 * MIB,
    file=2 * MIB,
    files=20,
    delayed=2 * MIB,
    delayed_ssh=MIB // 4,
    sessions=3,
    idle_seconds=(0.01, 0.05),
    reply=8 * MIB,
    at_once=3,
    far_paths=((1, 0, 9_000),),
    hostile=1,
    ways=("tiny-data",),
    far_seconds=(0.01, 0.05),
)


@dataclass(frozen=True)
class Bench:
    """What a row may use. `sshd` is None where there is none; `why_no_sshd` says why."""

    directory: Path
    effort: Effort
    server: RshellServer
    sshd: Sshd | None
    why_no_sshd: str

    def connect(self, address: str | None = None) -> Opening[Client]:
        """Open a session of this process with the server, over TLS unless told otherwise."""
        return rshell.connect(address or self.server.address, token=self.server.token)

    def fresh_server(self, name: str) -> AbstractContextManager[RshellServer]:
        """Run another server until the block ends, one whose memory has no history."""
        return rshell_server(self.directory / name)


Row = Callable[[Bench], list[Result]]


@contextmanager
def open_bench(effort: Effort, *, with_sshd: bool = True) -> Iterator[Bench]:
    """Start the servers, and end them with the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="rshell-benchmark-")))
        server = stack.enter_context(rshell_server(directory / "rshell"))
        sshd, why = None, "not asked for"
        if with_sshd:
            try:
                sshd = stack.enter_context(private_sshd(directory / "ssh"))
            except Unavailable as error:
                why = str(error)
        yield Bench(directory, effort, server, sshd, why)
