"""Rows about clients that hurt: what a command of somebody else takes beside them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from rshell import Client
from tests.benchmarks.bench import Bench
from tests.benchmarks.result import Result, at_most

_SETTLE = 0.1  # seconds for each client, until the first burst is under way
_MEASURING = 5.0  # seconds at most, one run at least
_LONGEST = 60  # seconds that a hostile client lives, whatever happens


def hostile(bench: Bench) -> list[Result]:
    """Run `true` again and again beside clients that send as much as they may, in each way."""
    return asyncio.run(_beside_all(bench))


async def _beside_all(bench: Bench) -> list[Result]:
    results = []
    async with bench.connect() as client:
        quiet = await _runs(client, bench.effort.repeats)
        count = bench.effort.hostile
        for way in bench.effort.ways:
            with _hostile(bench, way):
                await asyncio.sleep(_SETTLE * count)
                took = await _runs(client, bench.effort.repeats)
            what = f"true beside {count} clients that send {way}"
            beside = f"quiet {_ms(median(quiet))}, worst {_ms(max(quiet))}"
            figure, worst = median(took) * 1e3, max(took) * 1e3
            results += [
                Result(what, _ms(median(took)), beside, at_most(20, "ms"), figure),
                Result(f"{what}, the worst", _ms(max(took)), beside, at_most(250, "ms"), worst),
            ]
    return results


async def _runs(client: Client, count: int) -> list[float]:
    samples: list[float] = []
    end = time.perf_counter() + _MEASURING
    while len(samples) < count and not (samples and time.perf_counter() > end):
        start = time.perf_counter()
        await client.run("true", check=True)
        samples.append(time.perf_counter() - start)
    return samples


@contextmanager
def _hostile(bench: Bench, way: str) -> Iterator[None]:
    """Have hostile clients send in that way until the block ends."""
    argv = [sys.executable, "-m", "tests.benchmarks.hostile", way]
    argv += [bench.server.address, bench.server.token, str(_LONGEST)]
    with ExitStack() as stack:
        clients = []
        for _ in range(bench.effort.hostile):
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            clients.append(process)
        for process in clients:
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdout.readline() == "ready\n"
        yield
        for process in clients:
            assert process.poll() is None, f"{way}: the server had none of it"


def _ms(duration: float) -> str:
    return f"{duration * 1e3:.3g} ms"
