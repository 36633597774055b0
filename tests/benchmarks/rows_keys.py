"""Rows about people at a keyboard: Ctrl-C under a flood, and the echo of a key."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from rshell import PIPE, Process, TerminalSize
from rshell.transport.streams import ByteReader
from tests.benchmarks.bench import Bench
from tests.benchmarks.result import Result, at_most


def interrupt(bench: Bench) -> list[Result]:
    """Interrupt a command while `yes` floods the same session, and then `yes` itself."""
    beside, itself = asyncio.run(_interrupt(bench))
    bound = at_most(100, "ms")
    return [
        Result("Ctrl-C of a command beside yes", _ms(beside), "", bound, beside * 1e3),
        Result("Ctrl-C of yes itself", _ms(itself), "", bound, itself * 1e3),
    ]


async def _interrupt(bench: Bench) -> tuple[float, float]:
    beside, itself = [], []
    async with bench.connect() as client:
        for _ in range(bench.effort.starts):
            async with (
                client.open_process("yes") as flood,
                client.open_process("sleep 60") as other,
            ):
                reading = asyncio.create_task(_read_all(flood.stdout))
                await asyncio.sleep(0.1)
                beside.append(await _time_of_interrupt(other))
                itself.append(await _time_of_interrupt(flood))
                await reading
    return median(beside), median(itself)


async def _time_of_interrupt(process: Process[ByteReader]) -> float:
    start = time.perf_counter()
    process.send_signal("SIGINT")
    status = await process.wait()
    assert status.signal == "SIGINT", status
    return time.perf_counter() - start


async def _read_all(reader: ByteReader) -> None:
    async for _ in reader:
        pass


def echo(bench: Bench) -> list[Result]:
    """Press a key in a remote terminal and wait until it shows."""
    took = asyncio.run(_echo(bench))
    return [Result("keystroke echo, pty", _ms(took), "", at_most(2, "ms"), took * 1e3)]


async def _echo(bench: Bench) -> float:
    samples = []
    async with (
        bench.connect() as client,
        client.open_process("cat", stdin=PIPE, terminal=TerminalSize(80, 24)) as process,
    ):
        assert process.stdin is not None
        for _ in range(bench.effort.repeats):
            await asyncio.sleep(0.002)  # nobody types faster than that
            start = time.perf_counter()
            await process.stdin.write(b"x")
            assert await process.stdout.readexactly(1) == b"x"
            samples.append(time.perf_counter() - start)
    return median(samples)


def _ms(duration: float) -> str:
    return f"{duration * 1e3:.3g} ms"
